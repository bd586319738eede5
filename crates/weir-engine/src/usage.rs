//! Usage as it was rolled up: series over time, sums, and how long things last at this rate.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

use weir_core::admit::LimitView;
use weir_core::id::AccountId;
use weir_core::limit::Algorithm;
use weir_core::money::Nano;
use weir_core::time::{Span, Timestamp};
use weir_store::usage::{Apart, Counters, Grain, Rollup, RollupRange};

use crate::change::ChangeError;
use crate::engine::Engine;
use crate::retention::UsageRetention;
use crate::tally::{EVERYBODY, latency_bound_ms};

/// The length of the intervals of a series.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interval {
    /// Sixty seconds.
    Minute,
    /// Sixty minutes.
    Hour,
    /// Twenty-four hours.
    Day,
}

/// What the calls of a series are told apart by.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Dimension {
    /// The account.
    Account,
    /// The key; over all accounts only beside the account.
    Key,
    /// The route.
    Route,
    /// The operation class.
    Class,
    /// The model.
    Model,
    /// The status that the client got.
    Status,
}

/// Which usage.
#[derive(Clone, Debug)]
pub struct UsageWanted {
    /// Whose; `None`: of all accounts together.
    pub account: Option<AccountId>,
    /// From the interval that holds this time.
    pub from: Timestamp,
    /// Up to the interval that holds this time, included unless it begins then.
    pub to: Timestamp,
    /// The length of an interval.
    pub interval: Interval,
    /// What calls are told apart by.
    pub group_by: Vec<Dimension>,
}

/// Usage of one interval, one group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsageRow {
    /// When the interval begins.
    pub start: Timestamp,
    /// The group, in the order of the dimensions asked for.
    pub group: Vec<String>,
    /// What was counted.
    pub sums: UsageSums,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UsageSums(Counters);

impl Interval {
    /// How long it is.
    pub const fn length(self) -> Span {
        match self {
            Self::Minute => Span::from_secs(60),
            Self::Hour => Span::from_secs(3_600),
            Self::Day => Span::from_secs(86_400),
        }
    }

    /// The longest time that one question may cover: what is kept, within reason.
    pub fn reach(self, kept: &UsageRetention) -> Span {
        let (kept, days_max) = match self {
            Self::Minute => (kept.minute, 14),
            Self::Hour => (kept.hour, 400),
            Self::Day => (kept.day, 3_660),
        };
        let most = Span::from_secs(days_max * 86_400);
        kept.map_or(most, |kept| kept.min(most))
    }

    /// The beginning of the interval that holds a time.
    pub fn start(self, at: Timestamp) -> Timestamp {
        let length = self.length().micros();
        Timestamp::from_micros(at.micros().div_euclid(length).saturating_mul(length))
    }

    const fn grain(self) -> Grain {
        match self {
            Self::Minute => Grain::Minute,
            Self::Hour => Grain::Hour,
            Self::Day => Grain::Day,
        }
    }
}

impl Dimension {
    /// Every dimension.
    pub const ALL: [Self; 6] =
        [Self::Account, Self::Key, Self::Route, Self::Class, Self::Model, Self::Status];

    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Key => "key",
            Self::Route => "route",
            Self::Class => "class",
            Self::Model => "model",
            Self::Status => "status",
        }
    }

    /// The dimension of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.name() == name)
    }

    fn of<'a>(self, account: AccountId, row: &Rollup<'a>) -> Cow<'a, str> {
        match self {
            Self::Account => account.to_string().into(),
            Self::Key => row.key.map_or_else(String::new, |key| key.to_string()).into(),
            Self::Route => row.route.into(),
            Self::Class => row.class.into(),
            Self::Model => row.model.into(),
            Self::Status => row.status.to_string().into(),
        }
    }
}

impl UsageSums {
    /// Calls.
    pub fn requests(&self) -> u64 {
        count(self.0.requests)
    }

    /// Calls that failed on the server's side.
    pub fn errors(&self) -> u64 {
        count(self.0.errors)
    }

    /// Calls that a limit or the wallet refused.
    pub fn limited(&self) -> u64 {
        count(self.0.limited)
    }

    /// Prompt tokens of every kind.
    pub fn input_tokens(&self) -> u64 {
        count(self.0.input_tokens)
    }

    /// Of the prompt tokens, those read from the upstream's cache.
    pub fn cached_input_tokens(&self) -> u64 {
        count(self.0.cached_input_tokens)
    }

    /// Of the prompt tokens, those written into the upstream's cache.
    pub fn cache_write_tokens(&self) -> u64 {
        count(self.0.cache_write_tokens)
    }

    /// Of the prompt tokens, audio.
    pub fn audio_input_tokens(&self) -> u64 {
        count(self.0.audio_input_tokens)
    }

    /// Generated tokens of every kind.
    pub fn output_tokens(&self) -> u64 {
        count(self.0.output_tokens)
    }

