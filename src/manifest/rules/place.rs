//! Where a value stands, without a text: nearly all values are looked at and never spoken of.

use std::rc::Rc;

use crate::manifest::problem::escape;

/// Most fields stand no deeper than this.
const STEPS: usize = 8;

/// The way from the root of an object to a value.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    /// The pointer of what the steps begin at, when they do not begin at the root.
    above: Option<Rc<str>>,
    steps: [Step<'a>; STEPS],
    count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    pub(super) const ROOT: Self = Self { above: None, steps: [Step::Index(0); STEPS], count: 0 };

    pub(super) fn key(&self, key: &'a str) -> Self {
        self.below(Step::Key(key))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.below(Step::Index(index))
    }

    fn below(&self, step: Step<'a>) -> Self {
        let mut place = match self.count < STEPS {
            true => self.clone(),
            false => Self { above: Some(self.pointer().into()), ..Self::ROOT },
        };
        place.steps[place.count] = step;
        place.count += 1;
        place
    }

    /// The JSON pointer.
    pub(super) fn pointer(&self) -> String {
        let mut pointer = String::from(self.above.as_deref().unwrap_or_default());
        for step in &self.steps[..self.count] {
            pointer.push('/');
            match step {
                Step::Key(key) if key.contains(['~', '/']) => pointer.push_str(&escape(key)),
                Step::Key(key) => pointer.push_str(key),
                Step::Index(index) => pointer.push_str(&index.to_string()),
            }
        }
        pointer
    }

    /// Whether the way begins with these keys and goes on. As if it does not, beyond the depth that fields have.
    pub(super) fn is_below(&self, keys: &[&str]) -> bool {
        let steps = &self.steps[..self.count];
        self.above.is_none()
            && steps.len() > keys.len()
            && keys.iter().zip(steps).all(|(key, step)| *step == Step::Key(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_written_out_whatever_the_depth() {
        let mut place = Place::ROOT;
        let mut pointer = String::new();
        for depth in 0..3 * STEPS {
            assert_eq!(place.pointer(), pointer);
            place = if depth % 3 == 0 { place.index(depth) } else { place.key("a/b~c") };
            pointer.push_str(&if depth % 3 == 0 { format!("/{depth}") } else { "/a~1b~0c".to_owned() });
        }
        assert_eq!(place.pointer(), pointer);
    }

    #[test]
    fn what_stands_below_a_field_is_known() {
        let first = Place::ROOT.key("spec").key("initContainers").index(0);
        assert!(first.is_below(&["spec", "initContainers"]) && first.is_below(&["spec"]));
        assert!(!first.is_below(&["spec", "containers"]));
        assert!(!Place::ROOT.key("data").is_below(&["data"]) && !Place::ROOT.is_below(&["data"]));
        assert!(!Place::ROOT.index(0).key("x").is_below(&["data"]));
    }
}
