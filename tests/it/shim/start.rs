//! Containers from the start to the exit record.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podwright::port::{ErrorKind, PortError};
use podwright::shim::Shim;
use podwright::sys::infra::Infra;
use podwright::sys::{cgroup, lock, mount, pidfd, process};

use super::fixture::{Container, Place, SIGKILL, SIGTERM, exe, until};
use crate::support;

#[test]
fn e2e_a_container_runs_logs_and_ends_with_its_exit_code() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("plain", "echo out; echo err >&2; printf part; exit 7");
    let started = container.start();
    let exit = container.end();
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (7, None, false));
    assert_eq!(exit.started_at, Some(started.started_at));
    assert!(exit.finished_at >= started.started_at);
    assert_eq!(exit.reason, None);
    let log = container.log();
    assert!(log.contains("stdout F out\n") && log.contains("stderr F err\n"), "{log}");
    assert!(log.contains("stdout P part\n"), "the end of the stream ends no line: {log}");
    for line in fs::read_to_string(&container.request.log_path).unwrap().lines() {
        let time = line.split(' ').next().unwrap();
        assert_eq!((time.len(), &time[29..]), (30, "Z"), "{line}");
        assert!(time.parse::<jiff::Timestamp>().unwrap() >= started.started_at, "{line}");
    }
    let recorded: podwright::shim::Started =
        serde_json::from_slice(&fs::read(container.dir.join("started.json")).unwrap()).unwrap();
    assert_eq!(recorded, started);
    // It writes its record before it ends.
    until("the end of the monitor", || process::start_ticks(started.monitor_pid).is_none().then_some(()));
}

#[test]
fn e2e_long_lines_are_split_and_all_output_is_kept() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; seq 1 20000; exec >&-; sleep 0.1; echo last >&2";
    let (exit, log) = place.container("long", script).run();
    assert_eq!(exit.exit_code, 0);
    let out: Vec<&str> = log.lines().filter_map(|l| l.strip_prefix("stdout ")).collect();
    let split: Vec<(&str, usize)> = out[..3].iter().map(|l| (&l[..1], l.len() - 2)).collect();
    assert_eq!(split, [("P", 16384), ("P", 16384), ("F", 40000 - 2 * 16384)]);
    let numbers: Vec<String> = (1..=20000).map(|n| format!("F {n}")).collect();
    assert_eq!(out[3..], numbers, "every line, once, in order");
    assert!(log.ends_with("stderr F last\n"));
}

#[test]
fn e2e_signals_end_a_container_with_128_and_their_number() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("trap", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    let started = container.start();
    container.wait_log("ready");
    pidfd::kill(started.pid, SIGTERM).unwrap();
    assert_eq!(container.end().exit_code, 3, "no signal is blocked or ignored that should not be");
    assert!(container.log().ends_with("stdout F bye\n"));
    let container = place.container("kill", "sleep 1000");
    let started = container.start();
    pidfd::kill(started.pid, SIGKILL).unwrap();
    let exit = container.end();
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (137, Some(9), false));
}

#[test]
fn e2e_a_broken_pipe_ends_a_process_in_a_container() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let script = "grep -E 'Sig(Blk|Ign)' /proc/self/status; yes | head -n 1; ls -l /proc/self/fd | wc -l";
    let (_, log) = place.container("pipe", script).run();
    assert!(log.contains("SigBlk:\t0000000000000000"), "{log}");
    assert!(log.contains("SigIgn:\t0000000000000000"), "{log}");
    // "total", three streams, and the directory itself.
    assert!(log.ends_with("stdout F y\nstdout F 5\n"), "no descriptor leaks: {log}");
}

#[test]
fn e2e_namespaces_are_joined_by_path() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let infra = place.infra(|s| s.pid = true);
    let all = [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")];
    let script = "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done; hostname; tr '\\0' '\\n' < /proc/1/cmdline; ls /proc/1/root | wc -l";
    let (exit, log) = place.container("joined", script).join(&infra, &all).run();
    let mut expected = String::new();
    for (_, name) in all {
        let link = fs::read_link(format!("/proc/{}/ns/{name}", infra.pid)).unwrap();
        expected.push_str(&format!("stdout F {}\n", link.display()));
    }
    expected.push_str("stdout F pod-name\nstdout F /pause\n");
    assert_eq!(exit.exit_code, 0);
    assert!(log.starts_with(&expected), "{log}");
    // Without CAP_SYS_PTRACE it may not even look; with it, there is nothing to see.
    assert!(log.contains("stdout F 0\n"), "{log}");
}

