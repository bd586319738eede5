//! Who takes part.

/// A limiter with its keys: reads its clock and decides.
pub(crate) trait Contender: Sync {
    /// Whether one more call of that key passes; it is counted then.
    fn decide(&self, key: u32) -> bool;
}
