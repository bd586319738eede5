//! `weir ledger verify`, on folders as stores leave them.

use std::path::Path;
use std::process::{Command, Output};

fn verify(folder: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["ledger", "verify", "--path"])
        .arg(folder)
        .args(more)
        .output()
        .expect("the binary starts")
}

#[test]
fn an_empty_store_verifies_and_a_missing_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = verify(&folder.path().join("none"), &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(!missing.stderr.is_empty());
    let (store, loaded) =
        weir_store::store::Store::open(folder.path(), Default::default()).expect("it opens");
    drop(loaded);
    store.close();
    let sound = verify(folder.path(), &["--json"]);
    assert_eq!(sound.status.code(), Some(0), "{}", String::from_utf8_lossy(&sound.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&sound.stdout).expect("JSON");
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["entries"], 0);
}

#[test]
fn a_ledger_that_was_tampered_with_fails_with_the_entry() {
    use weir_core::id::{AccountId, PolicyNumber, Seq};
    use weir_core::ledger::{Category, Entry, EntryKind, Terms};
    use weir_core::money::Nano;
    use weir_store::op::{Op, Urgency};

    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) =
        weir_store::store::Store::open(folder.path(), Default::default()).expect("it opens");
    let top_up = |seq: u64, balance: i64| {
        Op::Append(Entry {
            seq: Seq(seq),
            account: AccountId(1),
            at: Default::default(),
            kind: EntryKind::TopUp,
            amount: Nano::new(5),
            balance: Nano::new(balance),
            reference: "r".into(),
            policy: PolicyNumber(1),
            note: None,
            terms: Some(Terms { category: Category::Paid, priority: 50, expires_at: None }),
            draws: Default::default(),
            call: None,
        })
    };
    for (seq, balance) in [(1, 5), (2, 11)] {
        store.commit(Urgency::Fresh, vec![top_up(seq, balance)]).wait().expect("it is stored");
    }
    store.close();
    let broken = verify(folder.path(), &[]);
    assert_eq!(broken.status.code(), Some(1));
    let why = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(why.contains("entry_0000000000002") && why.contains("balance"), "{why}");
}