#[test]
fn e2e_namespaces_of_a_process_that_got_the_infra_process_s_number_are_not_joined() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let (plain, with_users) = (place.infra(|_| {}), place.infra(|s| s.users = Some(1 << 30)));
    let (pid, tick) = (plain.pid, plain.start_ticks);
    let other = |infra: Infra| Infra { start_ticks: infra.start_ticks - 1, ..infra };
    let why = format!(
        "opening the namespace /proc/{pid}/ns/net: the infra process {pid}, which started at tick {} of this boot, has \
         ended: one of tick {tick} has its number now",
        tick - 1
    );
    for (name, infra, namespaces, expected) in [
        ("other", Some(other(plain)), &[("network", "net")][..], why.as_str()),
        ("nobody", None, &[("network", "net")], "a namespace to join needs its infra process"),
    ] {
        let mut container = place.container(name, "true").join(&plain, namespaces);
        container.request.infra = infra;
        let error = container.try_start().unwrap_err();
        assert_eq!(error.message, expected);
        assert_eq!((container.end().exit_code, container.log()), (128, String::new()));
    }
    let users = place.container("users", "true").join(&with_users, &[("network", "net"), ("user", "user")]);
    let mut users = users.edit(|spec| {
        let range = serde_json::json!([{"containerID": 0, "hostID": 1 << 30, "size": podwright::sys::users::IDS}]);
        (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (range.clone(), range);
    });
    users.request.infra = Some(other(with_users));
    let error = users.try_start().unwrap_err();
    assert!(error.message.contains("which started at tick"), "{error}");
    assert_eq!((users.end().exit_code, users.log()), (128, String::new()));
}

#[test]
fn e2e_a_terminal_is_a_terminal_and_stdin_stays_open() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    // The console is the terminal, as with containerd and CRI-O.
    let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; \
                  number() { stat -c %t:%T $1; }; [ $(number /dev/console) = $(number $(tty)) ] && echo console; \
                  read -t 1 x; echo $?; exit 4";
    let (exit, log) = place
        .container("tty", script)
        .edit(|s| {
            s["process"]["terminal"] = true.into();
            s["process"]["args"][0] = "/bin/bash".into();
        })
        .run();
    // A terminal ends lines with a carriage return. `read` gives up after a second (above 128) and meets no end (1).
    assert_eq!(exit.exit_code, 4);
    assert_eq!(log, "stdout F /dev/pts/0\r\nstdout F all\r\nstdout F console\r\nstdout F 142\r\n");
    for (name, stdin, code) in [("open", true, "142"), ("closed", false, "1")] {
        let mut container = place.container(name, "read -t 1 x; echo $?");
        container = container.edit(|s| s["process"]["args"][0] = "/bin/bash".into());
        container.request.stdin = stdin;
        assert_eq!(container.run().1, format!("stdout F {code}\n"), "{name}");
    }
}

#[test]
fn e2e_a_command_that_cannot_be_executed_is_a_start_error() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let script = place.temp.path().join("script");
    fs::write(&script, "#!/no/interpreter\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    for (name, command, message) in [
        ("missing", "xyz", r#"exec: "xyz": executable file not found in $PATH"#.to_owned()),
        ("path", "/bin/xyz", r#"exec: "/bin/xyz": no such file or directory"#.to_owned()),
        ("mode", "/etc/passwd", r#"exec: "/etc/passwd": permission denied"#.to_owned()),
        ("interpreter", script, format!("exec: {script:?}: no such file or directory")),
    ] {
        let container = place.container(name, "").edit(|s| s["process"]["args"] = serde_json::json!([command]));
        let error = container.try_start().unwrap_err();
        assert_eq!(error.message, message);
        assert_eq!(error.waiting_reason, Some("RunContainerError"));
        let exit = container.end();
        assert_eq!((exit.exit_code, exit.reason.as_deref()), (128, Some("StartError")), "{name}");
        assert_eq!(exit.message.as_deref(), Some(message.as_str()));
        assert_eq!(exit.started_at, None);
        assert!(cgroup::pids(&container.request.cgroup).unwrap().is_empty());
    }
}

#[test]
fn e2e_a_start_that_fails_early_leaves_an_exit_record_and_one_without_a_shim_can_be_tried_again() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let mut container = place.container("lower", "true");
    container.request.lowers = vec!["/nowhere".into()];
    let error = container.try_start().unwrap_err();
    assert!(error.message.starts_with("mounting the root file system: "), "{error}");
    assert_eq!(container.end().exit_code, 128);
    // A program that is no shim at all.
    let container = place.container("exe", "true");
    let error =
        Shim::begin(Path::new("/bin/false"), &container.monitors).start(&container.request, || Ok(())).unwrap_err();
    assert!(error.message.contains("ended without a report") || error.message.contains("Broken pipe"), "{error}");
    assert_eq!(error.kind, podwright::port::ErrorKind::Unavailable);
    assert_eq!(container.run().0.exit_code, 0, "nothing says that it cannot be started");
}

/// Two file systems, one over the other, that nothing needs.
struct Stack(PathBuf);

impl Stack {
    fn new(place: &Path) -> Self {
        fs::create_dir(place).unwrap();
        let stack = Self(place.to_owned());
        for _ in 0..2 {
            mount::tmpfs(place, 1 << 20, 0o755).unwrap();
        }
        stack
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        while mount::is_mounted(&self.0).unwrap_or(false) && mount::unmount(&self.0).is_ok() {}
    }
}

#[test]
fn e2e_a_shim_has_none_of_the_mounts_that_its_container_does_not_need() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let stack = Stack::new(&place.temp.path().join("stack"));
    let container = place.container("mounts", "sleep 1000");
    let started = container.start();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", started.monitor_pid)).unwrap();
    let name = |path: &Path| path.display().to_string();
    assert!(mounts.contains(&name(&container.dir.join("bundle"))), "{mounts}");
    // Of those that are taken away one by one what lies below another one stays.
    assert!(!mounts.contains(&name(&stack.0)), "{mounts}");
    pidfd::kill(started.pid, SIGKILL).unwrap();
    container.end();
}

