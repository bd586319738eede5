//! Entries of a ledger with anything in them: damage is told, never a panic.

use std::sync::LazyLock;

use rusqlite::{Connection, params};
use weir_core::id::{AccountId, PolicyNumber, Seq};
use weir_core::ledger::{Entry, EntryKind};
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_store::op::{Op, Urgency};
use weir_store::store::{Options, Store};
use weir_store::verify::verify;

/// A store with one entry.
static STORE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.expect("a folder");
    let (store, _) = Store::open(dir.path(), Options::default()).expect("a store");
    let entry = Entry {
        seq: Seq(1),
        account: AccountId(1),
        at: Timestamp::EPOCH,
        kind: EntryKind::Charge,
        amount: Nano::ZERO,
        balance: Nano::ZERO,
        reference: "r".into(),
        policy: PolicyNumber(0),
        note: None,
        terms: None,
        draws: Default::default(),
        call: None,
    };
    store.commit(Urgency::Fresh, vec![Op::Append(entry)]).wait().expect("stored");
    drop(store);
    dir
});

/// The first 18 bytes are numbers of the entry, the rest one of its texts.
pub(crate) fn check(data: &[u8]) {
    let Some((numbers, text)) = data.split_at_checked(18) else { return };
    let number = |at: usize| {
        i64::from_le_bytes(numbers[at..at + 8].try_into().expect("eight bytes"))
    };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let column = ["terms", "draws", "call", "kind", "reference", "note"][usize::from(numbers[0] % 6)];
    let path = STORE.path().join("ledger.db");
    let ledger = Connection::open(path).expect("the ledger opens");
    ledger.execute_batch("PRAGMA synchronous=OFF; BEGIN").expect("it begins");
    let reset = "UPDATE entry SET amount = ?1, balance = ?2, terms = NULL, draws = NULL, call = NULL";
    ledger.execute(reset, params![number(1), number(9)]).expect("it takes numbers");
    // A text that the table itself refuses is as good as one that is not there.
    let _refused = ledger.execute(&format!("UPDATE entry SET {column} = ?1"), [text]);
    ledger.execute_batch("COMMIT").expect("it ends");
    drop(ledger);
    let _told = verify(STORE.path());
}
