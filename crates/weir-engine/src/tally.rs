//! Usage as it is counted for analytics, until it is written behind.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use weir_core::id::{AccountId, KeyId, PolicyNumber};
use weir_core::ledger::{Entry, EntryKind};
use weir_core::money::Nano;
use weir_core::operation::RouteIndex;
use weir_core::policy::Policy;
use weir_core::time::Timestamp;
use weir_core::usage::{Meter, Usage};
use weir_store::usage::{Counters, Grain, LATENCY_BUCKETS, RollupKey};

/// One call as it is counted.
#[derive(Debug)]
pub struct Counted<'a> {
    /// Who made it.
    pub account: AccountId,
    /// With which key.
    pub key: KeyId,
    /// By which policy its route is numbered.
    pub policy: &'a Policy,
    /// Its route.
    pub route: RouteIndex,
    /// The model it named, empty if none.
    pub model: &'a str,
    /// The status that the client got.
    pub status: u16,
    /// Whether a limit or the wallet refused it.
    pub limited: bool,
    /// What it used.
    pub usage: Usage,
    /// What it was charged.
    pub charged: Nano,
    /// From its arrival to the end of its answer, in milliseconds.
    pub latency_ms: u64,
    /// Bytes of its body that were passed on.
    pub request_bytes: u64,
    /// Bytes of the body of its answer.
    pub response_bytes: u64,
    /// When it ended.
    pub at: Timestamp,
}

/// Sums by what they are told apart by.
pub(crate) type Sums = HashMap<TallyKey, Counters>;

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct TallyKey {
    account: AccountId,
    key: KeyId,
    minute: i64,
    policy: PolicyNumber,
    route: RouteIndex,
    model: Box<str>,
    status: u16,
}

/// Sums of calls that are not charged, in shards so that cores do not wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Tallies([Mutex<Shard>; SHARDS]);

#[derive(Debug, Default)]
struct Shard {
    sums: Sums,
    /// Models that the policy does not name, by who asked for them on this day.
    strangers: HashMap<AccountId, HashSet<Box<str>>>,
    day: i64,
}

impl Tallies {
    pub(crate) fn count(&self, call: &Counted<'_>) {
        let shard = usize::try_from(call.account.0 ^ call.key.0).unwrap_or(0) % SHARDS;
        self.0[shard].lock().count(call);
    }

    /// Counts work that was metered elsewhere and is not charged: it was no request.
    pub(crate) fn count_work(
        &self,
        account: AccountId,
        policy: &Policy,
        model: &str,
        usage: &Usage,
        at: Timestamp,
    ) {
        let key = TallyKey {
            account,
            key: KeyId::default(),
            minute: at.micros().div_euclid(MINUTE_US),
            policy: policy.number(),
            route: NO_ROUTE,
            model: model.into(),
            status: 200,
        };
        let counters = counters_of_usage(usage);
        let shard = usize::try_from(account.0).unwrap_or(0) % SHARDS;
        self.0[shard].lock().sums.entry(key).or_default().add(&counters);
    }

    pub(crate) fn take(&self) -> Sums {
        let mut all = Sums::new();
        for shard in &self.0 {
            for (key, counters) in std::mem::take(&mut shard.lock().sums) {
                all.entry(key).or_default().add(&counters);
            }
        }
        all
    }
}

impl Shard {
    fn count(&mut self, call: &Counted<'_>) {
        let mut key = TallyKey::of(call);
        if !self.sums.contains_key(&key) && !self.tells_apart(call) {
            key.model = OTHER.into();
        }
        self.sums.entry(key).or_default().add(&counters_of(call));
    }

    /// Whether a call is counted under the name of its model. Nobody pays for names that they make
    /// up, and each is kept for long: so many a day, and the rest together.
    fn tells_apart(&mut self, call: &Counted<'_>) -> bool {
        if call.model.is_empty() || call.policy.names_model(call.model) {
            return true;
        }
        let day = call.at.micros().div_euclid(DAY_US);
        if day > self.day {
            self.day = day;
            self.strangers.clear();
        }
        let names = self.strangers.entry(call.account).or_default();
        names.contains(call.model)
            || (names.len() < STRANGERS_MAX && names.insert(call.model.into()))
    }
}

