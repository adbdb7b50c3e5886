//! Volumes on real directories and tmpfs mounts. Mounting needs root.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use podwright::model::{PayloadFile, PodUid, SharedBytes, VolumeMaterial, VolumePayload};
use podwright::port::ErrorKind;
use podwright::volume::Volumes;

use crate::support::is_root;

/// Volumes in a temporary directory; whatever a failed test leaves mounted is unmounted.
struct Ground {
    dir: tempfile::TempDir,
    volumes: Volumes,
    uid: PodUid,
}

impl Ground {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let volumes = Volumes::new(dir.path().join("pods"), dir.path().join("run/volumes"));
        Self { dir, volumes, uid: PodUid("6d2f9a1e-0000-4000-8000-000000000001".into()) }
    }

    fn sync(&self, name: &str, material: VolumeMaterial) -> Result<PathBuf, podwright::port::PortError> {
        self.volumes.sync(&self.uid, &[VolumePayload { name: name.into(), material, group: None }])?;
        Ok(self.volumes.path(&self.uid, name).unwrap())
    }

    fn mounts(&self) -> Vec<String> {
        let dir = self.dir.path().to_str().unwrap();
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        mountinfo.lines().filter(|l| l.contains(dir)).map(|l| l.split(' ').nth(4).unwrap().to_owned()).collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for mount in self.mounts().iter().rev() {
            let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn files(files: &[(&str, &str, u32)], sensitive: bool) -> VolumeMaterial {
    let file = |(path, text, mode): &(&str, &str, u32)| PayloadFile {
        path: (*path).into(),
        bytes: SharedBytes::new(*text),
        mode: *mode,
        owner: None,
    };
    VolumeMaterial::Files { files: files.iter().map(file).collect(), sensitive }
}

fn host(path: &Path, kind: &str) -> VolumeMaterial {
    VolumeMaterial::HostPath { path: path.to_str().unwrap().into(), kind: kind.into() }
}

/// Names with what links point to.
fn listing(dir: &Path) -> BTreeMap<String, String> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|e| {
            let path = e.unwrap().path();
            let target = std::fs::read_link(&path).map(|t| t.display().to_string()).unwrap_or_default();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), target)
        })
        .collect()
}

