//! What a change of a wallet leaves in the ledger.

use smallvec::SmallVec;

use crate::id::{AccountId, PolicyNumber, Seq};
use crate::ledger::{Call, Draw, Entry, EntryKind, Terms};
use crate::money::Nano;
use crate::time::Timestamp;

/// Gives the sequence number of the next posting: called once for each, in order.
pub type NextSeq<'a> = &'a mut dyn FnMut() -> Seq;

/// Postings of one change, in order.
pub type Postings = SmallVec<[Posting; 1]>;

/// The part of an [`Entry`] that the wallet decides; the engine adds what it knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Posting {
    /// Position in the ledger.
    pub seq: Seq,
    /// When: the `now` of the change.
    pub at: Timestamp,
    /// Why.
    pub kind: EntryKind,
    /// The change.
    pub amount: Nano,
    /// The balance after it.
    pub balance: Nano,
    /// The terms of the credit that it brings or brings back.
    pub terms: Option<Terms>,
    /// Which credit it used up or brought back. What a debit takes beyond its draws is owed.
    pub draws: SmallVec<[Draw; 1]>,
}

impl Posting {
    /// A posting of that kind in which nothing is filled in yet.
    pub(super) fn blank(kind: EntryKind, at: Timestamp) -> Self {
        let (seq, zero) = (Seq::default(), Nano::ZERO);
        Self { seq, at, kind, amount: zero, balance: zero, terms: None, draws: SmallVec::new() }
    }

    /// The entry of this posting.
    pub fn into_entry(
        self,
        account: AccountId,
        reference: &str,
        policy: PolicyNumber,
        note: Option<&str>,
        call: Option<Box<Call>>,
    ) -> Entry {
        Entry {
            seq: self.seq,
            account,
            at: self.at,
            kind: self.kind,
            amount: self.amount,
            balance: self.balance,
            reference: reference.into(),
            policy,
            note: note.map(Into::into),
            terms: self.terms,
            draws: self.draws,
            call,
        }
    }
}

/// What an entry took beyond the credit that it drew: owed from then on.
pub(super) fn owed_by(entry: &Entry) -> Option<Nano> {
    let drawn = drawn_by(&entry.draws)?;
    let owed = Nano::ZERO.checked_sub(entry.amount)?.checked_sub(drawn)?;
    (!owed.is_negative()).then_some(owed)
}

/// The sum of draws, `None` if one is negative or the sum cannot be kept.
pub(super) fn drawn_by(draws: &[Draw]) -> Option<Nano> {
    draws.iter().try_fold(Nano::ZERO, |sum, draw| {
        if draw.amount.is_negative() { None } else { sum.checked_add(draw.amount) }
    })
}
