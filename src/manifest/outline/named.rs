//! The names of the objects of a file.

use crate::model::Kind;

/// One object's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Named<'a> {
    pub kind: Kind,
    /// Empty for a Namespace.
    pub namespace: &'a str,
    pub name: &'a str,
}

/// The names of the objects of one file, in its order. Nearly every file has one object, which needs no list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names<'a> {
    first: Option<Named<'a>>,
    others: Vec<Named<'a>>,
}

impl<'a> Names<'a> {
    /// Adds one at the end.
    pub fn push(&mut self, name: Named<'a>) {
        if self.first.is_none() {
            self.first = Some(name);
        } else {
            self.others.push(name);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Named<'a>> {
        self.first.iter().chain(&self.others)
    }
}

impl<'a> FromIterator<Named<'a>> for Names<'a> {
    fn from_iter<I: IntoIterator<Item = Named<'a>>>(names: I) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.push(name));
        all
    }
}