#[test]
fn e2e_links_to_what_a_container_needs_may_lie_on_other_mounts() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let links = Stack::new(&place.temp.path().join("links"));
    let data = place.temp.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("mark"), "given\n").unwrap();
    std::os::unix::fs::symlink(&data, links.0.join("data")).unwrap();
    std::os::unix::fs::symlink(place.temp.path(), links.0.join("root")).unwrap();
    let bind = serde_json::json!({"destination": "/given", "type": "bind", "source": links.0.join("data"), "options": ["rbind"]});
    let container =
        place.container("volume", "cat /given/mark").edit(|s| s["mounts"].as_array_mut().unwrap().push(bind));
    let container = with_image(container, &place, |_| {});
    assert_eq!((container.run().0.exit_code, container.log().contains("stdout F given\n")), (0, true));
    let mut container = place.container("root", "exit 3");
    let through = |path: &Path| links.0.join("root").join(path.strip_prefix(place.temp.path()).unwrap());
    container.request.instance_dir = through(&container.request.instance_dir);
    container.request.log_path = through(&container.request.log_path);
    assert_eq!(container.run().0.exit_code, 3);
}

#[test]
fn e2e_a_second_start_of_a_running_instance_is_refused() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("once", "sleep 1000");
    let started = container.start();
    assert_eq!(container.try_start().unwrap_err().kind, ErrorKind::Conflict);
    assert!(process::start_ticks(started.pid).is_some());
    assert!(!container.dir.join("exit.json").exists());
}

#[test]
fn e2e_a_shim_waits_in_its_cgroup_for_what_it_is_to_start_and_ends_without_it() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("early", "exit 3");
    let pids = || cgroup::pids(&container.monitors).unwrap();
    let is_there = |pid: &i32| {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        !cgroups.is_empty() && cgroups.lines().all(|line| line.ends_with(&container.monitors))
    };
    let shim = Shim::begin(exe(), &container.monitors);
    until("the shim to come into its cgroup", || pids().iter().any(is_there).then_some(()));
    drop(shim);
    until("the shim to end", || pids().is_empty().then_some(()));
    let shim = Shim::begin(exe(), &container.monitors);
    let early = until("another one", || pids().into_iter().find(is_there));
    let started = shim.start(&container.request, || Ok(())).unwrap();
    assert_eq!(started.monitor_pid, early);
    assert_eq!(container.end().exit_code, 3);
}

#[test]
fn e2e_the_monitor_is_outside_of_everything_of_the_agent() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("outlives", "sleep 1000");
    let started = container.start();
    let monitor = format!("/proc/{}", started.monitor_pid);
    until("the shim to be a monitor", || {
        fs::read(format!("{monitor}/cmdline")).ok().filter(|c| c.starts_with(b"podwright-monitor\0"))
    });
    let stat = fs::read_to_string(format!("{monitor}/stat")).unwrap();
    let fields: Vec<i64> =
        stat.rsplit_once(')').unwrap().1.split_whitespace().skip(1).take(3).map(|f| f.parse().unwrap()).collect();
    let own = i64::from(std::process::id());
    assert_ne!(fields[0], own, "it is no child of this process, so the end of this process is nothing to it");
    let ours = fs::read_to_string("/proc/self/stat").unwrap();
    let our_session: i64 = ours.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert_ne!(fields[2], our_session, "a session of its own");
    for line in fs::read_to_string(format!("{monitor}/cgroup")).unwrap().lines() {
        assert!(line.ends_with(&container.monitors), "{line}");
    }
    for signal in [1, 2, 3, 13, 15] {
        pidfd::kill(started.monitor_pid, signal).unwrap();
    }
    assert!(lock::is_held(&container.dir.join("lock")).unwrap());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(container.dir.to_str().unwrap()), "nothing is mounted on the machine");
    pidfd::kill(started.pid, SIGKILL).unwrap();
    assert_eq!(container.end().exit_code, 137);
}

