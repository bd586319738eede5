//! What every experiment is told.

/// What every experiment is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) rounds: u64,
}
