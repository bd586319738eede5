//! What every experiment is told.

use std::path::PathBuf;

/// What every experiment is told.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The folder of the workspace.
    pub(super) root: PathBuf,
    /// The binary that is tried.
    pub(super) binary: PathBuf,
    /// The same seed draws the same pauses and points.
    pub(super) seed: u64,
    /// How much is done; what a round is, the experiment says.
    pub(super) rounds: u64,
    /// The first round, to go on where an earlier run ended.
    pub(super) from: u64,
}

/// Numbers that follow from a seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below a bound.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// One of several.
    pub(super) fn of<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        let index = self.below(several.len() as u64);
        &several[usize::try_from(index).unwrap_or(0)]
    }

    /// Shuffles them.
    pub(super) fn shuffle<T>(&mut self, several: &mut [T]) {
        for index in (1..several.len()).rev() {
            let other = self.below(index as u64 + 1);
            several.swap(index, usize::try_from(other).unwrap_or(0));
        }
    }
}
