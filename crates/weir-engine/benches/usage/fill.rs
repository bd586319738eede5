//! Roll-ups as a great many calls over ninety days leave them.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use weir_core::id::{AccountId, KeyId, Seq};
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_store::store::{Options as StoreOptions, Store};
use weir_store::usage::{Counters, Grain, RollupKey};

use crate::options::Options;

/// What the calls of an account differ in, and which share of them each has.
struct Kind {
    key: KeyId,
    route: Box<str>,
    class: &'static str,
    model: &'static str,
    status: u16,
    share: f64,
}

/// A stretch of time that is kept by one grain.
struct Kept {
    grain: Grain,
    length_s: i64,
    intervals: i64,
}

/// Fills a new store: accounts by Zipf's law, and so the keys and the routes of each. Whether a
/// kind of call that is rarer than once in an interval is in it is drawn, the same in each run.
pub(crate) fn fill(
    folder: &Path,
    options: &Options,
    now: Timestamp,
) -> Result<String, Box<dyn Error>> {
    let (store, _) = Store::open(folder, StoreOptions::default())?;
    let mut draw = fastrand::Rng::with_seed(1);
    let whole: f64 = (1..=options.accounts).map(|rank| 1.0 / f64::from(rank)).sum();
    let kinds = kinds();
    let mut of_all: HashMap<RollupKey, Counters> = HashMap::new();
    let (mut rows, mut calls) = (0, 0);
    for rank in 1..=options.accounts {
        let per_second = options.calls / whole / f64::from(rank) / (DAYS * 86_400.0);
        for kept in &KEPT {
            let mut of_account = Vec::new();
            for back in 0..kept.intervals {
                let start = now.micros() / 1_000_000 / kept.length_s - back;
                let start = Timestamp::from_secs(start * kept.length_s);
                for kind in &kinds {
                    #[expect(
                        clippy::cast_precision_loss,
                        reason = "lengths of intervals are small"
                    )]
                    let expected = per_second * kept.length_s as f64 * kind.share;
                    let Some(count) = drawn(expected, &mut draw) else { continue };
                    let counters = counters(count, kind);
                    let key = kind.rolled_up(AccountId(u64::from(rank)), kept.grain, start);
                    let everybody = RollupKey { account: AccountId(0), key: None, ..key.clone() };
                    of_all.entry(everybody).or_default().add(&counters);
                    of_account.push((key, counters));
                    if kept.grain == Grain::Hour {
                        calls += count;
                    }
                }
            }
            rows += of_account.len();
            store.add_usage(of_account, Seq(0));
            store.flush();
        }
    }
    rows += of_all.len();
    store.add_usage(of_all, Seq(0));
    store.flush();
    store.close();
    Ok(format!("{calls} calls of {} accounts in {rows} rows", options.accounts))
}

impl Kind {
    fn rolled_up(&self, account: AccountId, grain: Grain, start: Timestamp) -> RollupKey {
        RollupKey {
            account,
            grain,
            start,
            key: Some(KeyId(account.0 * 100 + self.key.0)),
            route: self.route.clone(),
            class: self.class.into(),
            model: self.model.into(),
            status: self.status,
        }
    }
}

/// Eight keys, six routes and models, three outcomes: 144 kinds of calls.
fn kinds() -> Vec<Kind> {
    let routes = [
        ("POST /v1/chat/completions", "ai", "gpt-4o-mini"),
        ("GET /v1/models", "read", ""),
        ("POST /v1/chat/completions", "ai", "llama-3-70b-instruct"),
        ("POST /v1/embeddings", "ai", "text-embedding-3-small"),
        ("POST /v1/chat/completions", "ai", "claude-sonnet-4"),
        ("POST /v1/jobs", "training", ""),
    ];
    let outcomes = [(200, 0.95), (429, 0.04), (500, 0.01)];
    let mut kinds = Vec::new();
    for key in 1..=KEYS {
        for (place, (route, class, model)) in (1_u32..).zip(routes) {
            for (status, share) in outcomes {
                let share = share / f64::from(key) / f64::from(place);
                let (key, route) = (KeyId(u64::from(key)), route.into());
                kinds.push(Kind { key, route, class, model, status, share });
            }
        }
    }
    let whole: f64 = kinds.iter().map(|kind| kind.share).sum();
    kinds.iter_mut().for_each(|kind| kind.share /= whole);
    kinds
}

/// How many calls of a kind an interval has, if it has one at all.
fn drawn(expected: f64, draw: &mut fastrand::Rng) -> Option<i64> {
    if expected < 1.0 {
        return (draw.f64() < expected).then_some(1);
    }
    #[expect(clippy::cast_possible_truncation, reason = "counts are far below 2^52")]
    let count = expected.round() as i64;
    Some(count)
}

fn counters(count: i64, kind: &Kind) -> Counters {
    let served = i64::from(kind.status == 200);
    let mut counters = Counters {
        requests: count,
        errors: i64::from(kind.status >= 500) * count,
        limited: i64::from(kind.status == 429) * count,
        input_tokens: 700 * count * served,
        output_tokens: 250 * count * served,
        charged: Nano::new(255_000 * count * served),
        ..Counters::default()
    };
    counters.latency[9] = count / 2;
    counters.latency[11] = count - count / 2;
    counters
}

const KEYS: u32 = 8;
const DAYS: f64 = 90.0;
const KEPT: [Kept; 3] = [
    Kept { grain: Grain::Minute, length_s: 60, intervals: 2 * 1_440 },
    Kept { grain: Grain::Hour, length_s: 3_600, intervals: 90 * 24 },
    Kept { grain: Grain::Day, length_s: 86_400, intervals: 90 },
];
