//! How often one key may ask the customer API: generous, and apart from its plan.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_core::id::KeyId;
use weir_core::limit::{Algorithm, Period, Rule, Terms};
use weir_core::time::{Span, Timestamp};
use weir_core::window::{Snapshot, Wait, Window};
use weir_wire::header as ours;

use crate::time::rfc3339;

/// The windows of all keys that asked lately.
#[derive(Debug)]
pub(crate) struct Allowances {
    rule: Rule,
    windows: Mutex<HashMap<KeyId, Window>>,
}

/// Where the allowance of a request's key stands, told on the answer; empty until a key is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing(Arc<OnceLock<Snapshot>>);

impl Standing {
    /// Remembers where it stands.
    pub(crate) fn note(&self, now: Snapshot) {
        // A request is counted once, so what is there already is the same.
        let _ = self.0.set(now);
    }

    /// Writes the headers that the data plane writes for its limits.
    pub(crate) fn write(&self, headers: &mut HeaderMap, now: Timestamp) {
        let Some(Snapshot { limit: Some(limit), remaining, reset_at, window, .. }) = self.0.get()
        else {
            return;
        };
        let left = remaining.min(limit);
        let (window, reset) = (window.secs_ceil(), reset_at.max(&now).secs_ceil());
        let until = reset_at.since(now).secs_ceil().max(0);
        for (name, value) in [
            (ours::X_RATELIMIT_LIMIT, limit.to_string()),
            (ours::X_RATELIMIT_REMAINING, left.to_string()),
            (ours::X_RATELIMIT_RESET, reset.to_string()),
            (ours::X_RATELIMIT_WINDOW, window.to_string()),
            (ours::RATELIMIT_POLICY, format!("\"{NAME}\";q={limit};w={window}")),
            (ours::RATELIMIT, format!("\"{NAME}\";r={left};t={until}")),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The allowance as error documents tell a limit.
pub(crate) fn told(now: &Snapshot) -> Value {
    json!({
        "name": NAME, "per": "key", "unit": "requests", "limit": now.limit,
        "remaining": now.remaining, "window_s": now.window.secs_ceil(),
        "reset_at": rfc3339(now.reset_at),
    })
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
    /// Counts a request of a key that is known to exist; where the allowance then stands, and how
    /// long to wait if the key has asked too often.
    pub(crate) fn take(&self, key: KeyId, now: Timestamp) -> (Snapshot, Result<(), Span>) {
        let mut windows = self.windows.lock();
        if windows.len() >= KEYS_MAX && !windows.contains_key(&key) {
            // A bucket that is full again says nothing that a fresh one does not.
            windows.retain(|_, window| self.rule.snapshot(window, now).used > 0);
        }
        let window = windows.entry(key).or_default();
        let outcome = match self.rule.check(window, 1, false, now) {
            Ok(()) => {
                let _counted = self.rule.take(window, 1, now);
                Ok(())
            }
            Err(blocked) => Err(match blocked.wait {
                Wait::For(wait) => wait,
                Wait::Never => Span::SECOND,
            }),
        };
        (self.rule.snapshot(window, now), outcome)
    }
}

/// The name of the limit in headers and errors.
pub(crate) const NAME: &str = "customer-api";
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
        let taken = |key, now| allowances.take(KeyId(key), now).1;
        for _ in 0..BURST {
            assert_eq!(taken(1, now), Ok(()));
        }
        let wait = taken(1, now).unwrap_err();
        assert_eq!(wait, Span::from_millis(20));
        assert_eq!(taken(2, now), Ok(()));
        assert_eq!(taken(1, now.plus(wait)), Ok(()));
        assert!(taken(1, now.plus(wait)).is_err());
    }
}
