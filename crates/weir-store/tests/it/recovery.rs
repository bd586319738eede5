//! What a start finds: after a clean stop, after a copy of the files mid-way, after a cut log.

use std::path::Path;

use weir_core::id::Seq;
use weir_store::error::OpenError;
use weir_store::op::{Expected, Op, Urgency};
use weir_store::store::Store;
use weir_store::verify::verify;

use crate::support::{Books, fill, open, options, positions, put};

/// Copies what a crash would leave: the database and its log, not the shared memory.
fn copy_after_crash(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn a_store_reopens_with_everything_after_each_drop() {
    let dir = tempfile::tempdir().unwrap();
    let mut books = Books::default();
    for round in 1..=4u64 {
        let (store, loaded) = open(dir.path());
        assert_eq!(loaded.last_seq, Seq((round - 1) * 5));
        let entries: Vec<_> = loaded.entries_after(Seq(0)).map(Result::unwrap).collect();
        assert_eq!(entries.len() as u64, (round - 1) * 5);
        fill(&store, &mut books, round, 5);
        let put = put("account", round, "{}", Expected::Absent);
        // Dropped before anybody waited: what was handed in is still worked off.
        let commit = store.commit(Urgency::Fresh, vec![put]);
        drop(store);
        commit.wait().unwrap();
    }
    let (store, loaded) = open(dir.path());
    let mut ids = Vec::new();
    loaded.resources("account", |resource| ids.push(resource.id)).unwrap();
    assert_eq!(ids, [1, 2, 3, 4]);
    drop(store);
    assert_eq!(verify(dir.path()).unwrap().entries, 20);
}

#[test]
fn a_second_owner_is_refused_and_told_who_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _) = open(dir.path());
    let refused = Store::open(dir.path(), options()).unwrap_err();
    let OpenError::InUse { pid, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*pid, std::process::id().to_string());
    assert!(refused.to_string().contains(&format!("in use by process {pid}")), "{refused}");
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let ledger = dir.path().join("ledger.db");
    let conn = rusqlite::Connection::open(&ledger).unwrap();
    conn.pragma_update(None, "user_version", 999).unwrap();
    drop(conn);
    let before = std::fs::read(&ledger).unwrap();
    let refused = Store::open(dir.path(), options()).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 999, .. }), "{refused}");
    assert!(std::fs::read(&ledger).unwrap() == before);
}

/// The last acknowledged position is in the log before its acknowledgement, and a log that was
/// cut anywhere gives the commits up to some point, each whole.
#[test]
fn a_cut_log_gives_a_prefix_of_whole_commits() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let (store, _) = open(&live);
    let mut books = Books::default();
    let mut acknowledged = 0;
    for round in 1..=40u64 {
        let commit = store.commit_next(Urgency::Settlement, |seq| {
            let first = match round {
                1 => books.top_up(seq, 1, 1_000_000),
                _ => books.charge(seq, 1, 2),
            };
            let second = books.charge(Seq(seq.0 + 1), 1, 1);
            vec![
                Op::Append(first),
                Op::Append(second),
                put("round", round, &"x".repeat(3_000), Expected::Absent),
            ]
        });
        commit.wait().unwrap();
        acknowledged = round;
    }
    let crashed = dir.path().join("crashed");
    copy_after_crash(&live, &crashed);
    drop(store);
    let log = std::fs::metadata(crashed.join("ledger.db-wal")).unwrap().len();
    assert!(log > 200_000, "{log}: the commits are in the log");

    let mut seen = 0;
    let mut cut = 0;
    while cut <= log {
        let part = dir.path().join("part");
        copy_after_crash(&crashed, &part);
        let file =
            std::fs::OpenOptions::new().write(true).open(part.join("ledger.db-wal")).unwrap();
        file.set_len(cut).unwrap();
        drop(file);
        let (store, loaded) = open(&part);
        let entries = loaded.entries_after(Seq(0)).count() as u64;
        let mut rounds = 0;
        loaded.resources("round", |_| rounds += 1).unwrap();
        assert_eq!(entries, rounds * 2, "cut at {cut}");
        assert!(rounds >= seen, "cut at {cut}: a longer log has no fewer commits");
        seen = rounds;
        drop((store, loaded));
        assert_eq!(verify(&part).unwrap().entries, entries);
        std::fs::remove_dir_all(&part).unwrap();
        cut += 4_096;
    }
    let (_store, loaded) = open(&crashed);
    assert_eq!(loaded.last_seq, Seq(acknowledged * 2));
}

#[test]
fn a_copy_taken_at_any_commit_has_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let (store, _) = open(&live);
    let mut books = Books::default();
    for round in 1..=10u64 {
        fill(&store, &mut books, round, 3);
        let copy = dir.path().join(format!("copy{round}"));
        copy_after_crash(&live, &copy);
        let (copied, _) = open(&copy);
        assert_eq!(positions(&copied, round), [round * 3 - 2, round * 3 - 1, round * 3]);
        drop(copied);
        assert_eq!(verify(&copy).unwrap().entries, round * 3);
    }
}
