//! The README's first command, as a golden transcript in four settings.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::harness::{Place, Said};
use crate::support;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/transcripts").join(name)
}

/// Compares with a golden file, or renews it with UPDATE_TRANSCRIPTS=1.
fn compare(name: &str, said: &Said) {
    let text = normalised(&said.out);
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        std::fs::create_dir_all(golden("")).unwrap();
        std::fs::write(golden(name), &text).unwrap();
    }
    let expected = std::fs::read_to_string(golden(name)).unwrap();
    if text != expected {
        let diff = similar::TextDiff::from_lines(&expected, &text);
        panic!("{name} differs:\n{}\nstandard error: {}", diff.unified_diff().context_radius(3), said.err);
    }
    assert_eq!(said.err, "");
}

/// What differs from run to run by its place: times, ages, addresses, uids, the node, the temporary directory.
fn normalised(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let mut changed = false;
        let mut words: Vec<String> = Vec::new();
        for word in line.split(' ') {
            let plain = plain_word(word);
            changed |= plain != word;
            words.push(plain);
        }
        let line = words.join(" ");
        // The columns of a table are as wide as what was in it.
        if changed { squeezed(&line) } else { line }
    });
    lines.fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

fn plain_word(word: &str) -> String {
    let core = word.trim_matches(|c| ",;:\"'".contains(c));
    let replace = |with: &str| word.replacen(core, with, 1);
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    if core.is_empty() {
        word.to_owned()
    } else if core == host {
        replace("NODE")
    } else if let Some((_, rest)) = core.split_once("/podwright-demo-") {
        replace(&format!("DIR{}", rest.trim_start_matches(|c: char| c.is_ascii_digit())))
    } else if core.parse::<std::net::Ipv4Addr>().is_ok() {
        replace("IP")
    } else if core.parse::<jiff::Timestamp>().is_ok() {
        replace("TIME")
    } else if is_uid(core) {
        replace("UID")
    } else if is_age(core) {
        replace("AGE")
    } else {
        word.to_owned()
    }
}

fn is_uid(word: &str) -> bool {
    let parts: Vec<usize> = word.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && word.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

fn is_age(word: &str) -> bool {
    word.ends_with(['s', 'm', 'h'])
        && word.starts_with(|c: char| c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_digit() || "smh".contains(c))
}

/// One space for any number of them, but for those at the start.
fn squeezed(line: &str) -> String {
    let rest = line.trim_start();
    let indent = &line[..line.len() - rest.len()];
    format!("{indent}{}", rest.split_whitespace().collect::<Vec<&str>>().join(" "))
}

#[test]
fn the_normalisation_hides_what_differs_and_nothing_else() {
    let text = "a  1/1   Running  0   12s\n  uid: 3f2a1b4c-0000-4000-8000-1234567890ab\nports: 6379 at 10.213.0.2\n\
                on /tmp/podwright-demo-77/root/run/api.sock; its last report was 0s ago\nat: \"2026-01-02T03:04:05Z\"\n";
    let expected = "a 1/1 Running 0 AGE\n  uid: UID\nports: 6379 at IP\n\
                    on DIR/root/run/api.sock; its last report was AGE ago\nat: \"TIME\"\n";
    assert_eq!(normalised(text), expected);
}

/// Stands somewhere, behind a program that changes what the demo may do.
struct Demo {
    place: Place,
    program: PathBuf,
    temporary: PathBuf,
}

impl Demo {
    fn new() -> Self {
        let place = Place::new();
        // A copy, and a directory for temporary files, that every user can reach.
        let (program, temporary) = (place.path("podwright"), place.path("tmp"));
        std::fs::copy(env!("CARGO_BIN_EXE_podwright"), &program).unwrap();
        std::fs::create_dir(&temporary).unwrap();
        for (path, mode) in [(&program, 0o755), (&place.path(""), 0o755), (&temporary, 0o1777)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        Self { place, program, temporary }
    }

    fn run(&self, before: &[&str], directory: &Path) -> Said {
        // A network of its own: the demo's bridge is not this machine's business.
        let mut command = Command::new("unshare");
        command.arg("--net").args(before).arg(&self.program).arg("demo").current_dir(directory);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TMPDIR", &self.temporary);
        let said = command.stdin(Stdio::null()).output().unwrap().into();
        assert_eq!(std::fs::read_dir(&self.temporary).unwrap().count(), 0, "something was left: {said:?}");
        said
    }
}

#[test]
fn e2e_demo_golden_as_root_and_in_a_tree_without_git() {
    if !support::e2e() {
        return;
    }
    let demo = Demo::new();
    // No checkout: the demo brings its own example.
    let tree = demo.place.path("");
    assert!(!tree.join(".git").exists());
    let said = demo.run(&[], &tree);
    compare("demo.txt", &said);
    assert_eq!(said.code, Some(0));
    assert!(said.out.ends_with("leaks: 0\n"), "{}", said.out);
    // In a checkout it is the same, and the checkout is not written to.
    let clone = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = || Command::new("git").args(["status", "--porcelain"]).current_dir(clone).output().unwrap().stdout;
    let before = status();
    let said = demo.run(&[], clone);
    assert_eq!(said.code, Some(0), "{said:?}");
    compare("demo.txt", &said);
    assert_eq!(status(), before);
}

#[test]
fn e2e_demo_golden_without_the_rights_for_namespaces() {
    if !support::e2e() {
        return;
    }
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let powerless = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];
    for rights in [&user[..], &powerless[..]] {
        let demo = Demo::new();
        let said = demo.run(rights, &demo.place.path(""));
        assert_eq!(said.code, Some(77), "{rights:?}: {said:?}");
        compare("demo-without-namespaces.txt", &said);
    }
}
