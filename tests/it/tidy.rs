//! Keeps the house in order: floors, `unsafe`, module docs, sizes, no forgotten files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which modules of the crate each floor-2-and-up folder may import, besides itself (DESIGN: one direction of flow).
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("manifest", &["model"]),
    ("admit", &["model"]),
    ("plan", &["model"]),
    ("report", &["model"]),
    ("port", &["model"]),
    ("sys", &["model", "port"]),
    ("shim", &["model", "port", "sys"]),
    ("image", &["model", "port", "sys"]),
    ("volume", &["model", "port", "sys"]),
    ("net", &["model", "port", "sys"]),
    ("source", &["model", "port", "sys"]),
    ("backend", &["model", "port", "sys", "shim", "image", "volume", "net"]),
    ("control", &["model", "manifest", "admit", "plan", "report", "port"]),
];

/// Crates that do I/O, keep time or make noise: not for the pure stages.
const IMPURE_CRATES: &[&str] =
    &["tokio", "tracing", "git2", "notify", "nix", "rustix", "axum", "hyper", "rtnetlink", "std::fs", "std::net::Tcp"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    files
        .into_iter()
        .map(|p| {
            let name = p.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&p).unwrap())
        })
        .collect()
}

/// The text before the inline tests.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    production(text).lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")).map(|(i, l)| (i + 1, l))
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

#[test]
fn every_file_opens_with_a_door_sign() {
    let missing: Vec<String> =
        sources().into_iter().filter(|(_, t)| !t.trim_start().starts_with("//!")).map(|(n, _)| n).collect();
    assert!(missing.is_empty(), "files without a `//!` line at the top: {missing:?}");
}

#[test]
fn files_stay_under_five_hundred_lines() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(n, _)| !is_test_file(n))
        .map(|(n, t)| (n, production(&t).lines().count()))
        .filter(|(_, lines)| *lines > 500)
        .map(|(n, lines)| format!("{n}: {lines} lines, make a better cut"))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn unsafe_stays_in_sys() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        if name.starts_with("src/sys/") || is_test_file(&name) {
            continue;
        }
        for (line, code) in code_lines(&text) {
            // A hyphen joins: names such as `unsafe-sysctls` are Kubernetes' own.
            let tokens: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-')).collect();
            if tokens.contains(&"unsafe") {
                found.push(format!("{name}:{line}"));
            }
        }
    }
    assert!(found.is_empty(), "`unsafe` outside src/sys: {found:?}");
}

