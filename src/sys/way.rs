//! The way to a path below a root directory that is not this process's own, name by name: links are followed as a process
//! would that has it for its root. What is at each place on the way is for the caller to look at.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

/// How often the way may turn out to be another one: as many links as the kernel follows.
const MAX_TURNS: usize = 40;

/// A way that is gone.
#[derive(Debug)]
pub struct Way {
    left: VecDeque<OsString>,
    /// Below the root, without a link in it.
    at: PathBuf,
    turns: usize,
}

impl Way {
    /// The way to a path, from the root on.
    pub fn to(path: &Path) -> Self {
        Self { left: elements(path).collect(), at: PathBuf::new(), turns: 0 }
    }

    /// How far it was gone, relative to the root.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// Whether nothing comes after the place that was given last.
    pub fn is_last(&self) -> bool {
        self.left.is_empty()
    }

    /// The next place to look at, relative to the root; `None` at the end.
    pub fn next_place(&mut self) -> Option<PathBuf> {
        while let Some(name) = self.left.pop_front() {
            if name != ".." {
                return Some(self.at.join(name));
            }
            // That of the root is the root.
            self.at.pop();
        }
        None
    }

    /// Goes on from a place that is no link.
    pub fn enter(&mut self, place: PathBuf) {
        self.at = place;
    }

    /// Goes on to where the link leads that is at the place given last.
    ///
    /// # Errors
    /// `ELOOP` when there were too many.
    pub fn follow(&mut self, target: &Path) -> io::Result<()> {
        self.turn()?;
        if target.is_absolute() {
            self.at = PathBuf::new();
        }
        elements(target).rev().for_each(|element| self.left.push_front(element));
        Ok(())
    }

    /// Looks at the place given last once more: it has changed meanwhile.
    ///
    /// # Errors
    /// As [`Way::follow`].
    pub fn again(&mut self, place: &Path) -> io::Result<()> {
        self.turn()?;
        self.left.extend(place.file_name().map(OsString::from));
        self.left.rotate_right(1);
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        self.turns += 1;
        if self.turns > MAX_TURNS { Err(Errno::LOOP.into()) } else { Ok(()) }
    }
}

/// The elements of a path without those that lead nowhere, such as `.`.
fn elements(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir)).map(|c| c.as_os_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a path leads with these links.
    fn end(path: &str, links: &[(&str, &str)]) -> Option<String> {
        let mut way = Way::to(Path::new(path));
        while let Some(place) = way.next_place() {
            match links.iter().find(|(link, _)| Path::new(link) == place) {
                Some((_, target)) => way.follow(Path::new(target)).ok()?,
                None => way.enter(place),
            }
        }
        Some(way.at().display().to_string())
    }

    #[test]
    fn links_are_followed_below_the_root_and_not_without_end() {
        let links = [("a/up", "../../../x"), ("abs", "/usr/./bin"), ("usr/bin", "tools/../bin2"), ("loop", "loop/x")];
        for (path, expected) in [
            ("/", Some("")),
            ("../..", Some("")),
            ("./a//b/.", Some("a/b")),
            ("a/../b", Some("b")),
            ("a/up/y", Some("x/y")),
            ("abs/ls", Some("usr/bin2/ls")),
            ("loop", None),
        ] {
            assert_eq!(end(path, &links).as_deref(), expected, "{path}");
        }
        let chain: Vec<(String, String)> = (0..41).map(|n| (n.to_string(), (n + 1).to_string())).collect();
        let chain: Vec<(&str, &str)> = chain.iter().map(|(link, target)| (link.as_str(), target.as_str())).collect();
        assert_eq!(
            (end("1", &chain).as_deref(), end("0", &chain)),
            (Some("41"), None),
            "as many as the kernel follows"
        );
    }

    #[test]
    fn a_place_that_has_changed_is_looked_at_again() {
        let mut way = Way::to(Path::new("a/b/c"));
        let place = way.next_place().unwrap();
        way.enter(place);
        let place = way.next_place().unwrap();
        assert!(!way.is_last());
        way.again(&place).unwrap();
        assert_eq!(way.next_place().as_deref(), Some(Path::new("a/b")));
        way.enter(place);
        assert_eq!(way.next_place().as_deref(), Some(Path::new("a/b/c")));
        assert!(way.is_last());
    }
}