#[test]
fn an_empty_dir_is_open_to_every_user_and_keeps_its_content() {
    let ground = Ground::new();
    let empty = || VolumeMaterial::EmptyDir { memory: false, size_limit: None };
    let path = ground.sync("cache", empty()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
    std::fs::write(path.join("kept"), "x").unwrap();
    assert_eq!(ground.sync("cache", empty()).unwrap(), path);
    assert!(path.join("kept").exists());
    // A new agent finds it without being told.
    let again = Volumes::new(ground.dir.path().join("pods"), ground.dir.path().join("run/volumes"));
    assert_eq!(again.path(&ground.uid, "cache"), Some(path.clone()));
    assert_eq!(again.path(&ground.uid, "other"), None);
    symlink("/etc", path.join("link")).unwrap();
    ground.volumes.remove(&ground.uid).unwrap();
    ground.volumes.remove(&ground.uid).unwrap();
    assert!(!path.exists() && Path::new("/etc/passwd").exists());
    assert_eq!(ground.volumes.path(&ground.uid, "cache"), None);
}

#[test]
fn what_an_agent_that_ended_left_unfinished_is_made_anew() {
    let ground = Ground::new();
    let unfinished = ground.dir.path().join("pods").join(&ground.uid.0).join(".cache.new");
    std::fs::create_dir_all(unfinished.join("deep")).unwrap();
    let path = ground.sync("cache", VolumeMaterial::EmptyDir { memory: false, size_limit: None }).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
    assert!(!unfinished.exists() && !path.join("deep").exists());
}

#[test]
fn a_volume_inherits_nothing_of_the_directory_it_is_made_in() {
    const LIST: &str = "system.posix_acl_default";
    let ground = Ground::new();
    let pods = ground.dir.path().join("pods");
    std::fs::create_dir(&pods).unwrap();
    std::fs::set_permissions(&pods, PermissionsExt::from_mode(0o2750)).unwrap();
    // As `setfacl -d -m u::rwx,u:7:rwx,g::r-x,m::rwx,o::---` writes it; not every file system takes it.
    let entries: [(u16, u16, u32); 5] = [(1, 7, !0), (2, 7, 7), (4, 5, !0), (16, 7, !0), (32, 0, !0)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend([&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    let _ = rustix::fs::setxattr(&pods, LIST, &list, rustix::fs::XattrFlags::empty());
    let path = ground.sync("cache", VolumeMaterial::EmptyDir { memory: false, size_limit: None }).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!([mode(&path), mode(path.parent().unwrap()), mode(&pods)], [0o777, 0o700, 0o750]);
    for name in [LIST, "system.posix_acl_access"] {
        assert!(rustix::fs::getxattr(&path, name, &mut [0_u8; 64][..]).is_err(), "{name}");
    }
}

#[test]
fn what_is_set_aside_is_kept_whatever_its_place() {
    let ground = Ground::new();
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let empty = || VolumeMaterial::EmptyDir { memory: false, size_limit: None };
    for (place, kept) in [
        (ground.dir.path().join("aside"), ground.dir.path().join("aside")),
        (elsewhere.path().join("aside"), ground.dir.path().join(format!("pods/.damaged-{}", ground.uid))),
    ] {
        std::fs::write(ground.sync("cache", empty()).unwrap().join("precious"), "x").unwrap();
        ground.volumes.set_aside(&ground.uid, &place).unwrap();
        ground.volumes.set_aside(&ground.uid, &place).unwrap();
        ground.volumes.remove(&ground.uid).unwrap();
        assert_eq!(std::fs::read_to_string(kept.join("cache/precious")).unwrap(), "x");
    }
}

#[test]
fn files_have_the_layout_and_modes_of_kubernetes() {
    let ground = Ground::new();
    let path =
        ground.sync("config", files(&[("a", "1", 0o644), ("d/x/y", "2", 0o400), ("d/z", "3", 0o777)], false)).unwrap();
    let listed = listing(&path);
    let stamp = listed["..data"].clone();
    assert!(stamp.len() == "..2024_01_02_03_04_05.123456789".len() && stamp.starts_with("..2"), "{stamp}");
    let expected = [("..data", stamp.as_str()), (stamp.as_str(), ""), ("a", "..data/a"), ("d", "..data/d")];
    assert_eq!(listed, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    let mode = |p: &str| std::fs::metadata(path.join(p)).unwrap().mode() & 0o7777;
    assert_eq!([mode("a"), mode("d/x/y"), mode("d/z"), mode("d/x"), mode(&stamp)], [0o644, 0o400, 0o777, 0o755, 0o755]);
    assert_eq!(std::fs::read_to_string(path.join("d/x/y")).unwrap(), "2");
}

#[test]
fn what_is_made_for_a_group_is_the_groups_and_stays_as_a_container_has_it() {
    if !is_root() {
        return;
    }
    const GROUP: u32 = 4242;
    let ground = Ground::new();
    let sync = |name: &str, material| {
        let volume = VolumePayload { name: name.into(), material, group: Some(GROUP) };
        ground.volumes.sync(&ground.uid, &[volume]).unwrap();
        ground.volumes.path(&ground.uid, name).unwrap()
    };
    let seen = |path: &Path| {
        let found = std::fs::symlink_metadata(path).unwrap();
        (found.gid(), found.mode() & 0o7777)
    };
    for memory in [false, true] {
        let name = if memory { "memory" } else { "disk" };
        let empty = || VolumeMaterial::EmptyDir { memory, size_limit: None };
        // What an agent that ended at that moment has left.
        let unfinished = ground.dir.path().join("pods").join(&ground.uid.0).join(".disk.new");
        if !memory {
            std::fs::create_dir_all(unfinished.join("deep")).unwrap();
        }
        let path = sync(name, empty());
        assert_eq!(seen(&path), (GROUP, 0o2777), "{name}");
        assert!(!unfinished.exists());
        std::fs::write(path.join("made"), "").unwrap();
        assert_eq!(seen(&path.join("made")).0, GROUP, "{name}");
        std::os::unix::fs::chown(&path, None, Some(7)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(seen(&sync(name, empty())), (7, 0o700), "{name} is what its container made of it");
    }

    let written = |text: &str| sync("config", files(&[("a", text, 0o440), ("d/x/y", "2", 0o644)], false));
    for text in ["1", "2"] {
        let path = written(text);
        let data = path.join(&listing(&path)["..data"]);
        assert_eq!(seen(&path), (GROUP, 0o2777));
        let directories = [data.clone(), data.join("d"), data.join("d/x")].map(|place| seen(&place));
        assert_eq!(directories, [(GROUP, 0o2755); 3]);
        assert_eq!([data.join("a"), data.join("d/x/y")].map(|place| seen(&place)), [(GROUP, 0o440), (GROUP, 0o644)]);
        assert_eq!(["..data", "a", "d"].map(|name| seen(&path.join(name)).0), [GROUP; 3]);
        assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), text);
        let before = listing(&path);
        written(text);
        assert_eq!(listing(&path), before, "nothing changed, nothing is written");
    }
    // The machine's own stays as it is.
    let of_the_machine = ground.dir.path().join("host");
    std::fs::create_dir(&of_the_machine).unwrap();
    let before = seen(&of_the_machine);
    sync("host", host(&of_the_machine, "Directory"));
    assert_eq!(seen(&of_the_machine), before);
}

#[test]
fn an_update_swaps_all_files_at_once_and_keeps_the_directory() {
    let ground = Ground::new();
    let path = ground.sync("config", files(&[("a", "1", 0o644), ("gone", "x", 0o644)], false)).unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    let (first, times) = (listing(&path)["..data"].clone(), std::fs::metadata(&path).unwrap().mtime_nsec());
    ground.sync("config", files(&[("gone", "x", 0o644), ("a", "1", 0o644)], false)).unwrap();
    assert_eq!(listing(&path)["..data"], first, "nothing changed, nothing is written");
    assert_eq!(std::fs::metadata(&path).unwrap().mtime_nsec(), times);

    // Whoever has the old file open keeps reading the old content.
    let held = std::fs::File::open(path.join("a")).unwrap();
    ground.sync("config", files(&[("a", "22", 0o644), ("new", "n", 0o644)], false)).unwrap();
    let names: Vec<String> = listing(&path).into_keys().filter(|n| !n.starts_with("..2")).collect();
    assert_eq!(names, ["..data", "a", "new"]);
    assert_ne!(listing(&path)["..data"], first);
    assert!(!path.join(&first).exists());
    assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), "22");
    assert_eq!(std::io::read_to_string(held).unwrap(), "1");
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);

    ground.sync("config", files(&[("a", "22", 0o600), ("new", "n", 0o644)], false)).unwrap();
    assert_eq!(std::fs::metadata(path.join("a")).unwrap().mode() & 0o777, 0o600, "a mode alone is a change too");
    ground.sync("config", files(&[], false)).unwrap();
    assert_eq!(listing(&path).len(), 2);
}

#[test]
fn a_file_is_written_again_wherever_it_differs_and_not_at_all_if_it_does_not() {
    const PART: usize = 64 << 10;
    let ground = Ground::new();
    let sync = |text: &str| {
        let path = ground.sync("config", files(&[("a", text, 0o644)], false)).unwrap();
        assert!(std::fs::read_to_string(path.join("a")).unwrap() == text, "{} bytes", text.len());
        listing(&path)["..data"].clone()
    };
    for length in [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 5] {
        let whole = "x".repeat(length);
        let first = sync(&whole);
        assert_eq!(sync(&whole), first, "nothing changed of {length} bytes");
        for at in [0, length / 2, length.saturating_sub(1)].into_iter().filter(|at| *at < length) {
            let mut other = whole.clone();
            other.replace_range(at..=at, "y");
            assert_ne!(sync(&other), sync(&whole), "byte {at} of {length}");
        }
    }
}

#[test]
fn an_interrupted_write_is_cleared_and_a_spoilt_volume_mended() {
    let ground = Ground::new();
    let wanted = [("a", "1", 0o644), ("b", "2", 0o644)];
    let path = ground.sync("config", files(&wanted, false)).unwrap();
    let data = path.join(&listing(&path)["..data"]);
    let whole = |why: &str| {
        ground.sync("config", files(&wanted, false)).unwrap();
        assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), "1", "{why}");
        assert_eq!(std::fs::read_to_string(path.join("b")).unwrap(), "2", "{why}");
        assert_eq!(listing(&path).len(), 4, "{why}: {:?}", listing(&path));
    };
    std::fs::create_dir(path.join("..2001_01_01_00_00_00.1")).unwrap();
    symlink("..2001_01_01_00_00_00.1", path.join("..data_tmp")).unwrap();
    whole("left over");
    std::fs::write(data.join("a"), "truncat").unwrap();
    whole("changed file");
    std::fs::remove_file(path.join("b")).unwrap();
    whole("missing link");
    // A container with write access plays games: links and directories where the writer's own things should be.
    std::fs::remove_file(path.join("..data")).unwrap();
    symlink("/etc", path.join("..data")).unwrap();
    whole("data points out");
    std::fs::remove_file(path.join("..data")).unwrap();
    std::fs::create_dir_all(path.join("..data/full")).unwrap();
    whole("data is a directory");
    std::fs::remove_file(path.join("a")).unwrap();
    symlink("/etc/passwd", path.join("a")).unwrap();
    whole("a name points out");
    let now = listing(&path)["..data"].clone();
    std::fs::remove_file(path.join(&now).join("a")).unwrap();
    symlink("/etc/hostname", path.join(&now).join("a")).unwrap();
    whole("a file became a link");
    assert!(std::fs::metadata("/etc/passwd").unwrap().is_file());
}

