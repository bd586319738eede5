//! Every rule of the ledger is checked: each is broken once.

use rusqlite::Connection;
use weir_core::id::{AccountId, Seq};
use weir_core::money::Nano;
use weir_core::wallet::{LedgerFault, Wallet};
use weir_store::index::WalletSnapshot;
use weir_store::op::{Expected, Urgency};
use weir_store::verify::{Broken, Report, VerifyError, verify, verify_with};

use crate::support::{Books, fill, open, put};

/// Breaks a sound ledger by a statement and says what is found.
#[track_caller]
fn check(sql: &str, expected: Broken) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    fill(&store, &mut books, 1, 4);
    fill(&store, &mut books, 2, 2);
    drop(store);
    verify(dir.path()).unwrap();
    let conn = Connection::open(dir.path().join("ledger.db")).unwrap();
    assert!(conn.execute(sql, []).unwrap() > 0);
    drop(conn);
    match verify(dir.path()) {
        Err(VerifyError::Entry { broken, .. }) => assert_eq!(broken, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broken_ledger_is_told_by_its_first_broken_rule() {
    let balance = |seq, expected, found| {
        let (expected, found) = (Nano::new(expected), Nano::new(found));
        Broken::Books(LedgerFault::Balance { seq: Seq(seq), expected, found })
    };
    check("UPDATE entry SET balance = balance + 1 WHERE seq = 3", balance(3, 999_994, 999_995));
    check("DELETE FROM entry WHERE seq = 2", balance(3, 999_997, 999_994));
    check("UPDATE entry SET at = 5 WHERE seq = 4", Broken::Earlier);
    let draws =
        |draws: &str, seq: u64| format!("UPDATE entry SET draws = '{draws}' WHERE seq = {seq}");
    check(&draws("[[1,-3]]", 2), Broken::Overdrawn { from: Seq(1) });
    check(&draws("[[1,1000001]]", 2), Broken::Overdrawn { from: Seq(1) });
    check(&draws("[[5,3]]", 2), Broken::NoCredit { from: Seq(5) });
    check(&draws("[[1,3]]", 6), Broken::NoCredit { from: Seq(1) });
    check(&draws("[[1,4]]", 2), Broken::Books(LedgerFault::Shape { seq: Seq(2) }));
    check(&draws("[[1,2]]", 2), Broken::Owed);
    check("UPDATE entry SET draws = NULL WHERE seq = 2", Broken::Owed);
    check(
        "UPDATE entry SET kind = 'expiry', draws = '[[1,2]]' WHERE seq = 2",
        Broken::Books(LedgerFault::Shape { seq: Seq(2) }),
    );
}

#[test]
fn a_sound_ledger_is_counted_while_it_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    fill(&store, &mut books, 1, 4);
    fill(&store, &mut books, 2, 2);
    let report = verify(dir.path()).unwrap();
    let balance = 2_000_000 - 4 * 3;
    let expected = Report { entries: 6, accounts: 2, snapshots: 0, last_seq: Seq(6), balance };
    assert_eq!(report, expected);
}

#[test]
fn a_damaged_database_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for id in 0..50 {
        let body = "x".repeat(2_000);
        store.commit(Urgency::Fresh, vec![put("k", id, &body, Expected::Any)]).wait().unwrap();
    }
    drop(store);
    let conn = Connection::open(dir.path().join("ledger.db")).unwrap();
    conn.execute_batch(
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'once'",
    )
    .unwrap();
    drop(conn);
    assert!(matches!(verify(dir.path()), Err(VerifyError::Database(_) | VerifyError::Read(_))));
}

#[test]
fn a_snapshot_must_equal_a_replay_up_to_its_position() {
    for (state, sound) in [("0.000999997", true), ("0.000999998", false)] {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        fill(&store, &mut Books::default(), 1, 4);
        let wallet = WalletSnapshot { account: AccountId(1), as_of: Seq(2), state: state.into() };
        store.snapshot(vec![wallet], Seq(2)).unwrap();
        drop(store);
        let mut agrees = |snapshot: &WalletSnapshot, wallet: &Wallet| {
            snapshot.state == wallet.balance().to_string()
        };
        match verify_with(dir.path(), Some(&mut agrees)) {
            Ok(report) => assert!(sound && report.snapshots == 1),
            Err(VerifyError::Snapshot { as_of, .. }) => assert!(!sound && as_of == Seq(2)),
            Err(other) => panic!("{other}"),
        }
    }
}
