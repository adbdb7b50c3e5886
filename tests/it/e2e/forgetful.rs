//! A file system that forgets whatever was not flushed, as POSIX allows it: names that were not flushed with their directory,
//! and bytes that were not flushed with their file. It is made of what was asked of a real one, see [`super::strace`].

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use super::fsync::MAY_BE_LOST;
use super::strace::{self, Asked, below, bytes, open_path};
use crate::dice::Dice;

type Names = BTreeMap<String, usize>;

/// Something that has a name, or had one: as it is now, and as it is on the disk.
enum Node {
    Directory { now: Names, kept: Names },
    File { now: Vec<u8>, kept: Vec<u8> },
    Link(PathBuf),
}

/// What a power cut takes of what was not flushed.
pub enum Loss<'a> {
    Nothing,
    /// Everything.
    All,
    /// Bytes alone: a name may be on the disk before what it stands for.
    Bytes,
    /// Of some directories the names, of some files the bytes.
    Some(&'a mut Dice),
}

impl Loss<'_> {
    fn takes(&mut self, names: bool) -> bool {
        match self {
            Loss::Nothing => false,
            Loss::All => true,
            Loss::Bytes => !names,
            Loss::Some(dice) => dice.below(2) == 0,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Content {
    Directory(u32),
    File(Vec<u8>, u32),
    Link(PathBuf),
}

/// Files by their path below the base.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct State(BTreeMap<PathBuf, Content>);

impl State {
    /// A number by which equal ones are told, well enough.
    pub fn sum(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Makes a directory hold this and nothing else.
    pub fn write(&self, base: &Path) {
        if base.exists() {
            std::fs::remove_dir_all(base).unwrap();
        }
        std::fs::create_dir_all(base).unwrap();
        for (path, content) in &self.0 {
            let path = base.join(path);
            match content {
                Content::Directory(mode) => {
                    std::fs::create_dir(&path).unwrap();
                    std::fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
                }
                Content::File(bytes, mode) => {
                    std::fs::write(&path, bytes).unwrap();
                    std::fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
                }
                Content::Link(target) => symlink(target, path).unwrap(),
            }
        }
    }

    /// What is the matter with layers that have a record: their files are to be those that they have at last.
    pub fn damaged_layers(&self, last: &State) -> Vec<String> {
        let has_record = |path: &Path| {
            let layer: PathBuf = path.components().take(3).collect();
            path.starts_with("images/layers") && layer != path && self.0.contains_key(&layer.with_extension("json"))
        };
        let damaged = last.0.iter().filter(|(path, content)| has_record(path) && self.0.get(*path) != Some(content));
        damaged.map(|(path, _)| path.display().to_string()).collect()
    }

    /// The files that there are no more, or not with the same bytes, but should be.
    pub fn lost<'a>(&self, before: &'a State) -> Vec<&'a Path> {
        let may_be = |path: &Path| {
            let path = format!("/{}", path.display());
            MAY_BE_LOST.iter().any(|(part, _)| path.contains(part))
        };
        let is_lost = |path: &Path, content: &Content| {
            matches!(content, Content::File(..)) && self.0.get(path) != Some(content) && !may_be(path)
        };
        let lost = before.0.iter().filter(|(path, content)| is_lost(path, content));
        lost.map(|(path, _)| path.as_path()).collect()
    }

    /// What there is below a directory.
    pub fn below(&self, dir: &str) -> Vec<&Path> {
        self.0.keys().map(PathBuf::as_path).filter(|path| path.starts_with(dir) && *path != Path::new(dir)).collect()
    }
}

/// The file system below a directory that was empty.
pub struct Model {
    base: PathBuf,
    nodes: Vec<Node>,
    /// A change of a mode is never lost here: it matters to nobody who is root.
    modes: Vec<u32>,
    /// Where the next byte goes, by the descriptor's number and the file.
    positions: BTreeMap<(String, usize), Option<usize>>,
}

impl Model {
    pub fn of(base: &Path) -> Model {
        let nodes = vec![Node::Directory { now: Names::new(), kept: Names::new() }];
        Model { base: base.to_owned(), nodes, modes: vec![0o755], positions: BTreeMap::new() }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let mut at = 0;
        for component in path.strip_prefix(&self.base).ok()?.components() {
            let (Component::Normal(name), Node::Directory { now, .. }) = (component, &self.nodes[at]) else {
                return None;
            };
            at = *now.get(name.to_str()?)?;
        }
        Some(at)
    }

    /// The names in the directory of a path, and the last name of the path.
    fn place(&mut self, path: &Path) -> Option<(&mut Names, String)> {
        let name = path.file_name()?.to_str()?.to_owned();
        let dir = self.find(path.parent()?)?;
        match &mut self.nodes[dir] {
            Node::Directory { now, .. } => Some((now, name)),
            _ => None,
        }
    }

    fn add(&mut self, path: &Path, node: Node, mode: u32) -> Option<usize> {
        let number = self.nodes.len();
        let (names, name) = self.place(path)?;
        names.insert(name, number);
        self.nodes.push(node);
        self.modes.push(mode);
        Some(number)
    }

    fn remove(&mut self, path: &Path) -> Option<usize> {
        let (names, name) = self.place(path)?;
        names.remove(&name)
    }

    fn link(&mut self, node: usize, path: &Path) -> Option<()> {
        let (names, name) = self.place(path)?;
        names.insert(name, node);
        Some(())
    }

    fn sync(&mut self, node: usize) {
        match &mut self.nodes[node] {
            Node::Directory { now, kept } => kept.clone_from(now),
            Node::File { now, kept } => kept.clone_from(now),
            Node::Link(_) => {}
        }
    }

    fn file(&mut self, descriptor: &str) -> Option<(usize, &mut Vec<u8>)> {
        let node = self.find(&open_path(descriptor)?)?;
        match &mut self.nodes[node] {
            Node::File { now, .. } => Some((node, now)),
            _ => None,
        }
    }

    /// Has a call done here too. `None` when it is about nothing that is here.
    pub fn take(&mut self, asked: &Asked) -> Option<()> {
        let arguments: Vec<&str> = asked.arguments.iter().map(String::as_str).collect();
        match (asked.name.as_str(), &arguments[..]) {
            ("open" | "openat" | "openat2", _) => self.open(asked),
            ("write", [file, bytes, ..]) => self.write(file, bytes, &asked.result, None),
            ("pwrite64", [file, bytes, _, at]) => self.write(file, bytes, &asked.result, Some(at.parse().unwrap())),
            ("lseek", [file, ..]) => {
                let (node, _) = self.file(file)?;
                self.positions.insert((number(file), node), Some(asked.result.parse().unwrap()));
                Some(())
            }
            ("ftruncate", [file, length]) => {
                self.file(file)?.1.resize(length.parse().unwrap(), 0);
                Some(())
            }
            ("fallocate", [file, "0", at, length]) => {
                let end = at.parse::<usize>().unwrap() + length.parse::<usize>().unwrap();
                let (_, now) = self.file(file)?;
                now.resize(now.len().max(end), 0);
                Some(())
            }
            ("fsync" | "fdatasync", [file]) => {
                let node = self.find(&open_path(file)?)?;
                self.sync(node);
                Some(())
            }
            ("syncfs", _) => {
                (0..self.nodes.len()).for_each(|node| self.sync(node));
                Some(())
            }
            ("writev" | "fallocate" | "sendfile", [file, ..]) | ("copy_file_range", [_, _, file, ..]) => {
                assert!(self.file(file).is_none(), "{asked:?}: nobody here knows what that writes");
                None
            }
            _ => self.name(&asked.name, &arguments),
        }
    }

    /// A call that changes names.
    fn name(&mut self, call: &str, arguments: &[&str]) -> Option<()> {
        let plain = |text: &str| PathBuf::from(text.trim_matches('"'));
        let directory = || Node::Directory { now: Names::new(), kept: Names::new() };
        match (call, arguments) {
            ("mkdir", [path, mode]) => self.add(&plain(path), directory(), octal(mode)).map(drop),
            ("mkdirat", [dir, path, mode]) => self.add(&below(dir, path)?, directory(), octal(mode)).map(drop),
            ("symlinkat", [target, dir, path]) => self.add(&below(dir, path)?, Node::Link(plain(target)), 0).map(drop),
            ("fchmod", [file, mode]) => self.change_mode(&open_path(file)?, mode),
            ("fchmodat", [dir, path, mode, ..]) => self.change_mode(&below(dir, path)?, mode),
            ("unlink" | "rmdir", [path]) => self.remove(&plain(path)).map(drop),
            ("unlinkat", [dir, path, ..]) => self.remove(&below(dir, path)?).map(drop),
            ("rename", [from, to]) => self.rename(&plain(from), &plain(to)),
            ("renameat" | "renameat2", [from, old, to, new, ..]) => self.rename(&below(from, old)?, &below(to, new)?),
            ("linkat", [from, old, to, new, ..]) => {
                let node = self.find(&below(from, old)?)?;
                self.link(node, &below(to, new)?)
            }
            other => panic!("{other:?}: nobody here knows what that does"),
        }
    }

    fn change_mode(&mut self, path: &Path, mode: &str) -> Option<()> {
        let node = self.find(path)?;
        self.modes[node] = octal(mode);
        None
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Option<()> {
        let node = self.remove(from)?;
        self.link(node, to)
    }

    fn open(&mut self, asked: &Asked) -> Option<()> {
        let has = |flag: &str| asked.arguments.iter().any(|argument| argument.split(['|', '=']).any(|f| f == flag));
        let path = open_path(&asked.result)?;
        let (found, made) = match self.find(&path) {
            Some(found) => (found, false),
            None if has("O_CREAT") => {
                // Of `open` and `openat` the last argument, of `openat2` named.
                let named = asked.arguments.iter().find_map(|argument| argument.strip_prefix("mode="));
                let mode = named.or_else(|| asked.arguments.last().map(String::as_str)).unwrap_or_default();
                (self.add(&path, Node::File { now: Vec::new(), kept: Vec::new() }, octal(mode))?, true)
            }
            None => return None,
        };
        let Node::File { now, .. } = &mut self.nodes[found] else { return None };
        let cut = has("O_TRUNC") && !now.is_empty();
        if cut {
            now.clear();
        }
        self.positions.insert((number(&asked.result), found), (!has("O_APPEND")).then_some(0));
        (made || cut).then_some(())
    }

    fn write(&mut self, file: &str, written: &str, result: &str, at: Option<usize>) -> Option<()> {
        let count: usize = result.parse().unwrap();
        let (node, now) = self.file(file)?;
        let end = now.len();
        let written = bytes(written).unwrap_or_else(|| panic!("{file}: not all of what was written is known"));
        let position = self.positions.get(&(number(file), node)).copied().flatten();
        let from = at.or(position).unwrap_or(end);
        let (_, now) = self.file(file)?;
        now.resize(end.max(from + count), 0);
        now[from..from + count].copy_from_slice(&written[..count]);
        if at.is_none() && position.is_some() {
            self.positions.insert((number(file), node), Some(from + count));
        }
        Some(())
    }

    /// What a power cut leaves of a directory.
    pub fn after_cut(&self, of: &Path, mut loss: Loss<'_>) -> State {
        let mut state = State::default();
        // The names of the base are there, as the base itself is.
        let place = of.strip_prefix(&self.base).unwrap();
        self.collect(0, Path::new(""), &mut loss, &mut state);
        let below = state.0.into_iter().filter_map(|(path, content)| {
            let rest = path.strip_prefix(place).ok()?;
            (!rest.as_os_str().is_empty()).then(|| (rest.to_owned(), content))
        });
        State(below.collect())
    }

    /// Everything as it is now.
    pub fn now(&self, of: &Path) -> State {
        self.after_cut(of, Loss::Nothing)
    }

    fn collect(&self, node: usize, at: &Path, loss: &mut Loss<'_>, state: &mut State) {
        let content = match &self.nodes[node] {
            Node::Directory { now, kept } => {
                for (name, below) in if loss.takes(true) { kept } else { now } {
                    // What ends with the machine is not on the disk at all.
                    if at != Path::new("root") || name != "run" {
                        self.collect(*below, &at.join(name), loss, state);
                    }
                }
                Content::Directory(self.modes[node])
            }
            Node::File { now, kept } => {
                Content::File(if loss.takes(false) { kept.clone() } else { now.clone() }, self.modes[node])
            }
            Node::Link(target) => Content::Link(target.clone()),
        };
        state.0.insert(at.to_owned(), content);
    }
}

/// A mode as strace writes it.
fn octal(mode: &str) -> u32 {
    u32::from_str_radix(mode, 8).unwrap_or_else(|_| panic!("{mode} is no mode"))
}

fn number(descriptor: &str) -> String {
    descriptor.split('<').next().unwrap_or_default().to_owned()
}

#[test]
fn what_was_not_flushed_is_forgotten() {
    let made = "7 mkdir(\"/b/r\", 0700) = 0\n\
                7 openat(AT_FDCWD</>, \"/b/r/a\", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 5</b/r/a>\n\
                7 write(5</b/r/a>, \"abc\", 3) = 3\n7 fsync(5</b/r/a>) = 0\n7 write(5</b/r/a>, \"d\", 1) = 1\n\
                7 fsync(6</b>) = 0\n";
    let steps = [
        // What is done, what is left when everything is lost, and when bytes are.
        (made, "", "a=abc"),
        ("7 fsync(6</b/r>) = 0\n", "a=abc", "a=abc"),
        ("7 rename(\"/b/r/a\", \"/b/r/c\") = 0\n", "a=abc", "c=abc"),
        ("7 unlinkat(6</b/r>, \"c\", 0) = 0\n", "a=abc", ""),
        ("7 syncfs(6</b/r>) = 0\n", "", ""),
    ];
    let mut model = Model::of(Path::new("/b"));
    for (log, all, bytes) in steps {
        for asked in strace::asked(log) {
            model.take(&asked).unwrap();
        }
        for (loss, expected) in [(Loss::All, all), (Loss::Bytes, bytes)] {
            let state = model.after_cut(Path::new("/b/r"), loss);
            let told = state.0.iter().map(|(path, content)| match content {
                Content::File(bytes, 0o600) => format!("{}={}", path.display(), String::from_utf8_lossy(bytes)),
                _ => panic!("{}", path.display()),
            });
            assert_eq!(told.collect::<Vec<_>>().join(" "), expected, "{log}");
        }
    }
}
