//! Keeps the house in order: floors, `unsafe`, module docs, sizes, no forgotten files, no effect without a fault point.

mod effects;
mod scan;

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

/// Every place that runs a program, the words it does so by, and which program that is. Beside this one there are `nft`,
/// and the helpers that docker's configuration names. git is a library.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("src/net/nft.rs", "Command::new(program)", "nft"),
    ("src/cli/demo/leaks.rs", "Command::new(\"nft\")", "nft"),
    ("src/image/registry/credentials.rs", "Command::new(&program)", "docker-credential-NAME"),
    ("src/cli/demo/stage.rs", "Command::new(&self.program)", "this one"),
    ("src/cli/probe.rs", "Command::new(program)", "this one"),
    ("src/shim/zygote.rs", "Command::new(sealed::path(&program))", "this one"),
    ("src/sys/sealed.rs", "execve(&program", "this one"),
    ("src/sys/infra.rs", "SYS_execveat", "/pause"),
    ("src/sys/spawn.rs", "SYS_execveat", "the monitor, /pause"),
    ("src/shim/command.rs", "execve(&program", "a container's own"),
    ("src/sys/embedded/build.rs", "Command::new(rustc)", "the compiler, for the build"),
];

/// The words of the standard library and the system for running one.
const RUNS: &[&str] = &["Command::new", "execve(", "execveat", "execv(", "execvp", "fexecve", "posix_spawn", ".exec()"];

#[test]
fn no_program_is_run_but_nft_and_helpers_for_credentials() {
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for (name, text) in sources() {
        // The names of system calls are data there.
        if is_test_file(&name) || name.starts_with("src/shim/seccomp/") {
            continue;
        }
        for (line, code) in code_lines(&text).filter(|(_, code)| RUNS.iter().any(|words| code.contains(words))) {
            match PROGRAMS.iter().position(|(file, words, _)| *file == name && code.contains(words)) {
                Some(at) => drop(used.insert(at)),
                None => found.push(format!("{name}:{line}: {}", code.trim())),
            }
        }
    }
    assert!(found.is_empty(), "programs that the machine need not have: {found:#?}");
    assert_eq!(used.len(), PROGRAMS.len(), "one of them is run no more");
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
