//! Dice for tests that try what nobody thought of: the same numbers for the same seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// Small and quick (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice that throw what those of the same seed throw.
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Dice of their own for everything that has a name, whatever the order in which it is asked for.
    pub(crate) fn of(seed: u64, name: &str) -> Dice {
        // FNV-1a, whose high bits few letters reach: the first throw spreads them.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut dice = Dice::new(seed ^ hash);
        dice.below(2);
        dice
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(number % u64::try_from(limit).unwrap()).unwrap()
    }

    /// True so many times in a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A number that the environment gives.
pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// Another seed in each run, far from those of other runs.
pub(crate) fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let moment = now.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(now.subsec_nanos()));
    let mut dice = Dice::new(moment ^ (u64::from(std::process::id()) << 40));
    dice.below(2);
    dice.below(1_000_000_000_000) as u64
}
