//! No effect goes another way than by the wrappers of src/sys, each of which passes a fault point.
//!
//! What changes something outside of the process is reached through a few crates and modules. Of these, only functions that
//! are known to change nothing are called elsewhere, by whatever name they are imported; a call that is not known is refused.
//! Of the methods and types of the standard library those that change something are listed.

use std::collections::BTreeSet;

use super::scan::{Named, What, names};
use super::{is_embedded_program, is_test_file, root, sources};
use crate::points;

/// Files whose effects pass no fault point: what they leave when they are cut short is nobody's state. File or folder, and why.
const WITHOUT_FAULT_POINTS: &[(&str, &str)] = &[
    ("src/cli/cp", "a copy for a person, who makes it again"),
    ("src/cli/demo/", "a directory of its own, thrown away as a whole; its agent has all points"),
    ("src/cli/probe.rs", "tries out what the machine can do, in a process and a directory of its own"),
];

/// Where raw effects are: the functions that everything else goes through.
const WRAPPERS: &str = "src/sys/effect/";

/// Crates and modules through which something outside of the process can be changed: their functions are called only where
/// [`HARMLESS`] has them.
const GUARDED: &[&str] =
    &["std::fs", "std::os::unix::fs", "std::os::linux", "tokio::fs", "rustix", "nix", "libc", "libgit2_sys"];

/// Functions that change nothing, or only what the calling process has for itself: memory, open files, terminals that it
/// opened, signals, credentials, namespaces it stands in; and what is sent to a socket, whose reader is a process.
const HARMLESS: &[(&str, &str)] = &[
    ("std::fs", "canonicalize exists metadata read read_dir read_link read_to_string symlink_metadata"),
    ("tokio::fs", "metadata"),
    ("libgit2_sys", "git_odb git_odb_free git_odb_open git_odb_read_header git_oid"),
    ("rustix", "cmsg_space"),
    ("rustix::event", "poll"),
    (
        "rustix::fs",
        "accessat fcntl_add_seals fcntl_get_seals fcntl_setfl fgetxattr flistxattr flock fstat fstatfs fstatvfs major makedev \
         memfd_create minor open openat openat2 readlinkat seek stat statat statvfs statx",
    ),
    ("rustix::fs::inotify", "add_watch init"),
    ("rustix::io", "fcntl_dupfd_cloexec ioctl_fionread read retry_on_intr"),
    ("rustix::mount", "open_tree"),
    ("rustix::net", "connect ipproto listen recv recvmsg send sendmsg sendto shutdown socket_with socketpair"),
    ("rustix::net::sockopt", "set_ipv6_v6only set_socket_reuseaddr set_socket_timeout socket_type"),
    ("rustix::pipe", "pipe_with"),
    (
        "rustix::process",
        "fchdir getcwd geteuid getpid getrlimit ioctl_tiocsctty pidfd_open set_child_subreaper set_dumpable_behavior setsid \
         umask waitid",
    ),
    ("rustix::pty", "ioctl_tiocgptpeer unlockpt"),
    ("rustix::system", "sysinfo uname"),
    ("rustix::termios", "tcgetattr tcgetwinsize tcsetattr tcsetwinsize"),
    (
        "rustix::thread",
        "capabilities capability_is_in_bounding_set configure_capability_in_ambient_set move_into_link_name_space \
         remove_capability_from_bounding_set set_capabilities set_keep_capabilities set_no_new_privs \
         set_thread_res_uid",
    ),
    ("nix::sched", "setns"),
    ("nix::sys::resource", "getrlimit getrusage"),
    ("nix::sys::signal", "pthread_sigmask signal sigprocmask"),
    ("nix::sys::statvfs", "statvfs"),
    ("nix::sys::wait", "waitpid"),
    ("nix::unistd", "dup2_stderr dup2_stdin dup2_stdout execve setgroups setresgid setresuid setsid"),
    (
        "nix::libc",
        "_exit c_char c_int c_long c_ulong c_void chdir close dl_iterate_phdr dl_phdr_info dup2 fcntl gid_t madvise \
         malloc_trim mallopt mount_attr prctl read sbrk setfsgid setfsuid setsid siginfo_t size_t sock_filter sock_fprog \
         timex uid_t",
    ),
];

/// Of the types of guarded modules that open files or make something, the functions that do not. Other types are values.
const MAKERS: &[(&str, &str)] = &[("File", "from from_std open"), ("OpenOptions", ""), ("DirBuilder", "")];