#[test]
fn e2e_a_killed_monitor_frees_the_lock_and_the_cgroup_finds_the_container() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("lost", "sleep 1000 & exec sleep 1001");
    let started = container.start();
    until("both processes", || (cgroup::pids(&container.request.cgroup).unwrap().len() == 2).then_some(()));
    pidfd::kill(started.monitor_pid, SIGKILL).unwrap();
    until("the lock to be free", || (!lock::is_held(&container.dir.join("lock")).unwrap()).then_some(()));
    assert!(process::start_ticks(started.pid).is_some(), "the container lives on");
    assert!(!container.dir.join("exit.json").exists());
    cgroup::kill_all(&container.request.cgroup).unwrap();
    // Whoever adopted it takes a moment to reap it.
    until("the container's end", || process::start_ticks(started.pid).is_none().then_some(()));
    cgroup::remove(&container.request.cgroup).unwrap();
}

#[test]
fn e2e_what_a_container_leaves_behind_ends_with_it() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let infra = place.infra(|s| s.pid = true);
    // In a process namespace that lives on, the kernel ends nobody.
    let container = place.container("rest", "sleep 1000 & sleep 1000 & echo done").join(&infra, &[("pid", "pid")]);
    let (exit, log) = container.run();
    assert_eq!((exit.exit_code, log.as_str()), (0, "stdout F done\n"));
    assert!(!fs::exists(format!("/sys/fs/cgroup/pids{}", container.request.cgroup)).unwrap());
    assert!(cgroup::pids(&container.request.cgroup).unwrap().is_empty());
    assert!(process::start_ticks(infra.pid).is_some());
}

#[test]
fn e2e_nothing_of_a_container_is_left_on_the_machine() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("traces", "echo data > /file; mkdir -p /var/x");
    assert_eq!(container.run().0.exit_code, 0);
    assert!(!fs::exists("/file").unwrap(), "it wrote into a layer of its own");
    assert_eq!(fs::read_to_string(container.dir.join("upper/file")).unwrap(), "data\n");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(place.temp.path().to_str().unwrap()));
    assert_eq!(fs::read_dir(container.dir.join("bundle")).unwrap().count(), 0, "the bundle was memory only");
    let cgroups = walk_cgroups(&place.cgroup);
    assert!(!cgroups.iter().any(|c| c.ends_with("/traces")), "{cgroups:?}");
}

fn walk_cgroups(path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let dir = hierarchy.path().join(&path[1..]);
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        found.extend(entries.filter(|e| e.path().is_dir()).map(|e| e.path().display().to_string()));
    }
    found
}

#[test]
fn e2e_covered_paths_are_empty_and_read_only() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let secret = place.temp.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "do not show").unwrap();
    fs::write(place.temp.path().join("file"), "do not show").unwrap();
    std::os::unix::fs::symlink(&secret, place.temp.path().join("link")).unwrap();
    let at = place.temp.path().display();
    let script =
        format!("cat {at}/link/key; cat {at}/file; ls {at}/secret; touch {at}/secret/x; echo x > {at}/file; echo end");
    let mut container = place.container("covered", &script);
    container.request.covered = vec![secret.clone(), place.temp.path().join("file"), "/nowhere".into()];
    let (exit, log) = container.run();
    assert_eq!(exit.exit_code, 0);
    assert!(!log.contains("do not show"), "{log}");
    assert_eq!(log.matches("Read-only file system").count(), 2, "{log}");
    assert_eq!(log.lines().filter(|l| l.starts_with("stdout")).count(), 1, "{log}");
}

#[test]
fn e2e_an_oom_kill_is_told_from_a_kill() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place
        .container("oom", "exec tail /dev/zero")
        .edit(|s| s["linux"]["resources"] = serde_json::json!({"memory": {"limit": 16 << 20}}));
    let exit = container.run().0;
    assert_eq!((exit.exit_code, exit.oom_killed), (137, true));
}

