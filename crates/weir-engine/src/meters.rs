//! What is counted for the operator's metrics: plain atomics, never a lock on the way of a call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use weir_core::id::PolicyNumber;
use weir_core::money::Nano;
use weir_core::policy::Policy;
use weir_core::usage::Usage;

use crate::tally::OTHER;

/// How long something took, in buckets. Observed without a lock.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What calls used and cost since the process started.
#[derive(Debug, Default)]
pub struct Meters {
    table: ArcSwap<TokenTable>,
    /// Every model that was ever met in a policy: counts outlive policies.
    models: Mutex<BTreeMap<Arc<str>, Arc<Tokens>>>,
    charged_nano: AtomicU64,
    withheld_nano: AtomicU64,
    holds_open: AtomicI64,
    /// How long decisions on calls took.
    pub decisions: Durations,
}

/// Tokens of one model.
#[derive(Debug, Default)]
struct Tokens {
    input: AtomicU64,
    output: AtomicU64,
}

/// The counters of the models of one policy.
#[derive(Debug, Default)]
struct TokenTable {
    policy: Option<PolicyNumber>,
    models: BTreeMap<Arc<str>, Arc<Tokens>>,
    others: Arc<Tokens>,
}

/// Tokens of one model, as read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokensRead {
    /// The model or pattern of the policy; `other` for all that it does not name.
    pub model: Arc<str>,
    /// Input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
}

impl Durations {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Sum in microseconds, and how many fell into each bucket: up to its bound in microseconds,
    /// the last one without bound.
    pub fn read(&self) -> (u64, Vec<(u64, u64)>) {
        let bounds = BOUNDS_US.iter().copied().chain([u64::MAX]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        (self.sum_us.load(Ordering::Relaxed), bounds.zip(counts).collect())
    }
}

impl Meters {
    /// All that was charged since the process started. What an answer waits for counts once it is
    /// stored.
    pub fn charged(&self) -> Nano {
        let nano = self.charged_nano.load(Ordering::Relaxed);
        Nano::new(i64::try_from(nano).unwrap_or(i64::MAX))
    }

    /// What was to be charged and could not be stored: given up, as the answers were withheld.
    pub fn withheld(&self) -> Nano {
        let nano = self.withheld_nano.load(Ordering::Relaxed);
        Nano::new(i64::try_from(nano).unwrap_or(i64::MAX))
    }

    /// How many calls hold credit now.
    pub fn holds_open(&self) -> i64 {
        self.holds_open.load(Ordering::Relaxed)
    }

    /// Tokens by model, of every model that a call used.
    pub fn tokens(&self) -> Vec<TokensRead> {
        let read = |model: &Arc<str>, tokens: &Tokens| TokensRead {
            model: Arc::clone(model),
            input: tokens.input.load(Ordering::Relaxed),
            output: tokens.output.load(Ordering::Relaxed),
        };
        let models = self.models.lock();
        let all = models.iter().map(|(model, tokens)| read(model, tokens));
        all.filter(|tokens| tokens.input + tokens.output > 0).collect()
    }

    pub(crate) fn held(&self) {
        self.holds_open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn released(&self) {
        self.holds_open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a charge.
    pub(crate) fn charged_more(&self, charged: Nano) {
        self.charged_nano.fetch_add(charged.get().max(0).unsigned_abs(), Ordering::Relaxed);
    }

    /// Counts what a call used.
    pub(crate) fn settled(&self, policy: &Policy, model: &str, usage: &Usage) {
        let (input, output) = (usage.input(), usage.output());
        if input == 0 && output == 0 {
            return;
        }
        let table = self.table.load();
        if table.policy == Some(policy.number()) {
            table.of(policy, model).add(input, output);
        } else {
            self.table_of(policy).of(policy, model).add(input, output);
        }
    }

    /// Counts a charge that is given up.
    pub(crate) fn given_up(&self, charged: Nano) {
        self.withheld_nano.fetch_add(charged.get().max(0).unsigned_abs(), Ordering::Relaxed);
    }

    /// Makes the table of a policy that was not met before.
    fn table_of(&self, policy: &Policy) -> Arc<TokenTable> {
        let mut known = self.models.lock();
        let mut counters = |name: &str| {
            let name: Arc<str> = name.into();
            let tokens = known.entry(Arc::clone(&name)).or_default();
            (name, Arc::clone(tokens))
        };
        let of_models = policy.models().iter().map(|terms| terms.pattern.to_string());
        let of_prices = policy.prices().iter().map(|price| price.name().to_owned());
        let table = TokenTable {
            policy: Some(policy.number()),
            models: of_models.chain(of_prices).map(|name| counters(&name)).collect(),
            others: counters(OTHER).1,
        };
        let table = Arc::new(table);
        self.table.store(Arc::clone(&table));
        table
    }
}

impl TokenTable {
    /// The counters of a model; one name for all that the policy does not know, as callers choose
    /// names freely.
    fn of(&self, policy: &Policy, model: &str) -> &Tokens {
        if let Some(tokens) = self.models.get(model) {
            return tokens;
        }
        let pattern = policy.model(model).map(|terms| terms.pattern.to_string());
        pattern.and_then(|pattern| self.models.get(pattern.as_str())).unwrap_or(&self.others)
    }
}

impl Tokens {
    fn add(&self, input: u64, output: u64) {
        self.input.fetch_add(input, Ordering::Relaxed);
        self.output.fetch_add(output, Ordering::Relaxed);
    }
}

/// Upper bounds of buckets, in microseconds: from a decision in memory to a long answer.
const BOUNDS_US: [u64; 20] = [
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    30_000_000,
    120_000_000,
];

#[cfg(test)]
mod tests {
    use weir_core::policy::PolicyParts;
    use weir_core::usage::Meter;

    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_reaches_it() {
        let durations = Durations::default();
        for us in [0, 5, 6, 200_000_000] {
            durations.observe(Duration::from_micros(us));
        }
        let (sum, buckets) = durations.read();
        assert_eq!(sum, 200_000_011);
        assert_eq!((buckets[0], buckets[1], buckets[20]), ((5, 2), (10, 1), (u64::MAX, 1)));
    }

    #[test]
    fn models_that_no_policy_names_are_counted_together_and_counts_outlive_policies() {
        let meters = Meters::default();
        let usage = Usage::NONE.with(Meter::InputTokens, 3).with(Meter::OutputTokens, 4);
        for number in [1, 2] {
            let policy = Policy::new(PolicyNumber(number), PolicyParts::default()).unwrap();
            for model in ["a", "b"] {
                meters.settled(&policy, model, &usage);
            }
        }
        let other = TokensRead { model: OTHER.into(), input: 12, output: 16 };
        assert_eq!(meters.tokens(), vec![other]);
    }
}