#[test]
fn paths_that_leave_the_volume_are_refused() {
    let ground = Ground::new();
    for bad in ["../x", "/x", "a/../../x", "", ".", "..data", "..x", "a/./../b"] {
        let error = ground.sync("config", files(&[(bad, "1", 0o644)], false)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{bad}: {error}");
    }
    let collision = files(&[("a", "1", 0o644), ("a/b", "2", 0o644)], false);
    assert!(ground.sync("config", collision).unwrap_err().message.contains("below another file"));
    for name in ["..", "a/b", "", "A", "-"] {
        let volume = VolumePayload {
            name: name.into(),
            material: VolumeMaterial::EmptyDir { memory: false, size_limit: None },
            group: None,
        };
        assert_eq!(ground.volumes.sync(&ground.uid, &[volume]).unwrap_err().kind, ErrorKind::Invalid, "{name}");
    }
    for uid in ["..", "", "a/b", "."] {
        let uid = PodUid(uid.into());
        assert!(ground.volumes.sync(&uid, &[]).is_err() && ground.volumes.remove(&uid).is_err());
    }
}

#[test]
fn host_paths_are_made_or_checked_in_the_kubelets_words() {
    let ground = Ground::new();
    let at = |name: &str| ground.dir.path().join(name);
    std::fs::create_dir(at("dir")).unwrap();
    std::fs::write(at("file"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let null = Path::new("/dev/null");

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(ground.sync("v", host(&at("data/deep"), "")).unwrap(), at("data/deep"));
    assert_eq!(mode(&at("data/deep")), 0o755);
    ground.sync("v", host(&at("made"), "DirectoryOrCreate")).unwrap();
    assert_eq!(mode(&at("made")), 0o755);
    ground.sync("v", host(&at("touched"), "FileOrCreate")).unwrap();
    assert_eq!(mode(&at("touched")), 0o644);
    for (path, kind) in [
        (at("dir"), "Directory"),
        (at("dir"), "DirectoryOrCreate"),
        (at("dir"), ""),
        (at("file"), "File"),
        (at("file"), ""),
        (at("file"), "FileOrCreate"),
        (at("socket"), "Socket"),
        (null.to_owned(), "CharDevice"),
        (null.to_owned(), ""),
    ] {
        ground.sync("v", host(&path, kind)).unwrap();
    }
    if is_root() {
        // Whether there is such a device does not matter.
        assert!(Command::new("mknod").arg(at("block")).args(["b", "7", "0"]).status().unwrap().success());
        ground.sync("v", host(&at("block"), "BlockDevice")).unwrap();
        let error = ground.sync("v", host(&at("block"), "CharDevice")).unwrap_err();
        assert!(error.message.ends_with("is not a character device"), "{error}");
    }
    for (name, kind, what) in [
        ("file", "Directory", "directory"),
        ("file", "DirectoryOrCreate", "directory"),
        ("dir", "File", "file"),
        ("dir", "FileOrCreate", "file"),
        ("file", "Socket", "socket file"),
        ("file", "CharDevice", "character device"),
        ("file", "BlockDevice", "block device"),
        ("none", "Directory", "directory"),
        ("none", "File", "file"),
    ] {
        let error = ground.sync("v", host(&at(name), kind)).unwrap_err();
        let expected = format!("hostPath type check failed: {} is not a {what}", at(name).display());
        assert_eq!(error.message, expected, "{name} {kind}");
        assert_eq!(error.waiting_reason, Some("ContainerCreating"));
    }
    assert!(!at("none").exists());
    assert!(ground.sync("v", host(&at("no/parent"), "FileOrCreate")).is_err());
    assert!(ground.sync("v", host(Path::new("relative"), "")).is_err());
    assert!(ground.sync("v", host(&at("dir/../dir"), "")).is_err());
    ground.volumes.remove(&ground.uid).unwrap();
    assert!(at("data/deep").exists() && at("file").exists(), "the machine's own files stay");
}

#[test]
fn a_mount_that_a_container_passed_on_does_not_keep_its_volume() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let path = ground.sync("disk", VolumeMaterial::EmptyDir { memory: false, size_limit: None }).unwrap();
    for place in [path.join("made"), path.join("made/deeper")] {
        std::fs::create_dir(&place).unwrap();
        let made = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&place).status().unwrap();
        assert!(made.success());
    }
    ground.volumes.remove(&ground.uid).unwrap();
    assert!(!path.exists());
    assert_eq!(ground.mounts(), Vec::<String>::new());
}

#[test]
fn what_a_container_has_mounted_over_its_volume_is_no_part_of_it() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let outside = ground.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "of the machine").unwrap();
    let empty = |memory| VolumeMaterial::EmptyDir { memory, size_limit: None };
    for memory in [false, true] {
        let name = if memory { "memory" } else { "disk" };
        let place = ground.sync(name, empty(memory)).unwrap();
        std::fs::write(place.join("own"), "x").unwrap();
        let open = || ground.volumes.open(&ground.uid, name).map(|dir| dir.unwrap().names().unwrap());
        assert_eq!(open().unwrap(), ["own"]);
        assert!(Command::new("mount").arg("--bind").arg(&outside).arg(&place).status().unwrap().success());
        // Where the machine's files are on a tmpfs they look like a volume in memory.
        if !memory || !is_tmpfs(&outside) {
            let error = open().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::XDEV.raw_os_error()), "{name}");
        }
        // Another agent makes them again.
        assert_eq!(ground.sync(name, empty(memory)).unwrap(), place);
    }
    let later = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let taken = ground.volumes.taken(&ground.uid, ("disk", u64::MAX, later), &|| false).unwrap();
    assert_eq!(taken.entries, 0);
    ground.volumes.empty(&ground.uid).unwrap();
    assert_eq!(listing(&ground.volumes.path(&ground.uid, "disk").unwrap()), BTreeMap::new());
    ground.volumes.remove(&ground.uid).unwrap();
    assert_eq!(ground.mounts(), Vec::<String>::new());
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "of the machine");
}