#[test]
fn e2e_a_working_directory_is_made_and_the_environment_is_the_containers_own() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("cwd", "pwd; env | sort").edit(|s| {
        s["process"]["cwd"] = "/no/such/dir".into();
        s["process"]["env"] = serde_json::json!(["B=2", "A=1", "PATH=/bin", "B=3"]);
    });
    let (exit, log) = container.run();
    assert_eq!(exit.exit_code, 0);
    assert!(log.starts_with("stdout F /no/such/dir\n"), "{log}");
    let variables: Vec<&str> = log
        .lines()
        .skip(1)
        .filter(|l| !l.contains("F PWD=") && !l.contains("F _=") && !l.contains("SHLVL") && !l.contains("OLDPWD"))
        .collect();
    assert_eq!(variables, ["stdout F A=1", "stdout F B=3", "stdout F PATH=/bin"]);
}

#[test]
fn e2e_a_container_that_executes_the_runtime_cannot_change_it() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let args = serde_json::json!(["/proc/self/exe", "--root", "/tmp/none", "image", "load"]);
    let mut container = place.container("self", "").edit(|s| s["process"]["args"] = args);
    container.request.stdin = true;
    let started = container.start();
    let exe = format!("/proc/{}/exe", started.pid);
    let own = fs::metadata(super::fixture::exe()).unwrap();
    let running = fs::metadata(&exe).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&running),
        std::os::unix::fs::MetadataExt::ino(&own),
        "it is this program"
    );
    let flags = nix::sys::statvfs::statvfs(exe.as_str()).unwrap().flags();
    assert!(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY), "on a read-only mount: {flags:?}");
    pidfd::kill(started.pid, SIGKILL).unwrap();
    container.end();
}

#[test]
fn e2e_a_start_that_fails_says_why_in_one_sentence() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let mount =
        |mount: serde_json::Value| move |s: &mut serde_json::Value| s["mounts"].as_array_mut().unwrap().push(mount);
    let source =
        serde_json::json!({"destination": "/data", "type": "bind", "source": "/no/source", "options": ["rbind"]});
    let kind = serde_json::json!({"destination": "/data", "type": "nosuchfs", "source": "x", "options": []});
    let memory = serde_json::json!({"memory": {"limit": 1000}});
    for (name, container, message) in [
        (
            "source",
            place.container("source", "true").edit(mount(source)),
            "mounting at /data what is at /no/source: No such file",
        ),
        ("kind", place.container("kind", "true").edit(mount(kind)), "mounting x at /data: No such device"),
        (
            "cwd",
            place.container("cwd", "true").edit(|s| s["process"]["cwd"] = "/etc/passwd".into()),
            "changing to /etc/passwd: Not a directory",
        ),
        (
            "memory",
            place.container("memory", "true").edit(|s| s["linux"]["resources"] = memory),
            "the kernel has killed the container's process for want of memory before it could run its program",
        ),
    ] {
        let error = container.try_start().unwrap_err();
        assert!(error.message.starts_with(message), "{name}: {}", error.message);
        assert_eq!(container.end().message, Some(error.message));
        assert!(cgroup::pids(&container.request.cgroup).unwrap().is_empty());
    }
}

#[test]
fn e2e_what_the_machine_does_not_grant_is_done_without() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let all: Vec<String> = fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("CapBnd"))
        .map(|l| l.split_whitespace().last().unwrap().to_owned())
        .collect();
    let caps = ["CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_SYS_ADMIN"];
    let container = place.container("caps", "grep CapBnd /proc/self/status; cat /proc/self/oom_score_adj").edit(|s| {
        s["process"]["capabilities"] = serde_json::json!({"bounding": caps, "effective": caps, "permitted": caps});
        s["process"]["oomScoreAdj"] = 500.into();
    });
    let (exit, log) = container.run();
    assert_eq!(exit.exit_code, 0);
    let granted = u64::from_str_radix(&all[0], 16).unwrap() & (1 | 1 << 24 | 1 << 21);
    assert_eq!(log, format!("stdout F CapBnd:\t{granted:016x}\nstdout F 500\n"));
    let container = place.container("score", "true").edit(|s| s["process"]["oomScoreAdj"] = (-999).into());
    assert_eq!(container.run().0.exit_code, 0);
}

#[test]
fn e2e_a_container_opens_only_the_devices_it_is_granted() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    // 1:1 is the machine's memory, 1:3 is null.
    let script =
        "mknod /mem c 1 1 && mknod /null c 1 3; cat /mem | head -c 1; cat /null && echo x > /null && echo fine";
    let container = place.container("devices", script).edit(|s| {
        s["linux"]["resources"] = serde_json::json!({"devices": [{"allow": false, "access": "rwm"}]});
        for set in ["bounding", "effective", "permitted"] {
            s["process"]["capabilities"][set].as_array_mut().unwrap().push("CAP_MKNOD".into());
        }
    });
    let (exit, log) = container.run();
    assert_eq!(exit.exit_code, 0, "{log}");
    assert!(log.contains("/mem: Operation not permitted"), "{log}");
    assert!(log.contains("stdout F fine\n"), "{log}");
}

