//! The number that a record has of its format.

use serde::Deserialize;

/// What every format of a record has: the number is asked for before anything else, which may be of another shape in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Versioned {
    /// The first formats of some records had none.
    #[serde(default)]
    pub version: u32,
}

impl Versioned {
    /// The number in a record; 0 where it has none, or cannot be read.
    pub fn of(json: &[u8]) -> u32 {
        serde_json::from_slice(json).unwrap_or(Self::default()).version
    }
}