impl TallyKey {
    fn of(call: &Counted<'_>) -> Self {
        Self {
            account: call.account,
            key: call.key,
            minute: call.at.micros().div_euclid(MINUTE_US),
            policy: call.policy.number(),
            route: call.route,
            model: call.model.into(),
            status: call.status,
        }
    }
}

/// Adds a call to its sums.
pub(crate) fn add(sums: &mut Sums, call: &Counted<'_>) {
    sums.entry(TallyKey::of(call)).or_default().add(&counters_of(call));
}

/// Adds a charge that the ledger has, as far as its entry tells.
pub(crate) fn recount(sums: &mut Sums, policy: &Policy, entry: &Entry) {
    let call = entry.call.as_deref();
    let counters = match entry.kind {
        EntryKind::Charge => Counters {
            // Work that was metered elsewhere is charged, and was no request.
            requests: i64::from(call.is_some_and(|call| call.key.is_some())),
            ..counters_of_usage(&call.map_or(Usage::NONE, |call| call.usage))
        },
        // Debt is the second entry of a call that its charge has counted already.
        EntryKind::Debt => Counters::default(),
        _ => return,
    };
    let counters = Counters { charged: -entry.amount, ..counters };
    sums.entry(tally_of(policy, entry)).or_default().add(&counters);
}

/// Counts a call that was counted as answered with a status as what its client got: an error, and
/// no charge.
pub(crate) fn uncount(sums: &mut Sums, policy: &Policy, entry: &Entry, status: u16) {
    // Its debt, if any, is an entry more of the same call.
    let calls = i64::from(entry.kind == EntryKind::Charge);
    let before = TallyKey { status, ..tally_of(policy, entry) };
    let counters = Counters { requests: -calls, charged: entry.amount, ..Counters::default() };
    sums.entry(before).or_default().add(&counters);
    let after = TallyKey { status: WITHHELD, ..tally_of(policy, entry) };
    let counters = Counters { requests: calls, errors: calls, ..Counters::default() };
    sums.entry(after).or_default().add(&counters);
}

/// Where an entry is counted. It does not tell the status: nearly all that is charged was answered
/// with 200.
fn tally_of(policy: &Policy, entry: &Entry) -> TallyKey {
    let call = entry.call.as_deref();
    let named = call.map_or("", |call| &*call.route);
    let route = policy.routes().iter().position(|route| route.pattern.as_str() == named);
    let route = route.and_then(|index| u16::try_from(index).ok()).map_or(NO_ROUTE, RouteIndex);
    let key = call.and_then(|call| call.key);
    TallyKey {
        account: entry.account,
        key: key.unwrap_or_default(),
        minute: entry.at.micros().div_euclid(MINUTE_US),
        policy: policy.number(),
        route,
        model: call.map_or_else(Box::default, |call| call.model.clone()),
        status: 200,
    }
}

fn counters_of(call: &Counted<'_>) -> Counters {
    let mut counters = Counters {
        requests: 1,
        errors: i64::from(call.status >= 500),
        limited: i64::from(call.limited),
        charged: call.charged,
        request_bytes: bounded(call.request_bytes),
        response_bytes: bounded(call.response_bytes),
        ..counters_of_usage(&call.usage)
    };
    counters.latency[latency_bucket(call.latency_ms)] = 1;
    counters
}

/// The tokens of a call, by kind.
fn counters_of_usage(usage: &Usage) -> Counters {
    Counters {
        input_tokens: bounded(usage.input()),
        cached_input_tokens: bounded(usage.of(Meter::CachedInputTokens)),
        cache_write_tokens: bounded(usage.of(Meter::CacheWriteTokens)),
        audio_input_tokens: bounded(usage.of(Meter::AudioInputTokens)),
        output_tokens: bounded(usage.output()),
        reasoning_tokens: bounded(usage.of(Meter::ReasoningTokens)),
        audio_output_tokens: bounded(usage.of(Meter::AudioOutputTokens)),
        ..Counters::default()
    }
}