#[test]
fn e2e_an_image_cannot_have_the_machine_written_to_through_a_link() {
    if !support::e2e() {
        return;
    }
    for name in ["dev", "proc", "sys"] {
        let place = Place::new();
        let mut container = place.container("linked", "true");
        let (layer, outside) = (place.temp.path().join("layer"), place.temp.path().join("outside"));
        fs::create_dir_all(&layer).unwrap();
        fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, layer.join(name)).unwrap();
        container.request.lowers = vec![layer];
        let error = container.try_start().unwrap_err();
        assert!(error.message.starts_with(&format!("the image must have a directory at /{name}: ")), "{error}");
        assert_eq!(container.end().reason.as_deref(), Some("StartError"));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}

/// Has the container an image of its own, which `make` adds to: the machine's programs are mounted in it.
fn with_image(container: Container, place: &Place, make: impl FnOnce(&Path)) -> Container {
    let layer = place.temp.path().join("layer");
    if !layer.exists() {
        fs::create_dir_all(layer.join("etc")).unwrap();
        for name in ["bin", "lib", "lib64", "sbin"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), layer.join(name)).unwrap();
        }
        make(&layer);
    }
    let programs =
        serde_json::json!({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]});
    let mut container = container.edit(|s| s["mounts"].as_array_mut().unwrap().insert(0, programs));
    container.request.lowers = vec![layer];
    container
}

#[test]
fn e2e_a_link_that_leads_nowhere_is_no_obstacle_to_a_mount() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let resolv = place.temp.path().join("resolv");
    fs::write(&resolv, "nameserver 192.0.2.1\n").unwrap();
    let bind = |to: &str, from: &Path| serde_json::json!({"destination": to, "type": "bind", "source": from, "options": ["rbind", "ro"]});
    let script = "cat /etc/stub.conf /spool/resolv; pwd; touch here && echo made";
    let container = place.container("dangling", script).edit(|s| {
        let mounts = s["mounts"].as_array_mut().unwrap();
        mounts.push(bind("/etc/stub.conf", &resolv));
        mounts.push(bind("/var/queue", place.temp.path()));
        // In a volume, which the image knows nothing of.
        let data = serde_json::json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": []});
        mounts.push(data);
        s["process"]["cwd"] = "/data/work".into();
    });
    let container = with_image(container, &place, |layer| {
        fs::create_dir(layer.join("var")).unwrap();
        std::os::unix::fs::symlink("../run/systemd/resolve/stub-resolv.conf", layer.join("etc/stub.conf")).unwrap();
        std::os::unix::fs::symlink("/spool", layer.join("var/queue")).unwrap();
    });
    let (exit, log) = container.run();
    assert_eq!(exit.exit_code, 0, "{log}");
    let line = "stdout F nameserver 192.0.2.1\n";
    assert_eq!(log, format!("{line}{line}stdout F /data/work\nstdout F made\n"));
}