    /// Of the generated tokens, those that the caller does not see.
    pub fn reasoning_tokens(&self) -> u64 {
        count(self.0.reasoning_tokens)
    }

    /// Of the generated tokens, audio.
    pub fn audio_output_tokens(&self) -> u64 {
        count(self.0.audio_output_tokens)
    }

    /// Bytes of the bodies of calls, as they were passed on.
    pub fn request_bytes(&self) -> u64 {
        count(self.0.request_bytes)
    }

    /// Bytes of the bodies of answers, as they came from upstreams.
    pub fn response_bytes(&self) -> u64 {
        count(self.0.response_bytes)
    }

    /// What was charged.
    pub fn charged(&self) -> Nano {
        self.0.charged
    }

    /// Calls by latency, the quickest first: up to how many milliseconds, and how many of them. The
    /// last have no upper bound. What is counted again from the ledger after a crash has no latency.
    pub fn latencies(&self) -> impl Iterator<Item = (Option<u64>, u64)> + use<> {
        let last = self.0.latency.len() - 1;
        let bound = move |bucket| (bucket < last).then(|| latency_bound_ms(bucket));
        self.0.latency.into_iter().enumerate().map(move |(at, calls)| (bound(at), count(calls)))
    }

    /// Below which latency in milliseconds that many percent of the calls stay, read off the
    /// histogram and spread evenly within a bucket; `None` without calls.
    pub fn latency_ms(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.0.latency.iter().copied().map(count).sum();
        if total == 0 {
            return None;
        }
        let rank = (total * percent).div_ceil(100).max(1);
        let mut before = 0;
        for (bucket, calls) in self.0.latency.iter().copied().map(count).enumerate() {
            if before + calls >= rank {
                let low = if bucket == 0 { 0 } else { latency_bound_ms(bucket - 1) };
                let width = latency_bound_ms(bucket) - low;
                return Some(low + (width * (rank - before)).div_ceil(calls));
            }
            before += calls;
        }
        None
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0);
    }
}

impl Engine {
    /// Usage by interval and group, in order; up to about two seconds old. Intervals and groups
    /// without a call are not in it.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: a time too long or more rows than are given at once, or the store.
    pub async fn usage(&self, wanted: UsageWanted) -> Result<Vec<UsageRow>, ChangeError> {
        let UsageWanted { account, from, to, interval, group_by } = wanted;
        if from >= to {
            return Err(ChangeError::invalid("from", "it must lie before `to`"));
        }
        let reach = interval.reach(&self.usage_kept());
        if to.since(from) > reach {
            let hours = reach.micros() / Interval::Hour.length().micros();
            let most = match hours % 24 {
                0 => format!("{} days", hours / 24),
                _ => format!("{hours} hours"),
            };
            let why = format!("with this interval at most {most} can be shown at once");
            return Err(ChangeError::invalid("from", why));
        }
        let (from, grain) = (interval.start(from), interval.grain());
        let rows = self.read(move |reader| {
            let accounts = match account {
                Some(account) => vec![account],
                None if group_by.contains(&Dimension::Account) => {
                    reader.rollup_accounts(EVERYBODY)?
                }
                None => vec![EVERYBODY],
            };
            let by = |dimension| group_by.contains(&dimension);
            let apart = Apart {
                key: by(Dimension::Key),
                route: by(Dimension::Route),
                class: by(Dimension::Class),
                model: by(Dimension::Model),
                status: by(Dimension::Status),
            };
            let mut series = Series::new(group_by);
            for account in accounts {
                let range = RollupRange { account, grain, from, to };
                if apart != Apart::default() {
                    let add = |row: Rollup<'_>, counters| series.add(account, &row, &counters);
                    reader.rollups(&range, apart, add)?;
                } else {
                    reader.usage_totals(&range, |start, counters| {
                        series.add(account, &Rollup { start, ..ALIKE }, &counters);
                    })?;
                }
                if series.rows.len() > ROWS_MAX {
                    return Ok(None);
                }
            }
            Ok(Some(series.in_order()))
        });
        rows.await?.ok_or_else(|| {
            let why = format!("more than {ROWS_MAX} rows; ask for less time or longer intervals");
            ChangeError::invalid("group_by", why)
        })
    }
}

/// The rows of an answer as they come together.
struct Series {
    group_by: Vec<Dimension>,
    /// Every group once, by its values behind their lengths.
    numbers: HashMap<String, usize>,
    groups: Vec<Vec<String>>,
    /// The group that is looked for.
    sought: String,
    rows: HashMap<(Timestamp, usize), UsageSums>,
}

impl Series {
    fn new(group_by: Vec<Dimension>) -> Self {
        let (numbers, groups) = (HashMap::new(), Vec::new());
        Self { group_by, numbers, groups, sought: String::new(), rows: HashMap::new() }
    }