/// Flags by which what only opens a file makes or cuts one.
const FLAGS: &[&str] = &["CREATE", "TRUNC", "TMPFILE", "O_CREAT", "O_TRUNC", "O_TMPFILE"];

/// Functions elsewhere, by the end of their paths.
const ELSEWHERE: &[&str] = &[
    "io::copy",
    "io::copy_buf",
    "io::copy_bidirectional",
    "UnixListener::bind",
    "UnixDatagram::bind",
    "tar::Archive",
    "tar::Builder",
    "zygote::fork",
    "spawn::fork",
    "git2::build",
    "Repository::clone",
    "Repository::init",
    "Repository::init_bare",
    "Repository::init_opts",
];

/// Methods, which may be called as functions of their types, too.
const METHODS: &[&str] = &[
    "set_len",
    "set_modified",
    "set_permissions",
    "set_times",
    "start_kill",
    "sync_all",
    "sync_data",
    "write_all",
    "write_all_at",
    "write_at",
    "write_fmt",
    "write_vectored",
];

/// Methods without an argument: others of these names are something else.
const BARE_METHODS: &[&str] = &["exec", "execute", "kill", "output", "spawn", "status"];

/// System calls of the programs without a library that change nothing outside of them.
const HARMLESS_CALLS: &str = "ACCEPT4 CLOCK_GETTIME CLOCK_NANOSLEEP CLOSE EXIT_GROUP FLOCK IOCTL LSEEK PIDFD_OPEN PPOLL PRCTL \
                              READ RT_SIGPROCMASK RT_SIGTIMEDWAIT SHUTDOWN SIGNALFD4 WAIT4";

/// Where the others are, and where they are put to the test.
const EMBEDDED_WRAPPERS: &[&str] = &["src/sys/embedded/effect.rs", "src/sys/embedded/fault.rs"];

/// Crates that have been looked at: those of [`GUARDED`], those whose functions are in these lists, and those that compute, or
/// read and watch.
const CRATES: &str = "anstream async-trait axum base64 crc32fast clap flate2 foldhash git2 granit-parser http-body-util hyper \
                      hyper-util ignore jiff jsonschema k8s-openapi notify serde serde_json serde_yaml sha2 similar strsim \
                      tokio tokio-util tracing tracing-subscriber libgit2-sys nix rtnetlink futures-util ring rustix tokio-rustls \
                      tar zstd";

/// Lines that look like an effect and are none, or are part of one: file, words of the line, why.
const NO_EFFECTS: &[(&str, &str, &str)] = &[
    ("src/sys/infra.rs", "libc::sethostname", "of the pod alone, within the effect `clone`"),
    ("src/sys/infra.rs", "libc::setns", "of the process that the effect `clone` makes, which is told from outside"),
    ("src/sys/infra.rs", "libc::syscall", "of the process that the effect `clone` makes, which is told from outside"),
    ("src/net/link.rs", ".get()", "a question"),
    ("src/net/link.rs", ".get(any)", "a question"),
    ("src/net/link.rs", "change(", "within the effect that it is named by"),
    ("src/net/link.rs", "let route = self.handle", "a question"),
    ("src/shim/exec.rs", "signal::kill(", "a process of its own that hangs: nobody else knows it"),
    ("src/shim/exec.rs", "writeln!(io::stderr()", "a stream of a command"),
    ("src/shim/relay.rs", "use nix::sys::signal::{", "what a person sends to the command that it runs"),
    ("src/shim/relay.rs", "kill(Pid::from_raw(-self", "likewise"),
    ("src/sys/spawn.rs", "signal::kill(", "a process of its own that hangs: nobody else knows it"),
    ("src/sys/spawn.rs", "asm!(", "a call on the stack of another process"),
    ("src/sys/embedded/rt.rs", "asm!(", "the entry point, a system call by its number, a copy of memory"),
    ("src/sys/infra.rs", "libc::clone(", "within the effect `clone`"),
    ("src/sys/infra.rs", "libc::write(", "likewise"),
    ("src/sys/infra.rs", "libc::mount(", "of the pod alone, within the effect `clone`"),
    ("src/sys/infra.rs", "libc::umount2(", "likewise"),
    ("src/sys/timekeeping.rs", "libc::adjtimex(", "a question"),
    ("src/cli/printer.rs", "writeln!(stream", "a terminal or what stands in its place"),
    ("src/source/place.rs", "Lasting::Whole, shared: true }.write(", "by the wrapper"),
    ("src/sys/spawn.rs", "fork(", "a process that nobody knows yet: what it does passes points of its own"),
    ("src/shim/exec.rs", "fork(", "likewise"),
    ("src/shim/spawn.rs", "zygote::fork(", "likewise"),
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
    ("src/shim/relay.rs", "rustix::io::write(&self.to", "a stream of a command: who reads it is a person or a process"),
    ("src/shim/attach.rs", "rustix::io::write(io::std", "likewise"),
    ("src/sys/embedded/monitor.rs", "O_CLOEXEC, 0, 0]", "opened for reading"),
    ("src/sys/embedded/attach.rs", "nr::WRITEV,", "a socket: who is attached reads it"),
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
    ("src/image/input.rs", ".writer(&file)", "by the wrapper"),
    ("src/image/unpack.rs", ".writer(&file)", "by the wrapper"),
    ("src/image/room.rs", "effect::Writer(self.file).write", "by the wrapper"),
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
    ("src/cli/status.rs", "layout.status()", "a path"),
    ("src/cli/forward.rs", "tokio::io::copy", "between sockets"),
    ("src/cli/printer.rs", "stream.write_all", "a terminal or what stands in its place"),
    ("src/cli/meter.rs", "stream.write_all", "a terminal"),
    ("src/source/status_file.rs", "STATUS_MARK.as_bytes()", "within a replacement, whose file passes points"),
];