fn bounded(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// The bucket of a latency: each bound is twice the one before, from 1 ms.
pub(crate) fn latency_bucket(ms: u64) -> usize {
    let doublings = usize::try_from(ms.max(1).ilog2()).unwrap_or(0);
    (doublings + usize::from(ms > 1 && !ms.is_power_of_two())).min(LATENCY_BUCKETS - 1)
}

/// The upper bound of a bucket in milliseconds.
pub fn latency_bound_ms(bucket: usize) -> u64 {
    1 << bucket.min(62)
}

/// The roll-up rows of sums, in all grains, of each account and of all together. `policies` name
/// the routes.
pub(crate) fn rollups(
    sums: Sums,
    policies: &BTreeMap<PolicyNumber, Arc<Policy>>,
) -> Vec<(RollupKey, Counters)> {
    let mut rows = Vec::with_capacity(sums.len() * GRAINS.len() * 2);
    for (key, counters) in sums {
        let route = policies.get(&key.policy).and_then(|policy| policy.route(key.route));
        let (route, class) = match route {
            Some(route) => (route.pattern.as_str(), &*route.class),
            None => ("", ""),
        };
        for (grain, length) in GRAINS {
            let start = Timestamp::from_micros(key.minute * MINUTE_US / length * length);
            let of_account = RollupKey {
                account: key.account,
                grain,
                start,
                key: Some(key.key),
                route: route.into(),
                class: class.into(),
                model: key.model.clone(),
                status: key.status,
            };
            let of_all = RollupKey { account: EVERYBODY, key: None, ..of_account.clone() };
            rows.extend([(of_account, counters), (of_all, counters)]);
        }
    }
    rows
}

/// Whose usage is that of all accounts together: no account has this id.
pub(crate) const EVERYBODY: AccountId = AccountId(0);
/// A route that the policy does not have, or no call at all.
const NO_ROUTE: RouteIndex = RouteIndex(u16::MAX);
/// What a client gets whose answer is withheld.
const WITHHELD: u16 = 503;
const SHARDS: usize = 8;
/// The model under which those are counted that are not told apart.
pub(crate) const OTHER: &str = "other";
/// Names that the policy lacks, for each account, day and shard.
const STRANGERS_MAX: usize = 32;
const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 1_440 * MINUTE_US;
const GRAINS: [(Grain, i64); 3] =
    [(Grain::Minute, MINUTE_US), (Grain::Hour, 60 * MINUTE_US), (Grain::Day, DAY_US)];

#[cfg(test)]
mod tests {
    use weir_core::policy::PolicyParts;

    use super::*;

    fn counted<'a>(policy: &'a Policy, model: &'a str, day: i64) -> Counted<'a> {
        Counted {
            account: AccountId(1),
            key: KeyId(1),
            policy,
            route: NO_ROUTE,
            model,
            status: 404,
            limited: false,
            usage: Usage::NONE,
            charged: Nano::ZERO,
            latency_ms: 1,
            request_bytes: 0,
            response_bytes: 0,
            at: Timestamp::from_micros(day * DAY_US),
        }
    }

    #[test]
    fn models_that_are_made_up_are_told_apart_up_to_a_bound_each_day() {
        let policy = Policy::new(PolicyNumber(1), PolicyParts::default()).unwrap();
        let tallies = Tallies::default();
        for day in [1, 2] {
            for number in 0..500 {
                tallies.count(&counted(&policy, &format!("made-up-{number}"), day));
                tallies.count(&counted(&policy, "made-up-0", day));
            }
            let sums = tallies.take();
            assert_eq!(sums.len(), STRANGERS_MAX + 1);
            let of = |model| sums[&TallyKey::of(&counted(&policy, model, day))].requests;
            let strangers = i64::try_from(STRANGERS_MAX).unwrap();
            assert_eq!((of("made-up-0"), of(OTHER)), (501, 500 - strangers));
        }
    }

    #[test]
    fn a_latency_falls_into_the_first_bucket_that_bounds_it() {
        for (ms, bucket) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1 << 40, 19)] {
            assert_eq!(latency_bucket(ms), bucket, "{ms}");
        }
    }
}