    /// Adds what a row counted; no more than one row above what may be given.
    fn add(&mut self, account: AccountId, row: &Rollup<'_>, counters: &Counters) {
        if self.rows.len() > ROWS_MAX {
            return;
        }
        self.sought.clear();
        for dimension in &self.group_by {
            let value = dimension.of(account, row);
            // Writing into a string does not fail.
            let _ = write!(self.sought, "{}:{value}", value.len());
        }
        let number = match self.numbers.get(&self.sought) {
            Some(number) => *number,
            None => {
                let values = self.group_by.iter().map(|by| by.of(account, row).into_owned());
                self.groups.push(values.collect());
                self.numbers.insert(self.sought.clone(), self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        self.rows.entry((row.start, number)).or_default().0.add(counters);
    }

    fn in_order(self) -> Vec<UsageRow> {
        let Self { rows, groups, .. } = self;
        let group = |number: usize| groups.get(number).cloned().unwrap_or_default();
        let row = |((start, number), sums)| UsageRow { start, group: group(number), sums };
        let mut rows: Vec<UsageRow> = rows.into_iter().map(row).collect();
        rows.sort_unstable_by(|one, other| {
            one.start.cmp(&other.start).then_with(|| one.group.cmp(&other.group))
        });
        rows
    }
}

/// When a limit will be used up if it is used on as it was since its window began; `None` if it
/// will not before its window ends, or while less than a hundredth of the window has passed: a
/// rate that a few seconds show says nothing of an hour.
pub fn exhaustion_at(view: &LimitView, now: Timestamp) -> Option<Timestamp> {
    let follows = match view.algorithm {
        Algorithm::FixedWindow | Algorithm::SlidingWindow => true,
        Algorithm::TokenBucket | Algorithm::Concurrency => false,
    };
    if !follows || view.now.limit.is_none() || view.now.used == 0 {
        return None;
    }
    if view.now.remaining == 0 {
        return Some(now);
    }
    let began = view.now.reset_at.minus(view.now.window);
    let passed = i128::from(now.since(began).micros());
    if passed * 100 < i128::from(view.now.window.micros()) {
        return None;
    }
    let left = passed * i128::from(view.now.remaining) / i128::from(view.now.used);
    let at = now.plus(Span::from_micros(i64::try_from(left).ok()?));
    (at < view.now.reset_at).then_some(at)
}

/// A row in which nothing is told apart.
const ALIKE: Rollup<'static> = Rollup {
    start: Timestamp::from_micros(0),
    key: None,
    route: "",
    class: "",
    model: "",
    status: 0,
};
/// How many rows one answer may have.
const ROWS_MAX: usize = 100_000;

fn count(sum: i64) -> u64 {
    sum.max(0).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use weir_core::account::Owner;
    use weir_core::limit::Unit;
    use weir_core::window::Snapshot;

    use super::*;

    fn sums(latency: &[(usize, i64)]) -> UsageSums {
        let mut counters = Counters::default();
        for (bucket, calls) in latency {
            counters.latency[*bucket] = *calls;
        }
        UsageSums(counters)
    }

    #[test]
    fn percentiles_are_read_off_the_histogram() {
        assert_eq!(UsageSums::default().latency_ms(50), None);
        // Bucket 3 is above 4 ms up to 8 ms, bucket 6 above 32 ms up to 64 ms.
        let sums = sums(&[(3, 90), (6, 10)]);
        assert_eq!(sums.latency_ms(45), Some(6));
        assert_eq!(sums.latency_ms(90), Some(8));
        assert_eq!(sums.latency_ms(95), Some(48));
        assert_eq!(sums.latency_ms(100), Some(64));
    }

    #[test]
    fn intervals_begin_where_their_length_divides_time() {
        let at = Timestamp::from_secs(1_700_000_123);
        assert_eq!(Interval::Minute.start(at), Timestamp::from_secs(1_700_000_100));
        assert_eq!(Interval::Day.start(at), Timestamp::from_secs(1_699_920_000));
    }

    #[test]
    fn a_limit_used_at_a_pace_that_lasts_a_while_says_when_it_runs_out() {
        let began = Timestamp::from_secs(1_700_000_000);
        let hour = Span::from_secs(3600);
        let view = |used| LimitView {
            name: "ai",
            owner: Owner::Account,
            unit: Unit::Requests,
            algorithm: Algorithm::FixedWindow,
            boosted: false,
            shadow: false,
            now: Snapshot {
                limit: Some(100),
                used,
                remaining: 100 - used,
                reset_at: began.plus(hour),
                window: hour,
            },
        };
        let after = |secs| began.plus(Span::from_secs(secs));
        assert_eq!(exhaustion_at(&view(10), after(100)), Some(after(1000)));
        assert_eq!(exhaustion_at(&view(10), after(600)), None, "lasts longer than the window");
        assert_eq!(exhaustion_at(&view(10), after(35)), None, "too early to tell");
        assert_eq!(exhaustion_at(&view(100), after(1)), Some(after(1)));
        assert_eq!(exhaustion_at(&view(0), after(100)), None);
    }
}
