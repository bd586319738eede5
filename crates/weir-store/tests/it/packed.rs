//! Usage of intervals that are over: packed, and the answers stay the same.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_core::id::{AccountId, KeyId, Seq};
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_store::store::Store;
use weir_store::usage::{Apart, Counters, Forget, Grain, Rollup, RollupKey, RollupRange};

use crate::support::open;

/// What can happen to usage.
#[derive(Clone, Debug)]
enum Step {
    Add(Vec<(RollupKey, Counters)>),
    /// Intervals that end by that hour are over.
    Ended(i64),
    /// Hours that began before that one had their time.
    Forget(i64),
    Restart,
}

/// Every row as it was handed in.
type Rows = BTreeMap<RollupKey, Counters>;

/// What answers are told apart by: start, key, route, class, model, status.
type Group = (i64, Option<KeyId>, String, String, String, u16);

fn row() -> impl Strategy<Value = (RollupKey, Counters)> {
    let grain = prop::sample::select(vec![Grain::Minute, Grain::Hour, Grain::Hour, Grain::Day]);
    let kind = (1..=3_u64, 0..2_usize, prop::sample::select(vec!["", "m"]), 0..2_usize);
    (1..=2_u64, grain, 0..4_i64, kind, 0..9_i64).prop_map(
        |(account, grain, nth, (key, route, model, status), amount)| {
            let length = match grain {
                Grain::Minute => 60,
                Grain::Hour => 3_600,
                Grain::Day => 86_400,
            };
            let key = RollupKey {
                account: AccountId(account),
                grain,
                start: Timestamp::from_secs(nth * length),
                key: Some(KeyId(key << 50)),
                route: ["GET /a", "POST /b"][route].into(),
                class: ["read", "write"][route].into(),
                model: model.into(),
                status: [200, 429][status],
            };
            let charged = Nano::new(-amount);
            let mut counters = Counters { requests: amount, charged, ..Counters::default() };
            counters.latency[19] = amount;
            (key, counters)
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(row(), 1..60).prop_map(Step::Add),
        3 => (0..100_i64).prop_map(Step::Ended),
        1 => (0..4_i64).prop_map(Step::Forget),
        1 => Just(Step::Restart),
    ]
}

/// Every way to tell calls apart.
fn ways() -> impl Iterator<Item = Apart> {
    (0..32).map(|bits| Apart {
        key: bits & 1 > 0,
        route: bits & 2 > 0,
        class: bits & 4 > 0,
        model: bits & 8 > 0,
        status: bits & 16 > 0,
    })
}

fn group(apart: Apart, row: &Rollup<'_>) -> Group {
    let told = |wanted: bool, word: &str| if wanted { word.to_owned() } else { String::new() };
    (
        row.start.micros(),
        row.key.filter(|_| apart.key),
        told(apart.route, row.route),
        told(apart.class, row.class),
        told(apart.model, row.model),
        if apart.status { row.status } else { 0 },
    )
}

fn expected(rows: &Rows, range: &RollupRange, apart: Apart) -> BTreeMap<Group, Counters> {
    let mut sums = BTreeMap::<Group, Counters>::new();
    for (key, counters) in rows {
        let within = range.from <= key.start && key.start < range.to;
        if (key.account, key.grain) == (range.account, range.grain) && within {
            let RollupKey { start, key, route, class, model, status, .. } = key;
            let (start, key, status) = (*start, *key, *status);
            let row = Rollup { start, key, route, class, model, status };
            sums.entry(group(apart, &row)).or_default().add(counters);
        }
    }
    sums
}

fn answered(store: &Store, range: &RollupRange, apart: Apart) -> BTreeMap<Group, Counters> {
    let mut sums = BTreeMap::<Group, Counters>::new();
    let add = |row: Rollup<'_>, counters: Counters| {
        sums.entry(group(apart, &row)).or_default().add(&counters);
    };
    store.reader().rollups(range, apart, add).unwrap();
    sums
}

fn check(store: &Store, rows: &Rows) {
    for account in [1, 2].map(AccountId) {
        for grain in [Grain::Minute, Grain::Hour, Grain::Day] {
            for (from, to) in [(0, 1 << 40), (3_600, 3 * 3_600)] {
                let (from, to) =
                    (Timestamp::from_secs(from), Timestamp::from_secs(to.min(1 << 30)));
                let range = RollupRange { account, grain, from, to };
                for apart in ways() {
                    let found = answered(store, &range, apart);
                    assert_eq!(found, expected(rows, &range, apart), "{range:?} {apart:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_sums_of_all_that_was_counted(steps in prop::collection::vec(step(), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        let mut rows = Rows::new();
        for step in steps {
            match step {
                Step::Add(added) => {
                    for (key, counters) in &added {
                        rows.entry(key.clone()).or_default().add(counters);
                    }
                    store.add_usage(added, Seq(0));
                }
                Step::Ended(hour) => store.usage_ended(Timestamp::from_secs(hour * 3_600)),
                Step::Forget(hour) => {
                    let before = Timestamp::from_secs(hour * 3_600);
                    store.forget(Forget::Rollups(Grain::Hour, before));
                    store.flush();
                    rows.retain(|key, _| key.grain != Grain::Hour || key.start >= before);
                }
                Step::Restart => {
                    drop(store);
                    store = open(dir.path()).0;
                }
            }
            store.flush();
        }
        check(&store, &rows);
    }
}
