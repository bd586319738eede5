//! The naive model: what each thing that was asked for may have come to in the ledger.
//!
//! A fact is known by its account and the reference of its entries. While nobody has answered, it
//! has two possible sums: wholly there, or not at all. An answer leaves the last one.

use std::collections::BTreeMap;

use weir_core::ledger::{Entry, EntryKind};
use weir_core::money::Nano;

type Fact = (usize, String);

#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    facts: BTreeMap<Fact, Vec<i64>>,
}

impl Books {
    /// Something is asked for that adds `amount` to what was posted under a reference.
    pub(super) fn ask(&mut self, account: usize, reference: &str, amount: Nano) {
        let sums = self.facts.entry((account, reference.to_owned())).or_insert_with(|| vec![0]);
        let last = sums.last().copied().unwrap_or(0);
        sums.push(last + amount.get());
    }

    /// Something replaces what was asked for under a reference, if that is not answered yet: a
    /// stream is charged by one of the notes on it, or by its end.
    pub(super) fn ask_instead(&mut self, account: usize, reference: &str, amount: Nano) {
        let sums = self.facts.entry((account, reference.to_owned())).or_insert_with(|| vec![0]);
        sums.push(amount.get());
    }

    /// It was refused: nothing of it may be there.
    pub(super) fn refused(&mut self, account: usize, reference: &str) {
        if let Some(sums) = self.facts.get_mut(&(account, reference.to_owned())) {
            sums.pop();
        }
    }

    /// What the store was handed before an answer came is as durable as what was answered.
    pub(super) fn answered(&mut self) {
        for sums in self.facts.values_mut() {
            let last = sums.pop();
            sums.clear();
            sums.extend(last);
        }
    }

    /// What is posted under a reference, if that is known for certain.
    pub(super) fn sum(&self, account: usize, reference: &str) -> Option<i64> {
        match self.facts.get(&(account, reference.to_owned()))?.as_slice() {
            [sum] => Some(*sum),
            _ => None,
        }
    }

    /// Holds the ledger of an account against what may be in it; from then on that is what is.
    #[track_caller]
    pub(super) fn compare(&mut self, account: usize, entries: &[Entry]) {
        let mut found: BTreeMap<String, (i64, usize)> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.kind != EntryKind::Expiry) {
            let (sum, charges) = found.entry(entry.reference.to_string()).or_default();
            *sum += entry.amount.get();
            *charges += usize::from(entry.kind == EntryKind::Charge);
        }
        for ((_, reference), sums) in self.facts.iter_mut().filter(|(fact, _)| fact.0 == account) {
            let (sum, charges) = found.remove(reference).unwrap_or_default();
            assert!(sums.contains(&sum), "{reference}: {sum} is posted, it may be {sums:?}");
            assert!(charges <= 1, "{reference} is charged {charges} times");
            *sums = vec![sum];
        }
        assert!(found.is_empty(), "posted, and never asked for: {found:?}");
    }
}
