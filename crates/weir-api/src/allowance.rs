//! How often one key may ask the customer API: generous, and apart from its plan.

use std::collections::HashMap;

use parking_lot::Mutex;
use weir_core::id::KeyId;
use weir_core::limit::{Algorithm, Period, Rule, Terms};
use weir_core::time::{Span, Timestamp};
use weir_core::window::{Wait, Window};

/// The windows of all keys that asked lately.
#[derive(Debug)]
pub(crate) struct Allowances {
    rule: Rule,
    windows: Mutex<HashMap<KeyId, Window>>,
}

impl Default for Allowances {
    fn default() -> Self {
        let terms = Terms {
            algorithm: Algorithm::TokenBucket,
            burst: Some(BURST),
            ..Terms::new(Some(PER_SECOND), Period::SECOND)
        };
        let rule = Rule::new(terms).unwrap_or_else(|_| Rule::unlimited());
        Self { rule, windows: Mutex::default() }
    }
}

impl Allowances {
    /// Counts a request of a key that is known to exist.
    ///
    /// # Errors
    ///
    /// How long to wait when the key has asked too often.
    pub(crate) fn take(&self, key: KeyId, now: Timestamp) -> Result<(), Span> {
        let mut windows = self.windows.lock();
        if windows.len() >= KEYS_MAX && !windows.contains_key(&key) {
            // A bucket that is full again says nothing that a fresh one does not.
            windows.retain(|_, window| self.rule.snapshot(window, now).used > 0);
        }
        let window = windows.entry(key).or_default();
        match self.rule.check(window, 1, false, now) {
            Ok(()) => {
                let _counted = self.rule.take(window, 1, now);
                Ok(())
            }
            Err(blocked) => Err(match blocked.wait {
                Wait::For(wait) => wait,
                Wait::Never => Span::SECOND,
            }),
        }
    }
}

const PER_SECOND: u64 = 50;
const BURST: u64 = 100;
/// Above this many keys, idle ones are forgotten first.
const KEYS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gets_its_burst_and_then_its_rate_and_others_are_not_touched() {
        let allowances = Allowances::default();
        let now = Timestamp::from_secs(1_000);
        for _ in 0..BURST {
            assert_eq!(allowances.take(KeyId(1), now), Ok(()));
        }
        let wait = allowances.take(KeyId(1), now).unwrap_err();
        assert_eq!(wait, Span::from_millis(20));
        assert_eq!(allowances.take(KeyId(2), now), Ok(()));
        assert_eq!(allowances.take(KeyId(1), now.plus(wait)), Ok(()));
        assert!(allowances.take(KeyId(1), now.plus(wait)).is_err());
    }
}
