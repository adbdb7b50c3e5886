//! What one instance may leave behind on a machine, looked for by its names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How deep below /sys/fs/cgroup an instance's groups may stand: hierarchy, and a group or two above ours.
const DEPTH: u32 = 4;

/// What belongs to one instance: its id, its directory, the namespaces its processes were seen in.
#[derive(Debug)]
pub struct Traces {
    instance: String,
    directory: PathBuf,
    /// Held open until the last look: the kernel gives the number of a namespace that is gone to the next one at once.
    namespaces: BTreeMap<String, File>,
}

impl Traces {
    /// Nothing seen yet.
    pub fn new(instance: &str, directory: &Path) -> Self {
        let directory = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        Self { instance: instance.to_owned(), directory, namespaces: BTreeMap::new() }
    }

    /// Remembers the namespaces of the instance's processes that are not this process's own.
    pub fn note(&mut self) {
        let own = namespaces("self");
        for pid in processes() {
            if self.in_our_cgroup(&pid) {
                let others = namespaces(&pid).into_iter().filter(|(name, _)| !own.contains_key(name));
                self.namespaces.extend(others.filter_map(|(name, path)| Some((name, File::open(path).ok()?))));
            }
        }
    }

    /// How many namespaces were seen: none would mean that nothing was looked at.
    pub fn namespaces(&self) -> usize {
        self.namespaces.len()
    }

    /// A line for everything that is still there.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        self.processes(&mut left);
        self.mounts(&mut left);
        groups(Path::new("/sys/fs/cgroup"), &self.group(), DEPTH, &mut left);
        self.links(&mut left);
        self.tables(&mut left);
        left
    }

    fn group(&self) -> String {
        format!("podwright-{}", self.instance)
    }

    fn in_our_cgroup(&self, pid: &str) -> bool {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        text.contains(&self.group())
    }

    fn processes(&self, left: &mut Vec<String>) {
        let own = std::process::id().to_string();
        for pid in processes().into_iter().filter(|pid| *pid != own) {
            let below = ["cwd", "root", "exe"].iter().any(|link| {
                std::fs::read_link(format!("/proc/{pid}/{link}")).is_ok_and(|path| path.starts_with(&self.directory))
            });
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if below || self.in_our_cgroup(&pid) {
                left.push(format!("process {pid} ({})", name.trim()));
            }
            let held: Vec<String> =
                namespaces(&pid).into_keys().filter(|name| self.namespaces.contains_key(name)).collect();
            if !held.is_empty() {
                left.push(format!("namespaces of process {pid} ({}): {}", name.trim(), held.join(", ")));
            }
        }
    }

    /// Mounts in any process's tree, and namespaces that a mount keeps.
    fn mounts(&self, left: &mut Vec<String>) {
        let mut found = BTreeSet::new();
        let directory = self.directory.display().to_string();
        for pid in processes() {
            let text = crate::sys::mount::table(pid).unwrap_or_default();
            for line in text.lines() {
                let mut fields = line.split(' ').skip(3);
                let (root, point) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
                let kept = self.namespaces.contains_key(root);
                if kept || Path::new(point).starts_with(&directory) || line.contains(&self.group()) {
                    found.insert(format!("mount {point}"));
                }
            }
        }
        left.extend(found);
    }

    /// Of this network namespace; addresses and routes are gone with their link.
    fn links(&self, left: &mut Vec<String>) {
        let prefix = format!("pw{}", self.instance);
        let text = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        let names = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
        left.extend(names.filter(|name| name.starts_with(&prefix)).map(|name| format!("link {name}")));
    }

    /// Without the nft program nobody can have made a table.
    fn tables(&self, left: &mut Vec<String>) {
        let Ok(output) = Command::new("nft").args(["list", "tables"]).output() else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        left.extend(text.lines().filter(|line| line.contains(&self.instance)).map(|line| format!("nft {line}")));
    }
}

/// The process ids of this machine. One that has ended and waits for its parent to notice holds nothing any more.
fn processes() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|b| b.is_ascii_digit()) && is_alive(name)).collect()
}

/// The state is the first letter after the name, which may hold anything and stands in parentheses.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The namespaces of a process by name, such as `net:[4026531840]`, each with the file that stands for it.
fn namespaces(pid: &str) -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| Some((std::fs::read_link(entry.path()).ok()?, entry.path())));
    links.map(|(link, path)| (link.display().to_string(), path)).collect()
}

/// Directories of a name below `path`, not looking into those.
fn groups(path: &Path, name: &str, depth: u32, left: &mut Vec<String>) {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        if entry.file_name().to_string_lossy().contains(name) {
            left.push(format!("cgroup {}", entry.path().display()));
        } else if depth > 0 {
            groups(&entry.path(), name, depth - 1, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_stands_in_the_directory_is_a_leak_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let traces = Traces::new("ffffffff", dir.path());
        assert_eq!(traces.left(), [""; 0]);
        let mut child = Command::new("sleep").arg("60").current_dir(dir.path()).spawn().unwrap();
        let left = traces.left();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(left.iter().any(|l| l.starts_with(&format!("process {}", child.id()))), "{left:?}");
        assert_eq!(traces.left(), [""; 0]);
    }
}