fn starts_large(name: &str) -> bool {
    name.starts_with(char::is_uppercase)
}

fn has(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|w| w == word)
}

/// Whether a path lies in a guarded module; `libc` is one of `nix`, too.
fn is_guarded(path: &str) -> bool {
    GUARDED.iter().any(|module| path == *module || path.strip_prefix(module).is_some_and(|rest| rest.starts_with("::")))
}

/// Why a path of the code is an effect, unless it is none.
fn path_effect(path: &[String]) -> Option<String> {
    let text = path.join("::");
    let [before @ .., last] = path else { return None };
    let of = before.last().map_or("", String::as_str);
    let is_method = METHODS.contains(&last.as_str()) || BARE_METHODS.contains(&last.as_str());
    // `Command::spawn` and `File::set_len`, given as functions.
    let is_function = is_method && starts_large(of) && (["Command", "Child", "File", "Write", "FileExt"].contains(&of));
    let is_elsewhere = ELSEWHERE.iter().any(|end| text == *end || text.ends_with(&format!("::{end}")));
    if is_function || is_elsewhere || (FLAGS.contains(&last.as_str()) && (of == "OFlags" || of == "libc")) {
        return Some(text);
    }
    if !is_guarded(&text) || starts_large(last) {
        return None;
    }
    if starts_large(of) {
        let maker = MAKERS.iter().find(|(name, _)| *name == of);
        return maker.filter(|(_, harmless)| !has(harmless, last)).map(|_| text);
    }
    let module = before.join("::");
    let is_harmless = HARMLESS.iter().any(|(name, functions)| *name == module && has(functions, last));
    let is_module = HARMLESS.iter().any(|(name, _)| *name == text || name.starts_with(&format!("{text}::")));
    (!is_harmless && !is_module).then_some(text)
}

/// The same of an import. Of a guarded module nothing is imported without its name.
fn import_effect(path: &[String]) -> Option<String> {
    let text = path.join("::");
    let module = text.strip_suffix("::*");
    if module.is_some_and(is_guarded) { Some(text) } else { path_effect(path) }
}

/// Why something in a file is an effect, unless it is none.
fn effect_of(named: &Named, writes: bool) -> Option<String> {
    match &named.what {
        What::Import(path) => import_effect(path),
        What::Path(path) => path_effect(path),
        What::Method { name, bare } => {
            let is_bare = *bare && BARE_METHODS.contains(&name.as_str());
            // What writes is `std::io::Write` in these files.
            let is_write = writes && name == "write";
            (is_bare || is_write || METHODS.contains(&name.as_str())).then(|| format!(".{name}("))
        }
        What::Macro(name) => {
            let is_effect = match name.as_str() {
                "write" | "writeln" => writes,
                "asm" | "global_asm" => true,
                _ => false,
            };
            is_effect.then(|| format!("{name}!"))
        }
    }
}

/// The same in a program without a library.
fn embedded_effect(named: &Named) -> Option<String> {
    match &named.what {
        What::Path(path) => match &path[..] {
            [.., module, call] if module == "nr" => (!has(HARMLESS_CALLS, call)).then(|| path.join("::")),
            _ => None,
        },
        What::Import(path) => path.iter().any(|part| part == "call").then(|| path.join("::")),
        What::Macro(name) => name.ends_with("asm").then(|| format!("{name}!")),
        What::Method { .. } => None,
    }
}

