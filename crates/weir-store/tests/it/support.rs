//! Entries, and a store in a folder of its own.

use std::path::Path;

use smallvec::SmallVec;
use weir_core::id::{AccountId, PolicyNumber, Seq};
use weir_core::ledger::{Category, Draw, Entry, EntryKind, Terms};
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_store::load::Loaded;
use weir_store::op::{Expected, Op, Put, Urgency};
use weir_store::store::{Options, Store};

/// Opens with a ballast small enough not to slow tests down.
#[track_caller]
pub(crate) fn open(path: &Path) -> (Store, Loaded) {
    Store::open(path, options()).unwrap()
}

pub(crate) fn options() -> Options {
    Options { ballast_bytes: 64 << 10, ..Options::default() }
}

/// Keeps the books of accounts, so that entries chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    balances: std::collections::BTreeMap<u64, (i64, Seq)>,
}

impl Books {
    /// A top-up, from which the account's later charges draw.
    pub(crate) fn top_up(&mut self, seq: Seq, account: u64, amount: i64) -> Entry {
        let (balance, credit) = self.balances.entry(account).or_default();
        *balance += amount;
        *credit = seq;
        let terms = Terms { category: Category::Paid, priority: 50, expires_at: None };
        Entry { terms: Some(terms), ..entry(seq, account, EntryKind::TopUp, amount, *balance) }
    }

    /// A charge of the last top-up.
    pub(crate) fn charge(&mut self, seq: Seq, account: u64, amount: i64) -> Entry {
        let (balance, credit) = self.balances.entry(account).or_default();
        *balance -= amount;
        let draw = Draw { from: *credit, amount: Nano::new(amount) };
        let draws = SmallVec::from_iter([draw]);
        Entry { draws, ..entry(seq, account, EntryKind::Charge, -amount, *balance) }
    }
}

pub(crate) fn entry(seq: Seq, account: u64, kind: EntryKind, amount: i64, balance: i64) -> Entry {
    Entry {
        seq,
        account: AccountId(account),
        at: Timestamp::from_secs(1_000),
        kind,
        amount: Nano::new(amount),
        balance: Nano::new(balance),
        reference: "request".into(),
        policy: PolicyNumber(1),
        note: None,
        terms: None,
        draws: SmallVec::new(),
        call: None,
    }
}

pub(crate) fn put(kind: &'static str, id: u64, body: &str, expected: Expected) -> Op {
    Op::Put(Put {
        kind,
        id,
        account: None,
        at: Timestamp::from_secs(id.cast_signed()),
        body: body.into(),
        expected,
    })
}

/// Tops an account up and charges it, so that it has `count` entries in one batch each.
#[track_caller]
pub(crate) fn fill(store: &Store, books: &mut Books, account: u64, count: u64) {
    for index in 0..count {
        let make = |seq| {
            let entry = match index {
                0 => books.top_up(seq, account, 1_000_000),
                _ => books.charge(seq, account, 3),
            };
            vec![Op::Append(entry)]
        };
        store.commit_next(Urgency::Settlement, make).wait().unwrap();
    }
}

/// The positions of an account's entries, oldest first, read in small pages.
#[track_caller]
pub(crate) fn positions(store: &Store, account: u64) -> Vec<u64> {
    let reader = store.reader();
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let page = reader.entries(AccountId(account), before, 7).unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        found.extend(page.iter().map(|entry| entry.seq.0));
    }
    found.reverse();
    found
}
