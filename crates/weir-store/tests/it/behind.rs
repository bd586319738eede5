//! What is written behind: the index, snapshots, windows, roll-ups.

use std::collections::BTreeMap;

use weir_core::id::{AccountId, KeyId, Seq};
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_store::index::WalletSnapshot;
use weir_store::store::Store;
use weir_store::usage::{
    Apart, Counters, Forget, Grain, Rollup, RollupKey, RollupRange, WindowKey, WindowState,
};

use crate::support::{Books, fill, open, positions};

#[test]
fn an_accounts_entries_are_complete_whatever_the_index_knows() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    for round in 0..6u64 {
        for account in 1..=3 {
            fill(&store, &mut books, account, 5);
        }
        if round % 2 == 0 {
            store.flush();
        }
        for account in 1..=3u64 {
            let expected: Vec<u64> = (0..=round)
                .flat_map(|round| (1..=5).map(move |n| round * 15 + (account - 1) * 5 + n))
                .collect();
            assert_eq!(positions(&store, account), expected);
        }
    }
    store.flush();
    let totals = store.reader().totals().unwrap();
    assert_eq!((totals.indexed_seq, totals.last_seq), (Seq(90), Seq(90)));
}

#[test]
fn a_lost_or_foreign_index_is_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    fill(&store, &mut books, 1, 8);
    store.snapshot(vec![wallet(1, 8, "{}")], Seq(8)).unwrap();
    store.flush();
    drop(store);
    let other = tempfile::tempdir().unwrap();
    let (store, _) = open(other.path());
    fill(&store, &mut Books::default(), 1, 20);
    drop(store);
    let damage: [&dyn Fn(); 3] = [
        &|| std::fs::remove_file(dir.path().join("index.db")).unwrap(),
        &|| std::fs::write(dir.path().join("index.db"), vec![7; 9_000]).unwrap(),
        &|| {
            let copied = std::fs::copy(other.path().join("index.db"), dir.path().join("index.db"));
            copied.unwrap();
        },
    ];
    for damage in damage {
        damage();
        let (store, loaded) = open(dir.path());
        assert_eq!(loaded.wallets, []);
        assert_eq!(loaded.tail().count(), 8);
        assert_eq!(positions(&store, 1), [1, 2, 3, 4, 5, 6, 7, 8]);
        store.flush();
        assert_eq!(store.reader().totals().unwrap().indexed_seq, Seq(8));
    }
}

fn wallet(account: u64, as_of: u64, state: &str) -> WalletSnapshot {
    WalletSnapshot { account: AccountId(account), as_of: Seq(as_of), state: state.into() }
}

#[test]
fn a_start_reads_snapshots_and_only_the_entries_after_them() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    fill(&store, &mut books, 1, 5);
    fill(&store, &mut books, 2, 5);
    store.snapshot(vec![wallet(1, 5, "one"), wallet(2, 9, "two")], Seq(9)).unwrap();
    store.flush();
    // An older snapshot does not come over a newer one.
    store.snapshot(vec![wallet(1, 3, "old")], Seq(3)).unwrap();
    store.flush();
    drop(store);
    let (_store, loaded) = open(dir.path());
    let mut wallets = loaded.wallets.clone();
    wallets.sort_by_key(|wallet| wallet.account);
    assert_eq!(wallets, [wallet(1, 5, "one"), wallet(2, 9, "two")]);
    assert_eq!(loaded.snapshot_seq, Seq(9));
    let tail: Vec<u64> = loaded.tail().map(|entry| entry.unwrap().seq.0).collect();
    assert_eq!(tail, [10]);
}

#[test]
fn a_snapshot_waits_until_what_it_stands_on_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    fill(&store, &mut books, 1, 2);
    for round in 3..20 {
        store.snapshot(vec![wallet(1, round, "ahead")], Seq(2)).unwrap();
    }
    store.flush();
    let copy = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal", "index.db", "index.db-wal"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let (_copy, loaded) = open(copy.path());
    assert_eq!(loaded.wallets, []);
    drop(store);
}

fn counters(requests: i64, charged: i64) -> Counters {
    let mut counters = Counters { requests, charged: Nano::new(charged), ..Counters::default() };
    counters.latency[3] = requests;
    counters
}

fn key(account: u64, start: i64, route: &str) -> RollupKey {
    RollupKey {
        account: AccountId(account),
        grain: Grain::Hour,
        start: Timestamp::from_secs(start),
        key: Some(KeyId(4)),
        route: route.into(),
        class: "ai".into(),
        model: "".into(),
        status: 200,
    }
}

const APART: Apart = Apart { key: true, route: true, class: true, model: true, status: true };

fn rollups(store: &Store, account: u64) -> Vec<(RollupKey, Counters)> {
    let range = RollupRange {
        account: AccountId(account),
        grain: Grain::Hour,
        from: Timestamp::from_secs(0),
        to: Timestamp::from_secs(10_000),
    };
    let mut found = Vec::new();
    let RollupRange { account, grain, .. } = range;
    let mut sums = BTreeMap::<Timestamp, Counters>::new();
    let visit = |row: Rollup<'_>, counters: Counters| {
        let Rollup { start, key, route, class, model, status } = row;
        let [route, class, model] = [route, class, model].map(Into::into);
        found.push((
            RollupKey { account, grain, start, key, route, class, model, status },
            counters,
        ));
        sums.entry(start).or_default().add(&counters);
    };
    store.reader().rollups(&range, APART, visit).unwrap();
    let mut totals = BTreeMap::new();
    let total = |start, counters| assert!(totals.insert(start, counters).is_none());
    store.reader().usage_totals(&range, total).unwrap();
    assert_eq!(totals, sums, "the totals are the sums of their rows");
    found
}