#[test]
fn e2e_what_is_made_for_a_container_does_not_depend_on_the_agents_umask() {
    const STRICT: &str = "PODWRIGHT_TEST_UMASK";
    if !support::e2e() {
        return;
    }
    // An umask is all of a process's.
    if std::env::var_os(STRICT).is_none() {
        let name = "shim::start::e2e_what_is_made_for_a_container_does_not_depend_on_the_agents_umask";
        let mut own = Command::new("sh");
        own.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
        let output = own.args(["--exact", name, "--nocapture"]).env(STRICT, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let place = Place::new();
    let script = "stat -c %a /srv/app /srv/app/data /work /work/deep; touch file; stat -c %a file";
    let container = place.container("umask", script).edit(|s| {
        let data = serde_json::json!({"destination": "/srv/app/data", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]});
        s["mounts"].as_array_mut().unwrap().push(data);
        s["process"]["cwd"] = "/work/deep".into();
    });
    let container = with_image(container, &place, |_| {});
    container.start();
    container.end();
    let modes = ["755", "755", "755", "755", "644"].map(|mode| format!("stdout F {mode}\n")).concat();
    assert_eq!(container.log(), modes);
}

#[test]
fn e2e_a_link_in_a_volume_leads_no_mount_out_of_it() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let (shared, planted) = (place.temp.path().join("shared"), place.temp.path().join("planted"));
    fs::create_dir_all(shared.join("within")).unwrap();
    fs::create_dir(&planted).unwrap();
    fs::write(planted.join("mark"), "planted\n").unwrap();
    let bind = |to: &str, from: &Path| serde_json::json!({"destination": to, "type": "bind", "source": from, "options": ["rbind"]});
    let start = |name: &str, link: &str| {
        let _ = fs::remove_file(shared.join("sub"));
        std::os::unix::fs::symlink(link, shared.join("sub")).unwrap();
        let container = place.container(name, "cat /shared/within/mark /etc/mark").edit(|s| {
            let mounts = s["mounts"].as_array_mut().unwrap();
            mounts.push(bind("/shared", &shared));
            mounts.push(bind("/shared/sub", &planted));
        });
        let container = with_image(container, &place, |_| {});
        let started = container.try_start();
        container.end();
        (started.map_err(|error| error.message), container.log())
    };
    for (name, link) in [("up", "../etc"), ("top", "/etc"), ("dots", ".."), ("new", "/made"), ("newer", "../made")] {
        let message = start(name, link).0.unwrap_err();
        assert!(
            message.ends_with(
                "mounting planted at /shared/sub: a link in a volume leads out of it"
                    .replace("planted", planted.to_str().unwrap())
                    .as_str()
            ),
            "{link}: {message}"
        );
    }
    // Within the volume a link is followed.
    let (started, log) = start("within", "within");
    started.unwrap();
    assert!(log.contains("stdout F planted\n"), "{log}");
    // The control: who mounts by the path lands outside.
    fs::create_dir(place.temp.path().join("etc")).unwrap();
    for (link, outside) in [("../etc", place.temp.path().join("etc")), ("/etc", "/etc".into())] {
        fs::remove_file(shared.join("sub")).unwrap();
        std::os::unix::fs::symlink(link, shared.join("sub")).unwrap();
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", "mount --bind $0 $1 && cat $2/mark"])
            .args([&planted, &shared.join("sub"), &outside])
            .output()
            .unwrap();
        assert_eq!(super::fixture::text(&output.stdout), "planted\n", "{link}: {output:?}");
    }
}

#[test]
fn e2e_the_machines_proc_in_a_volume_may_be_mounted_on() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("host", "test -e /host/proc/self/status && test -d /host/etc && echo both").edit(|s| {
        let mounts = s["mounts"].as_array_mut().unwrap();
        for (to, from) in [("/host", "/"), ("/host/proc", "/proc")] {
            mounts.push(serde_json::json!({"destination": to, "type": "bind", "source": from, "options": ["rbind", "rprivate", "ro"]}));
        }
    });
    let container = with_image(container, &place, |_| {});
    let (exit, log) = container.run();
    assert_eq!((exit.exit_code, log.as_str()), (0, "stdout F both\n"));
}

#[test]
fn e2e_a_mount_where_it_does_not_belong_is_refused() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let file = place.temp.path().join("file");
    fs::write(&file, "").unwrap();
    let make = |layer: &Path| {
        fs::write(layer.join("etc/passwd"), "").unwrap();
        for (name, target) in [("top", "/"), ("process", "/proc/self"), ("void", "/dev/null"), ("system", "/proc/sys")]
        {
            std::os::unix::fs::symlink(target, layer.join(name)).unwrap();
        }
    };
    let dir = place.temp.path();
    for (number, (destination, source, message)) in [
        ("/", dir, "it would hide the whole container"),
        ("/a/../top/.", dir, "it would hide the whole container"),
        ("/proc", dir, "within /proc"),
        ("/process", dir, "within /proc"),
        ("/system/kernel", dir, "within /proc"),
        ("/proc/sys/kernel/hostname", &file, "within /proc"),
        ("/void", &file, "the container's /dev/null is something else"),
        ("/etc", &file, "it is no directory, and there is one"),
        ("/etc/passwd", dir, "it is a directory, and there is a file"),
        ("/dev/null", &file, "the container's /dev/null is something else"),
    ]
    .into_iter()
    .enumerate()
    {
        let mount =
            serde_json::json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]});
        let name = format!("misplaced{number}");
        let container = place.container(&name, "true").edit(|s| s["mounts"].as_array_mut().unwrap().push(mount));
        let container = with_image(container, &place, make);
        let error = container.try_start().unwrap_err();
        assert!(error.message.contains(message), "{destination}: {}", error.message);
        container.end();
    }
}

#[test]
fn e2e_a_device_may_be_mounted_over_one() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let script =
        "head -c 2 /dev/null | wc -c; head -c 2 /dev/full | wc -c; ls -l /dev/null | cut -c 1; echo x > /dev/null";
    let container = place.container("devices", script).edit(|s| {
        let mounts = s["mounts"].as_array_mut().unwrap();
        for (to, from) in [("/dev/null", "/dev/null"), ("/dev/full", "/dev/zero")] {
            mounts.push(serde_json::json!({"destination": to, "type": "bind", "source": from, "options": ["rbind"]}));
        }
        s["linux"]["maskedPaths"] = serde_json::json!(["/proc/version"]);
    });
    let (exit, log) = container.run();
    assert_eq!((exit.exit_code, log.as_str()), (0, "stdout F 0\nstdout F 2\nstdout F c\n"));
}