/// Here a directory of a process that has ended; a file system whose server is gone is no other.
#[test]
fn what_is_mounted_over_a_volume_need_not_answer() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    for memory in [false, true] {
        let name = if memory { "memory" } else { "disk" };
        let empty = || VolumeMaterial::EmptyDir { memory, size_limit: None };
        let place = ground.sync(name, empty()).unwrap();
        let mut process = Command::new("sleep").arg("1000").spawn().unwrap();
        let silent = format!("/proc/{}", process.id());
        let mount = |args: &[&str], at: &Path| Command::new("mount").args(args).arg(at).status().unwrap().success();
        // One in another one, and one over both.
        assert!(mount(&["-t", "tmpfs", "none"], &place));
        std::fs::create_dir(place.join("in")).unwrap();
        assert!(mount(&["--bind", &silent], &place.join("in")) && mount(&["--bind", &silent], &place));
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(std::fs::read_dir(&place).is_err(), "it answers");
        assert_eq!(ground.sync(name, empty()).unwrap(), place);
    }
    ground.volumes.remove(&ground.uid).unwrap();
    assert_eq!(ground.mounts(), Vec::<String>::new());
}

fn is_tmpfs(path: &Path) -> bool {
    rustix::fs::statfs(path).unwrap().f_type == 0x0102_1994
}