/// Every effect of a file outside of the wrappers: the line and what it is.
fn effects(name: &str, text: &str) -> Vec<(usize, String)> {
    let names = names(text);
    let embedded = is_embedded_program(&root().join(name));
    let writes = ["std::io::Write", "tokio::io::AsyncWriteExt"];
    let writes =
        names.iter().any(|n| matches!(&n.what, What::Import(path) if writes.contains(&path.join("::").as_str())));
    let effect = |named: &Named| if embedded { embedded_effect(named) } else { effect_of(named, writes) };
    names.iter().filter_map(|named| Some((named.line, effect(named)?))).collect()
}

#[test]
fn every_effect_of_the_runtime_passes_a_fault_point() {
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for (name, text) in sources() {
        let excused = WITHOUT_FAULT_POINTS.iter().any(|(place, _)| name.starts_with(place));
        if excused || name.starts_with(WRAPPERS) || EMBEDDED_WRAPPERS.contains(&name.as_str()) || is_test_file(&name) {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        for (line, effect) in effects(&name, &text) {
            let code = lines[line - 1];
            let excuse = NO_EFFECTS.iter().position(|(file, words, _)| *file == name && code.contains(words));
            used.extend(excuse);
            // Flags that a wrapper is given.
            let is_given = FLAGS.iter().any(|flag| effect.ends_with(flag)) && code.contains("effect::create");
            if excuse.is_none() && !is_given {
                found.push(format!("{name}:{line}: {effect}: go by a function of {WRAPPERS}"));
            }
        }
    }
    assert!(found.is_empty(), "effects without a fault point: {found:#?}");
    let idle: Vec<_> = NO_EFFECTS.iter().enumerate().filter(|(i, _)| !used.contains(i)).collect();
    assert!(idle.is_empty(), "nothing needs these any more: {idle:#?}");
    let names = sources();
    let gone: Vec<_> =
        WITHOUT_FAULT_POINTS.iter().filter(|(f, _)| !names.iter().any(|(n, _)| n.starts_with(f))).collect();
    assert!(gone.is_empty(), "no such files: {gone:?}");
}

/// Functions of the wrappers that have no effect themselves.
const NONE: &str = "after_fork null of_monitor open_existing passed_on temporary";

/// The wrapper that all changes of links go by.
const LINKS: &str = "src/net/link.rs";
const CHANGE: &str = "change";

/// The effects of a file, as the lists of the tests call them (`tests/it/points.rs`).
fn called_effects(name: &str, text: &str) -> BTreeSet<String> {
    let called = |named: Named| {
        let What::Path(path) = named.what else { return None };
        let wrapper: &str = match &path[..] {
            [.., of, function] if of == "effect" && !starts_large(function) && !has(NONE, function) => function,
            // One is made where it is written.
            [.., replacement] if replacement == "Replacement" => "write",
            [function] if name == LINKS && function == CHANGE => function,
            _ => return None,
        };
        let function = points::function(text, named.line);
        let is_way = name == LINKS && function == CHANGE;
        (!is_way).then(|| points::named(name, function, wrapper))
    };
    names(text).into_iter().filter_map(called).collect()
}

/// The same of a program without a library: each has a name of its own.
fn embedded_effects(text: &str) -> BTreeSet<String> {
    let named = |line: &str| {
        let (_, rest) = line.split_once("(b\"")?;
        let is_call = line.contains("effect::") || line.trim_start().starts_with("remove(b\"");
        is_call.then(|| format!("monitor {}", rest.split('"').next().unwrap_or_default()))
    };
    text.lines().filter_map(named).collect()
}

#[test]
fn somebody_is_killed_at_every_effect() {
    let mut all = BTreeSet::new();
    for (name, text) in sources() {
        let excused = WITHOUT_FAULT_POINTS.iter().any(|(place, _)| name.starts_with(place));
        if excused || name.starts_with(WRAPPERS) || is_test_file(&name) {
            continue;
        }
        match is_embedded_program(&root().join(&name)) {
            true => all.extend(embedded_effects(&text)),
            false => all.extend(called_effects(&name, &text)),
        }
    }
    let lists = std::fs::read_dir(points::lists()).unwrap().flatten().map(|list| list.path());
    let lists = lists.filter(|path| path.extension().is_some_and(|e| e == "txt"));
    let killed: BTreeSet<String> = lists.flat_map(|list| points::list(&list)).collect();
    // What is within the wrappers is of whoever calls them.
    let gone: Vec<&String> = killed.difference(&all).filter(|effect| !effect.starts_with(WRAPPERS)).collect();
    assert!(gone.is_empty(), "the sources have these no more: write the lists anew (`UPDATE_EXPECTED=1`): {gone:#?}");
    let left: Vec<&String> = all.difference(&killed).collect();
    let excused = points::excused();
    let excuse = |effect: &str| excused.keys().find(|start| effect.starts_with(*start));
    let found: Vec<&&String> = left.iter().filter(|effect| excuse(effect).is_none()).collect();
    assert!(found.is_empty(), "no test with a list kills anybody at these: {found:#?}");
    let used: BTreeSet<&String> = left.iter().filter_map(|effect| excuse(effect)).collect();
    let idle: Vec<&String> = excused.keys().filter(|start| !used.contains(start)).collect();
    assert!(idle.is_empty(), "these need no excuse any more: {idle:#?}");
}

#[test]
fn effects_are_called_by_file_function_and_wrapper() {
    let code = "use crate::sys::effect;\nfn one() {\n    let n = effect::null();\n    x.and_then(|x| effect::sync(x));\n}\n\
                pub fn two() {\n    effect::effect(\"a\", b, c)\n}\n";
    assert_eq!(
        called_effects("src/x.rs", code).into_iter().collect::<Vec<_>>(),
        ["src/x.rs one sync", "src/x.rs two effect"]
    );
    let code = "let fd = effect::create(b\"create x\", p);\nremove(b\"unlink y\", q);\nother(b\"z\");\n";
    assert_eq!(embedded_effects(code).into_iter().collect::<Vec<_>>(), ["monitor create x", "monitor unlink y"]);
}

/// Effects on what is open, or on a name of a directory that is: in volumes, where containers write too, no others are had.
const BELOW_HANDLES: &str = "change_group change_mode change_mode_at change_owner change_owner_at make_dir_at \
                             make_dir_of_mode move_at remove_at rename_at replace replace_and_sync_later replace_for_now \
                             symlink_at sync write";

/// Effects by path in `src/volume`: file, function, why a container cannot change what it leads to.
const VOLUMES_BY_PATH: &[(&str, &str, &str)] = &[
    ("src/volume/host_path.rs", "make_dirs", "a path of the machine, as its owner wrote it"),
    ("src/volume/host_path.rs", "create", "likewise"),
    ("src/volume/mod.rs", "move_path", "a pod's directory, which is root's alone"),
    ("src/volume/mod.rs", "make", "the directory of all pods"),
    ("src/volume/record.rs", "make", "a pod's directory, which is root's alone"),
    ("src/volume/tmpfs.rs", "make", "the directory of all pods"),
    ("src/volume/tmpfs.rs", "mount", "a directory that is open, by its name in /proc"),
    ("src/volume/tmpfs.rs", "unmount", "a volume's own place, in a pod's directory, and no link is followed"),
];

/// The effects by path in a file of `src/volume`.
fn by_path(text: &str) -> Vec<(usize, String)> {
    let by_path = |named: Named| {
        let What::Path(path) = named.what else { return None };
        let [.., of, function] = &path[..] else { return None };
        let is_one = match of.as_str() {
            "effect" => !starts_large(function) && !has(BELOW_HANDLES, function),
            "Dir" => function == "make",
            _ => false,
        };
        is_one.then(|| (named.line, function.clone()))
    };
    names(text).into_iter().filter_map(by_path).collect()
}

#[test]
fn volumes_are_written_to_by_what_is_open() {
    let (mut found, mut used) = (Vec::new(), BTreeSet::new());
    for (name, text) in sources().into_iter().filter(|(name, _)| name.starts_with("src/volume/")) {
        for (line, function) in by_path(&text) {
            match VOLUMES_BY_PATH.iter().position(|(file, allowed, _)| *file == name && *allowed == function) {
                Some(excuse) => drop(used.insert(excuse)),
                None => found.push(format!("{name}:{line}: {function} by a path: use a function on a `Dir`")),
            }
        }
    }
    assert!(found.is_empty(), "containers may have put a link on the way: {found:#?}");
    assert_eq!(used.len(), VOLUMES_BY_PATH.len(), "one of them is needed no more");
    for (code, expected) in [
        ("use crate::sys::effect; fn f() { effect::change_mode_of(p, 0o644) }", "change_mode_of"),
        ("use crate::sys::effect as e; fn f() { e::remove_file(p) }", "remove_file"),
        ("use crate::sys::effect::make_dirs; fn f() { make_dirs(p, 0o755) }", "make_dirs"),
        ("use crate::sys::beneath::Dir; fn f() { Dir::make(p, 0o755) }", "make"),
    ] {
        assert_eq!(by_path(code), [(1, expected.to_owned())], "{code}");
    }
    assert_eq!(by_path("use crate::sys::effect; fn f() { effect::symlink_at(t, dir, name) }"), []);
}

#[test]
fn an_effect_is_found_by_whatever_name_it_is_called() {
    for (code, expected) in [
        ("fn f() { std::fs::write(p, b) }", "std::fs::write"),
        ("use std::fs; fn f() { fs::remove_dir(p) }", "std::fs::remove_dir"),
        ("use std::fs as files; fn f() { files :: rename(a, b) }", "std::fs::rename"),
        ("use std::{io, fs::{self as files}}; fn f() { files::hard_link(a, b) }", "std::fs::hard_link"),
        ("fn f() { use std::fs::remove_file as gone; }", "std::fs::remove_file"),
        ("use std::fs::*;", "std::fs::*"),
        ("type Opened = std::fs::File; fn f() { Opened::create(p) }", "std::fs::File::create"),
        ("use std::fs::File; fn f() { p.and_then(File::create_new) }", "std::fs::File::create_new"),
        ("fn f() { tokio::fs::write(p, b) }", "tokio::fs::write"),
        ("use rustix::fs::{fstat, ftruncate};", "rustix::fs::ftruncate"),
        ("fn f() { rustix::process::pivot_root(a, b) }", "rustix::process::pivot_root"),
        ("use nix::{libc, sys::signal::Signal}; fn f() { libc::umount2(a, b) }", "nix::libc::umount2"),
        ("fn f() { nix::sys::signal::killpg(a, b) }", "nix::sys::signal::killpg"),
        ("fn f() { open(p, OFlags::WRONLY | OFlags::CREATE) }", "OFlags::CREATE"),
        ("fn f() { command\n.spawn\n() }", ".spawn("),
        ("fn f() { std::process::Command::status(&mut c) }", "std::process::Command::status"),
        ("use std::io::Write as _; fn f() { write!(file, \"x\") }", "write!"),
        ("use std::io::Write; fn f() { file.write(b) }", ".write("),
        ("fn f() { file.set_times(t) }", ".set_times("),
        ("fn f() { let _ = r#\"\"\"#; let _ = '\"'; std::io::copy(a, b) }", "std::io::copy"),
        (
            "#[cfg(test)]\nmod tests { fn f() { std::fs::write(p, b) } }\nfn f() { std::fs::copy(a, b) }",
            "std::fs::copy",
        ),
        ("#[cfg(test)]\nuse x::Y;\nfn f() { std::fs::copy(a, b) }", "std::fs::copy"),
        ("fn f() { unsafe { asm!(\"syscall\") } }", "asm!"),
    ] {
        let found: Vec<String> = effects("src/x.rs", code).into_iter().map(|(_, effect)| effect).collect();
        assert_eq!(found, [expected], "{code}");
    }
    for (code, expected) in [("fn f() { rt::call(nr::MKDIRAT, [0; 5]) }", "nr::MKDIRAT"), ("use rt::call;", "rt::call")]
    {
        let found: Vec<String> = effects("src/sys/embedded/x.rs", code).into_iter().map(|(_, effect)| effect).collect();
        assert_eq!(found, [expected], "{code}");
    }
    for code in [
        "// std::fs::write(p, b)\n/* std::fs::write */ fn f<'a>() { let _ = \"std::fs::write(p, b)\"; std::fs::read(p) }",
        "use std::fmt::Write; fn f() { write!(text, \"x\") }",
        "fn f() { answer.status(x); tasks.spawn(x); effect::write(p, b) }",
    ] {
        assert_eq!(effects("src/x.rs", code), [], "{code}");
    }
}

#[test]
fn every_crate_has_been_looked_at_for_effects() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut depends = false;
    let mut unknown = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            depends = line.ends_with("dependencies]") && !line.contains("dev-");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| depends) {
            unknown.extend(Some(name).filter(|name| !has(CRATES, name)));
        }
    }
    assert!(unknown.is_empty(), "can they change something outside of the process? {unknown:?}");
}