#[test]
fn floors_import_downwards_only() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        let folder = name.trim_start_matches("src/").split('/').next().unwrap();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(f, _)| *f == folder) else { continue };
        for (line, code) in code_lines(&text) {
            for rest in code.split("crate::").skip(1) {
                let module: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_module = MAY_IMPORT.iter().any(|(f, _)| *f == module)
                    || ["serve", "cli", "config"].contains(&module.as_str());
                if is_module && module != folder && !allowed.contains(&module.as_str()) {
                    found.push(format!("{name}:{line}: {folder} may not import {module}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn pure_stages_do_no_io() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        let pure =
            ["model", "manifest", "admit", "plan", "report"].iter().any(|f| name.starts_with(&format!("src/{f}/")));
        if !pure || is_test_file(&name) {
            continue;
        }
        for (line, code) in code_lines(&text) {
            for bad in IMPURE_CRATES {
                let uses = code.contains(&format!("{bad}::")) || code.trim_start().starts_with(&format!("use {bad}"));
                if uses {
                    found.push(format!("{name}:{line}: {bad} in a pure stage"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_control_loop_names_no_adapter() {
    let found: Vec<String> = sources()
        .into_iter()
        .filter(|(n, _)| n.starts_with("src/control/"))
        .flat_map(|(n, t)| {
            code_lines(&t)
                .filter(|(_, c)| ["git2", "notify::", "nix::", "rustix", "axum"].iter().any(|b| c.contains(b)))
                .map(|(l, _)| format!("{n}:{l}"))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "control works over ports only: {found:?}");
}

/// Files whose effects pass no fault point: what they leave when they are cut short is nobody's state. File or folder, and why.
const WITHOUT_FAULT_POINTS: &[(&str, &str)] = &[
    ("src/cli/cp", "a copy for a person, who makes it again"),
    ("src/cli/demo/", "a directory of its own, thrown away as a whole; its agent has all points"),
    ("src/cli/probe.rs", "tries out what the machine can do, in a process and a directory of its own"),
];

/// Where raw effects are: the functions that everything else goes through.
const WRAPPERS: &str = "src/sys/effect/";

/// Calls that change something outside of the process, by the words they are called with.
const RAW_EFFECTS: &[&str] = &[
    "File::create",
    "File::options",
    "OpenOptions",
    "OFlags::CREATE",
    "OFlags::TRUNC",
    "DirBuilder",
    "UnixListener::bind",
    "fallocate(",
    "fchmod(",
    "fchown(",
    "chmodat(",
    "chownat(",
    "fs::chown",
    "fs::copy",
    "fs::create_dir",
    "fs::hard_link",
    "fs::remove_",
    "fs::rename",
    "fs::set_permissions",
    "fs::write",
    "fs::fsync",
    "fs::symlinkat",
    "fs::unlinkat",
    "io::copy",
    "OFlags::TMPFILE",
    "net::bind",
    "linkat(",
    "mkdirat(",
    "mknodat(",
    "renameat(",
    "set_len(",
    "set_permissions(",
    "setxattr(",
    "symlink(",
    "sync_all(",
    "sync_data(",
    "syncfs(",
    "utimensat(",
    "futimens(",
    ".write_all(",
    "write_all_at(",
    "rustix::mount::mount",
    "rustix::mount::unmount",
    "rustix::mount::move",
    "nix::mount",
    "unshare(",
    ".spawn()",
    ".output()",
    ".status()",
    ".kill()",
    "kill_process",
    "pidfd_send_signal(",
    "rustix::io::write(",
    "libc::syscall",
    "execveat",
    "fork(",
    "sethostname",
    ".execute().await",
];

/// The same in the programs without a library, by the system call.
const RAW_CALLS: &[&str] = &[
    "nr::WRITE,",
    "nr::OPENAT",
    "nr::UNLINKAT",
    "nr::RENAMEAT",
    "nr::LINKAT",
    "nr::FTRUNCATE",
    "nr::FSYNC",
    "nr::PIDFD_SEND_SIGNAL",
];

/// Where these are, and where they are put to the test.
const EMBEDDED_WRAPPERS: &[&str] = &["src/sys/embedded/effect.rs", "src/sys/embedded/fault.rs"];

/// Lines that look like an effect and are none, or are part of one: file, words of the line, why.
const NO_EFFECTS: &[(&str, &str, &str)] = &[
    ("src/sys/infra.rs", "fork(", "within the effect `clone`"),
    ("src/sys/infra.rs", "libc::sethostname", "of the pod alone, within the effect `clone`"),
    ("src/sys/infra.rs", "libc::syscall", "of the process that the effect `clone` makes, which is told from outside"),
    ("src/sys/spawn.rs", "fork(", "a process that nobody knows yet: what it does passes points of its own"),
    ("src/shim/container.rs", "fork(", "likewise"),
    ("src/shim/exec.rs", "fork(", "likewise"),
    ("src/shim/spawn.rs", "zygote::fork(", "likewise"),
    ("src/shim/zygote.rs", "fork(", "likewise"),
    ("src/shim/run.rs", "fork(", "likewise"),
    ("src/shim/users.rs", "fork(", "likewise"),
    ("src/sys/entrance.rs", "fork(", "likewise"),
    ("src/sys/users.rs", "spawn::fork(", "likewise"),
    ("src/sys/spawn.rs", "rustix::io::write(&sender", "a pipe: the process that forked reads it"),
    ("src/sys/spawn.rs", "libc::syscall", "what the calling process alone has: open files, signals, keyring, program"),
    ("src/sys/seccomp.rs", "libc::syscall", "of the calling process alone"),
    ("src/sys/mount.rs", "libc::syscall", "a question to the kernel"),
    ("src/sys/sealed.rs", "libc::syscall(", "a view that nobody else has"),
    (
        "src/sys/devices.rs",
        "libc::SYS_bpf",
        "within the effect `attach bpf`; a program that is only loaded ends with its file",
    ),
    ("src/shim/seccomp/profile.rs", "execveat", "names of system calls"),
    ("src/shim/seccomp/profile.rs", "sethostname", "names of system calls"),
    ("src/shim/relay.rs", "rustix::io::write(&self.to", "a stream of a command: who reads it is a person or a process"),
    ("src/shim/attach.rs", "rustix::io::write(io::std", "likewise"),
    ("src/sys/embedded/monitor.rs", "O_CLOEXEC, 0, 0]", "opened for reading"),
    ("src/sys/embedded/attach.rs", "nr::WRITE,", "the container's stdin: who reads it is a process"),
    ("src/sys/embedded.rs", "io::copy", "memory of this process, which ends with it"),
    ("src/sys/pidfd.rs", "pidfd_send_signal", "within the effect `kill`"),
    ("src/net/nft.rs", "stdin.write_all", "within the effect `nft`"),
    ("src/shim/spawn.rs", "agent.write_all", "a socket: the shim reads it"),
    ("src/shim/run.rs", "agent.write_all", "a socket: who runs the command reads it"),
    ("src/shim/run.rs", "rustix::io::write(&leash.caller", "a socket: the agent reads it"),
    ("src/shim/zygote.rs", "process.kill()", "what shims are forked from, which itself does nothing"),
    ("src/shim/process.rs", "stdout.write_all", "a socket: the agent reads it"),
    ("src/shim/container.rs", "first.write_all", "a socket: the container's first process reads it"),
    ("src/shim/first.rs", "self.word).write_all", "a socket: the shim reads it"),
    ("src/shim/exec.rs", "write_all(&child", "a pipe: the command that is given reads it"),
    ("src/shim/exec.rs", "hindered).write_all", "a pipe: who runs the command reads it"),
    ("src/shim/users.rs", "number.write_all", "a pipe: the shim reads it"),
    ("src/sys/users.rs", "child.write_all", "a socket: the infra process reads it"),
    ("src/sys/users.rs", "theirs.write_all", "a socket: this process reads it"),
    ("src/image/disk.rs", "io::sink()", "nothing is kept"),
    ("src/image/disk.rs", "file.write_all(bytes)", "within a replacement, whose file passes points"),
    ("src/image/tarball.rs", "io::sink()", "nothing is kept"),
    ("src/image/input.rs", "effect::Writer", "by the wrapper"),
    ("src/image/unpack.rs", "effect::Writer", "by the wrapper"),
    ("src/image/registry/credentials.rs", "stdin.write_all", "a pipe: the helper reads it"),
    ("src/image/input.rs", "OFlags::TMPFILE", "a file without a name, which ends with this process"),
    ("src/net/busy.rs", "net::bind", "a look whether a port is free"),
    ("src/serve/client.rs", ".status()", "of an answer"),
    ("src/backend/native/handler/grpc.rs", "response.status()", "of an answer"),
    ("src/backend/native/handler/http.rs", "response.status()", "of an answer"),
    ("src/cli/engine.rs", "layout.status()", "a path"),
    ("src/cli/remove.rs", "layout.status()", "a path"),
    ("src/source/place.rs", "OpenOptions", "for systems where no agent runs"),
    ("src/source/place.rs", "std::fs::remove_file(&temporary)", "for systems where no agent runs"),
    ("src/source/place.rs", "into_inner()?.sync_all()", "for systems where no agent runs"),
    ("src/source/place.rs", "std::fs::rename(&temporary", "for systems where no agent runs"),
    ("src/source/place.rs", "std::fs::create_dir_all(top", "for systems where no agent runs"),
    ("src/admit/digest.rs", "writer.write_all", "a sum in memory"),
    ("src/report/doctor.rs", "kill_process", "the name of an action of seccomp"),
    ("src/cli/status.rs", "layout.status()", "a path"),
    ("src/cli/forward.rs", "tokio::io::copy", "between sockets"),
    ("src/cli/printer.rs", "stream.write_all", "a terminal or what stands in its place"),
    ("src/cli/meter.rs", "stream.write_all", "a terminal"),
    ("src/source/status_file.rs", "STATUS_MARK.as_bytes()", "within a replacement, whose file passes points"),
];

#[test]
fn every_effect_of_the_runtime_passes_a_fault_point() {
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for (name, text) in sources() {
        let excused = WITHOUT_FAULT_POINTS.iter().any(|(place, _)| name.starts_with(place));
        if excused || name.starts_with(WRAPPERS) || is_test_file(&name) {
            continue;
        }
        let raw_effects = match is_embedded_program(&root().join(&name)) {
            true if EMBEDDED_WRAPPERS.contains(&name.as_str()) => continue,
            true => RAW_CALLS,
            false => RAW_EFFECTS,
        };
        for (line, code) in code_lines(&text) {
            let excuse = NO_EFFECTS.iter().position(|(file, words, _)| *file == name && code.contains(words));
            used.extend(excuse);
            let raw = raw_effects.iter().find(|raw| does(code, raw));
            if let (Some(raw), None) = (raw, excuse) {
                found.push(format!("{name}:{line}: {raw}: go by a function of {WRAPPERS}"));
            }
        }
    }
    assert!(found.is_empty(), "effects without a fault point: {found:#?}");
    let idle: Vec<_> = NO_EFFECTS.iter().enumerate().filter(|(i, _)| !used.contains(i)).collect();
    assert!(idle.is_empty(), "nothing needs these any more: {idle:?}");
    let names = sources();
    let gone: Vec<_> =
        WITHOUT_FAULT_POINTS.iter().filter(|(f, _)| !names.iter().any(|(n, _)| n.starts_with(f))).collect();
    assert!(gone.is_empty(), "no such files: {gone:?}");
}

/// Whether a line has these words as a call of their own: not as the end of another name, the name of a system call in a
/// text, or flags that a wrapper is given.
fn does(code: &str, raw: &str) -> bool {
    let other = |c: char| c.is_alphanumeric() || matches!(c, '_' | '"');
    let is_call = |at: usize| {
        let before = &code[..at];
        let is_part = before.ends_with(other) && raw.starts_with(char::is_alphabetic);
        !is_part && !before.ends_with("effect::")
    };
    code.match_indices(raw).any(|(at, _)| is_call(at)) && !code.contains("effect::create(")
}

/// `mod x;` lines of a file, as file paths.
fn declared(dir: &Path, text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|l| {
            let l =
                l.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
            l.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
        })
        .flat_map(|m| [dir.join(format!("{m}.rs")), dir.join(&m).join("mod.rs")])
        .filter(|p| p.exists())
        .collect()
}

/// Files that are no modules: programs of their own that the build compiles and embeds.
fn is_embedded_program(path: &Path) -> bool {
    path.starts_with(root().join("src/sys/embedded"))
}

#[test]
fn no_file_is_forgotten() {
    for (dir, tops) in [("src", &["lib.rs", "main.rs"][..]), ("tests/it", &["main.rs"][..])] {
        let mut reached: BTreeSet<PathBuf> = tops.iter().map(|t| root().join(dir).join(t)).collect();
        let mut queue: Vec<PathBuf> = reached.iter().cloned().collect();
        while let Some(file) = queue.pop() {
            let text = std::fs::read_to_string(&file).unwrap();
            let stem = file.file_stem().unwrap().to_str().unwrap();
            let parent = file.parent().unwrap();
            let base = if ["mod", "lib", "main"].contains(&stem) { parent.to_path_buf() } else { parent.join(stem) };
            for next in declared(&base, &text) {
                if reached.insert(next.clone()) {
                    queue.push(next);
                }
            }
        }
        let mut all = Vec::new();
        rust_files(&root().join(dir), &mut all);
        let dead: Vec<&PathBuf> = all.iter().filter(|p| !reached.contains(*p) && !is_embedded_program(p)).collect();
        assert!(dead.is_empty(), "files no `mod` line reaches: {dead:?}");
    }
}

#[test]
fn the_top_level_is_fixed() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "src",
        "schemas",
        "fixtures",
        "tests",
        "examples",
        "target",
    ];
    let extra: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| !n.starts_with('.') && !allowed.contains(&n.as_str()))
        .collect();
    assert!(extra.is_empty(), "not part of the visible top level: {extra:?}");
}

/// The files that are compiled on every system: those a chain of `mod` lines without `cfg(target_os = "linux")` reaches.
fn portable_files() -> Vec<PathBuf> {
    let mut queue = vec![(root().join("src/lib.rs"), root().join("src"))];
    let mut found = Vec::new();
    while let Some((file, base)) = queue.pop() {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut linux = false;
        for line in production(&text).lines().map(str::trim) {
            if line.starts_with("#[") {
                linux |= line.contains("target_os = \"linux\"");
                continue;
            }
            let module = line.trim_start_matches("pub ").trim_start_matches("pub(super) ").strip_prefix("mod ");
            if let (Some(name), false) = (module.and_then(|m| m.strip_suffix(';')), linux) {
                let places = [base.join(format!("{name}.rs")), base.join(name).join("mod.rs")];
                queue.extend(places.into_iter().filter(|p| p.exists()).map(|p| (p, base.join(name))));
            }
            linux = false;
        }
        found.push(file);
    }
    found
}

#[test]
fn what_is_compiled_everywhere_names_nothing_of_linux_alone() {
    const LINUX: &[&str] = &[
        "crate::backend",
        "crate::image",
        "crate::net",
        "crate::shim",
        "crate::volume",
        "nix::",
        "rtnetlink::",
        "std::os::linux",
    ];
    let files = portable_files();
    assert!(files.iter().any(|f| f.ends_with("manifest/mod.rs")) && files.iter().any(|f| f.ends_with("cli/diff.rs")));
    assert!(!files.iter().any(|f| f.ends_with("shim/mod.rs")));
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = production(&text).lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            let gated = index > 0 && lines[index - 1].contains("target_os = \"linux\"");
            let names = LINUX.iter().any(|l| {
                line.match_indices(l).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
            });
            if names && !gated {
                wrong.push(format!("{}:{}: {}", file.display(), index + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "behind no cfg(target_os = \"linux\"): {wrong:#?}");
}