#[test]
fn e2e_what_a_volume_has_in_place_of_dev_is_looked_at_first() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let dev = place.temp.path().join("dev");
    let start = |name: &str, terminal: bool, make: &dyn Fn()| {
        let _ = fs::remove_dir_all(&dev);
        fs::create_dir(&dev).unwrap();
        make();
        let container = place.container(name, "echo started").edit(|s| {
            let mounts = s["mounts"].as_array_mut().unwrap();
            mounts.retain(|m| m["destination"] != "/dev");
            mounts.insert(
                1,
                serde_json::json!({"destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"]}),
            );
            s["process"]["terminal"] = terminal.into();
        });
        let result = container.try_start();
        container.end();
        result.map(|_| container.log()).map_err(|error| error.message)
    };
    let mknod = |name: &str, kind: &[&str]| {
        assert!(Command::new("mknod").arg(dev.join(name)).args(kind).status().unwrap().success());
    };
    let none = start("none", false, &|| ()).unwrap_err();
    assert!(none.contains("the container has no /dev/null: the volume at /dev must have it"), "{none}");
    // Waiting for its writer would last for as long as a start may.
    let refused = start("fifo", false, &|| mknod("null", &["p"])).unwrap_err();
    assert!(refused.contains("/dev/null is something else"), "{refused}");
    let zero = start("zero", false, &|| mknod("null", &["c", "1", "5"])).unwrap_err();
    assert!(zero.contains("/dev/null is something else"), "{zero}");
    let null = || mknod("null", &["c", "1", "3"]);
    assert_eq!(start("fine", false, &null).unwrap(), "stdout F started\n");
    // Nothing but what the container's terminal and its mounts need was made there.
    let mut names: Vec<_> =
        fs::read_dir(&dev).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["null", "pts"]);
    let console = start("console", true, &|| {
        null();
        std::os::unix::fs::symlink("/proc/version", dev.join("console")).unwrap();
    });
    let console = console.unwrap_err();
    assert!(console.contains("making /dev/console: a link in a volume leads out of it"), "{console}");
    let directory = start("directory", true, &|| {
        null();
        fs::create_dir(dev.join("console")).unwrap();
    });
    let directory = directory.unwrap_err();
    assert!(directory.contains("making /dev/console: it is no place for a terminal"), "{directory}");
}

/// Starts a container and takes it back once its shim has come so far.
fn take_back(container: &Container, first: impl FnOnce()) {
    let before = || {
        first();
        Err(PortError::new(ErrorKind::Exhausted, "write", "its record", "there is no room"))
    };
    let error = Shim::begin(exe(), &container.monitors).start(&container.request, before).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted);
    assert!(cgroup::pids(&container.request.cgroup).unwrap().is_empty(), "something of it is left");
    assert!(!lock::is_held(&container.dir.join("lock")).unwrap(), "its shim has not ended");
    for record in ["started.json", "exit.json"] {
        assert!(!container.dir.join(record).exists(), "{record} tells of what did not happen");
    }
}

#[test]
fn e2e_a_start_that_is_taken_back_leaves_nothing_even_when_its_shim_is_killed() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("back", "exit 3");
    take_back(&container, || {});
    // Made, and waiting for the word that its program may run.
    let socket = container.dir.strip_prefix("/").unwrap().join("bundle/attach.sock");
    let is_made = |pid: &i32| Path::new("/proc").join(pid.to_string()).join("root").join(&socket).exists();
    let shim = || cgroup::pids(&container.monitors).unwrap().into_iter().find(is_made);
    take_back(&container, || {
        pidfd::kill(until("the container to be made", shim), SIGKILL).unwrap();
        // Nobody has to end what waits for the word of the shim: the agent may be gone, too.
        let pids = || cgroup::pids(&container.request.cgroup).unwrap();
        until("the container's first process to end", || pids().is_empty().then_some(()));
        assert!(!lock::is_held(&container.dir.join("lock")).unwrap());
    });
    assert_eq!(container.run().0.exit_code, 3);
}

#[test]
fn e2e_a_start_that_is_taken_back_has_not_failed() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = Container::new(&place, "none", &["/no/such/program"]);
    take_back(&container, || {});
    assert_eq!(container.try_start().unwrap_err().kind, ErrorKind::Internal);
    assert_eq!(container.exit().exit_code, 128);
}