#[test]
fn rollups_add_up_over_flushes_and_restarts_and_say_how_far_they_know_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, &mut Books::default(), 1, 9);
    store.add_usage([(key(1, 3_600, "a"), counters(1, 5))], Seq(3));
    store.add_usage([(key(1, 3_600, "a"), counters(2, 6))], Seq(4));
    store.flush();
    store.add_usage(
        [(key(1, 3_600, "a"), counters(4, 7)), (key(1, 0, "b"), counters(1, 0))],
        Seq(6),
    );
    drop(store);
    let (store, loaded) = open(dir.path());
    assert_eq!(loaded.usage_applied, Seq(6));
    let left: Vec<u64> =
        loaded.entries_after(loaded.usage_applied).map(|entry| entry.unwrap().seq.0).collect();
    assert_eq!(left, [7, 8, 9]);
    let expected = [(key(1, 0, "b"), counters(1, 0)), (key(1, 3_600, "a"), counters(7, 18))];
    assert_eq!(rollups(&store, 1), expected);
    assert_eq!(rollups(&store, 2), []);

    // An absurd sum keeps what was there and stops nothing else.
    store.add_usage(
        [(key(1, 3_600, "a"), counters(1, i64::MAX)), (key(1, 0, "b"), counters(1, 0))],
        Seq(6),
    );
    store.flush();
    assert_eq!(rollups(&store, 1)[1].1.charged, Nano::new(18));
    assert_eq!(rollups(&store, 1)[1].1.requests, 8);
    store.forget(Forget::Rollups(Grain::Hour, Timestamp::from_secs(3_600)));
    store.flush();
    assert_eq!(rollups(&store, 1).len(), 1);
}

#[test]
fn what_is_forgotten_goes_in_parts_without_being_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let all = (0..9_000).map(|second| (key(1, second, "a"), counters(1, 1)));
    store.add_usage(all, Seq(0));
    store.flush();
    store.forget(Forget::Rollups(Grain::Hour, Timestamp::from_secs(8_990)));
    // What is asked for meanwhile, and less, brings nothing back and ends nothing early.
    store.forget(Forget::Rollups(Grain::Hour, Timestamp::from_secs(10)));
    // Rounds that are no longer than others: eighteen thousand rows are five parts.
    for _part in 0..6 {
        store.add_usage([(key(1, 9_000, "a"), counters(1, 1))], Seq(0));
        store.flush();
    }
    let left = rollups(&store, 1);
    assert_eq!(left.len(), 11);
    assert_eq!(left[0].0.start, Timestamp::from_secs(8_990));
    assert_eq!(left[10].1.requests, 6, "what was counted meanwhile");
}

#[test]
fn windows_come_back_as_they_were_last_handed_in() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let key = |name: &str, key: Option<u64>| WindowKey {
        account: AccountId(1),
        key: key.map(KeyId),
        name: name.into(),
    };
    let state = |a, ends_at| WindowState { a, b: -1, c: 3, ends_at: Timestamp::from_secs(ends_at) };
    let some = |a, ends_at| Some(state(a, ends_at));
    store.windows([(key("ai", None), some(1, 10)), (key("ai", Some(2)), some(2, 20))]);
    store.flush();
    store.windows([(key("ai", None), None), (key("all", None), some(6, 40))]);
    store.windows([(key("ai", None), some(5, 30))]);
    store.flush();
    store.windows([(key("all", None), None)]);
    store.forget(Forget::Windows(Timestamp::from_secs(20)));
    drop(store);
    let (_store, loaded) = open(dir.path());
    assert_eq!(loaded.windows, [(key("ai", None), state(5, 30))]);
}

#[test]
fn usage_waits_until_the_charges_in_it_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    fill(&store, &mut books, 1, 3);
    for applied in [3, 4, 5, 4, 5, 4, 5] {
        store.add_usage([(key(1, 0, "a"), counters(1, 1))], Seq(applied));
    }
    store.flush();
    assert_eq!(rollups(&store, 1), [(key(1, 0, "a"), counters(1, 1))]);
    fill(&store, &mut books, 2, 2);
    store.flush();
    assert_eq!(rollups(&store, 1), [(key(1, 0, "a"), counters(7, 7))]);
    // Refused charges leave the rest to be written at a stop, no further than the ledger goes.
    store.add_usage([(key(1, 0, "a"), counters(1, 1))], Seq(9));
    drop(store);
    let (store, loaded) = open(dir.path());
    assert_eq!(loaded.usage_applied, Seq(5));
    assert_eq!(rollups(&store, 1), [(key(1, 0, "a"), counters(8, 8))]);
}

#[test]
fn usage_beside_a_shorter_ledger_counts_from_where_that_ends() {
    let dir = tempfile::tempdir().unwrap();
    let long = tempfile::tempdir().unwrap();
    for (path, entries) in [(&dir, 2), (&long, 9)] {
        let (store, _) = open(path.path());
        fill(&store, &mut Books::default(), 1, entries);
        store.add_usage([], Seq(entries));
    }
    std::fs::copy(long.path().join("usage.db"), dir.path().join("usage.db")).unwrap();
    let (_store, loaded) = open(dir.path());
    assert_eq!(loaded.usage_applied, Seq(2));
}