#[test]
fn every_failed_volume_is_named_and_the_others_are_made() {
    let ground = Ground::new();
    let volume = |name: &str, material| VolumePayload { name: name.into(), material, group: None };
    let none = ground.dir.path().join("none");
    let error = ground
        .volumes
        .sync(
            &ground.uid,
            &[
                volume("one", host(&none, "File")),
                volume("two", host(&none, "Socket")),
                volume("good", VolumeMaterial::EmptyDir { memory: false, size_limit: None }),
            ],
        )
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("one of pod")
            && error.contains("not a file")
            && error.contains("volume two")
            && error.contains("not a socket"),
        "{error}"
    );
    assert!(ground.volumes.path(&ground.uid, "good").unwrap().exists());
    assert_eq!(ground.volumes.path(&ground.uid, "one"), None);
}

#[test]
fn secrets_and_memory_live_on_tmpfs_and_leave_no_mount() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let path = ground.sync("token", files(&[("token", "s3cret", 0o400)], true)).unwrap();
    assert!(path.starts_with(ground.dir.path().join("run/volumes")));
    let is_tmpfs = |path: &Path| rustix::fs::statfs(path).unwrap().f_type == 0x0102_1994;
    assert!(is_tmpfs(&path));
    assert_eq!(std::fs::read_to_string(path.join("token")).unwrap(), "s3cret");
    // The disk knows nothing of files, and of an emptyDir where it is.
    let pods = ground.dir.path().join("pods");
    assert!(!pods.exists());
    let memory = ground.sync("scratch", VolumeMaterial::EmptyDir { memory: true, size_limit: Some(1 << 20) }).unwrap();
    assert_eq!(
        ground.sync("scratch", VolumeMaterial::EmptyDir { memory: true, size_limit: Some(1 << 20) }).unwrap(),
        memory
    );
    assert!(is_tmpfs(&memory));
    let record = std::fs::read_to_string(pods.join(&ground.uid.0).join(".volumes.json")).unwrap();
    assert!(record.contains("scratch"), "{record}");
    assert_eq!(std::fs::metadata(&memory).unwrap().mode() & 0o7777, 0o777);
    assert_eq!(ground.mounts().len(), 2, "{:?}", ground.mounts());
    let full = std::fs::write(memory.join("big"), vec![1; 2 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // An agent that is started again finds them.
    let again = Volumes::new(pods, ground.dir.path().join("run/volumes"));
    assert_eq!(
        ["token", "scratch"].map(|name| again.path(&ground.uid, name)),
        [Some(path.clone()), Some(memory.clone())]
    );
    // Nor is anything of the secret on it when something else is.
    let cache = ground.sync("cache", VolumeMaterial::EmptyDir { memory: false, size_limit: None }).unwrap();
    let again = Volumes::new(ground.dir.path().join("pods"), ground.dir.path().join("run/volumes"));
    assert_eq!(["token", "cache"].map(|name| again.path(&ground.uid, name)), [Some(path.clone()), Some(cache)]);
    let on_disk = std::process::Command::new("grep")
        .args(["-rl", "s3cret", "pods"])
        .current_dir(ground.dir.path())
        .output()
        .unwrap();
    assert!(on_disk.stdout.is_empty());

    let other = PodUid("other".into());
    ground
        .volumes
        .sync(&other, &[VolumePayload { name: "t".into(), material: files(&[("t", "x", 0o400)], true), group: None }])
        .unwrap();
    ground.volumes.remove(&ground.uid).unwrap();
    assert_eq!(ground.mounts().len(), 1, "the other pod still needs the root");
    assert!(ground.volumes.path(&other, "t").unwrap().join("t").exists());
    ground.volumes.remove(&other).unwrap();
    is_released(&ground, &ground.volumes);
}

/// The tmpfs goes with the last pod. A program that another test starts holds what is open for a moment; then the next removal
/// lets it go.
fn is_released(ground: &Ground, volumes: &Volumes) {
    for _ in 0..100 {
        if ground.mounts().is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        volumes.remove(&ground.uid).unwrap();
    }
    assert_eq!(ground.mounts(), Vec::<String>::new());
}

#[test]
fn secrets_have_a_tmpfs_of_their_own_also_on_a_tmpfs_and_share_it_with_earlier_agents() {
    if !is_root() {
        return;
    }
    let ground = Ground::at(tempfile::tempdir_in("/dev/shm").unwrap());
    assert_eq!(rustix::fs::statfs(ground.dir.path()).unwrap().f_type, 0x0102_1994, "/dev/shm is a tmpfs");
    let secret = |text: &str| files(&[("token", text, 0o400)], true);
    let path = ground.sync("token", secret("one")).unwrap();
    let root = ground.dir.path().join("run/volumes");
    assert_eq!(ground.mounts(), [root.to_str().unwrap()]);
    assert_eq!(std::fs::metadata(&root).unwrap().mode() & 0o7777, 0o700);
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mountinfo.lines().find(|l| l.contains(root.to_str().unwrap())).unwrap();
    assert!(["nosuid", "nodev"].iter().all(|o| line.split(' ').nth(5).unwrap().contains(o)), "{line}");
    let space = rustix::fs::statvfs(&root).unwrap();
    let size = space.f_blocks * space.f_frsize;
    assert!((1..=64 << 20).contains(&size), "{size}");

    // An agent that is started again finds the mount and what is on it.
    let again = Volumes::new(ground.dir.path().join("pods"), root.clone());
    assert_eq!(again.path(&ground.uid, "token"), Some(path.clone()));
    let inode = std::fs::metadata(&path).unwrap().ino();
    again.sync(&ground.uid, &[VolumePayload { name: "token".into(), material: secret("two"), group: None }]).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode, "what containers have mounted is the same directory");
    assert_eq!(std::fs::read_to_string(path.join("token")).unwrap(), "two");
    assert_eq!(ground.mounts().len(), 1, "{:?}", ground.mounts());

    again.remove(&ground.uid).unwrap();
    is_released(&ground, &again);
    assert!(!path.exists());
}

#[test]
fn a_mount_that_cannot_be_had_keeps_secrets_off_the_disk() {
    // A file in the place of the tmpfs root: nothing can be mounted there.
    let ground = Ground::new();
    std::fs::create_dir(ground.dir.path().join("run")).unwrap();
    std::fs::write(ground.dir.path().join("run/volumes"), "").unwrap();
    let error = ground.sync("token", files(&[("token", "s3cret", 0o400)], true)).unwrap_err();
    assert!(!error.to_string().contains("s3cret"));
    assert!(ground.volumes.path(&ground.uid, "token").is_none());
}
