//! A backup taken under load restores to the same books.

use std::sync::Arc;

use weir_core::id::{AccountId, Seq};
use weir_core::time::Timestamp;
use weir_store::backup::restore;
use weir_store::error::OpenError;
use weir_store::op::{Expected, Op, Urgency};
use weir_store::usage::{WindowKey, WindowState};
use weir_store::verify::verify;

use crate::support::{Books, fill, open, positions, put};

fn window() -> (WindowKey, WindowState) {
    let key = WindowKey { account: AccountId(1), key: None, name: "ai".into() };
    (key, WindowState { a: 1, b: 2, c: 3, ends_at: Timestamp::from_secs(9) })
}

#[test]
fn a_backup_taken_while_commits_go_on_restores_to_a_moment_of_the_books() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir.path().join("live"));
    let store = Arc::new(store);
    fill(&store, &mut Books::default(), 1, 10);
    let (key, state) = window();
    store.windows([(key, Some(state))]);
    let file = dir.path().join("weir.backup");
    let copied = Arc::clone(&store);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200u64 {
                let commit = copied.commit_next(Urgency::Settlement, |seq| {
                    let mut books = Books::default();
                    vec![
                        Op::Append(books.top_up(seq, 100 + round, 5)),
                        Op::Append(books.charge(Seq(seq.0 + 1), 100 + round, 5)),
                        put("pair", round, "{}", Expected::Absent),
                    ]
                });
                commit.wait().unwrap();
            }
        });
        store.backup(&file).unwrap();
    });
    let entries_live = store.reader().entries_after(Seq(0), 10_000).unwrap();
    let restored = dir.path().join("restored");
    restore(&file, &restored).unwrap();
    let (store, loaded) = open(&restored);
    assert_eq!(loaded.windows, [window()]);
    assert_eq!(positions(&store, 1), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    let entries: Vec<_> = loaded.entries_after(Seq(0)).map(Result::unwrap).collect();
    assert_eq!(entries, entries_live[..entries.len()]);
    let mut pairs = 0;
    loaded.resources("pair", |_| pairs += 1).unwrap();
    assert_eq!(entries.len(), 10 + 2 * pairs);
    drop(store);
    assert_eq!(verify(&restored).unwrap().entries, entries.len() as u64);
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}: nothing unfinished stays");
}

#[test]
fn a_backup_never_overwrites_and_a_restore_never_mixes() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let (store, _) = open(&live);
    let file = dir.path().join("weir.backup");
    store.backup(&file).unwrap();
    assert!(matches!(store.backup(&file), Err(OpenError::Exists { .. })));
    assert!(matches!(restore(&file, &live), Err(OpenError::InUse { .. })));
    drop(store);
    assert!(matches!(restore(&file, &live), Err(OpenError::Exists { .. })));
    let foreign = restore(&live.join("ledger.db"), &dir.path().join("other"));
    assert!(matches!(foreign, Err(OpenError::Foreign { .. })), "{foreign:?}");

    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0x5a);
    let damaged = dir.path().join("damaged.backup");
    std::fs::write(&damaged, bytes).unwrap();
    let target = dir.path().join("target");
    restore(&damaged, &target).unwrap_err();
    restore(&file, &target).unwrap();
}
