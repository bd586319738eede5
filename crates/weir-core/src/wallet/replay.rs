//! Rebuilding a wallet: from its entries, one by one, or from a snapshot.

use super::posting::owed_by;
use super::state::Wallet;
use crate::grant::{Grant, Grants};
use crate::id::Seq;
use crate::ledger::{Draw, Entry, EntryKind};
use crate::money::Nano;
use crate::time::Timestamp;

/// The durable part of a wallet as plain facts: everything but holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WalletState {
    /// The latest entry that is in it.
    pub as_of: Seq,
    /// The sum of all entries.
    pub balance: Nano,
    /// What was spent beyond all credit.
    pub owed: Nano,
    /// How far the balance may go below zero; no entry tells it.
    pub credit_line: Nano,
    /// The amount of the latest top-up.
    pub last_top_up: Nano,
    /// How much debt was paid by credit that was given, minus what refunds brought back of it.
    pub promo_covered: Nano,
    /// Credit with something left, in any order.
    pub grants: Vec<Grant>,
}

/// What is wrong with the books.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LedgerFault {
    /// An entry's balance is not the one before plus its amount.
    #[error("entry {seq}: the balance should be {expected} and is {found}")]
    Balance {
        /// The entry.
        seq: Seq,
        /// What the entries before it add up to, with it.
        expected: Nano,
        /// What it says.
        found: Nano,
    },
    /// An entry draws on credit that is not there.
    #[error("entry {seq}: draws {amount} from {from}, which does not have it")]
    Draw {
        /// The entry.
        seq: Seq,
        /// The credit.
        from: Seq,
        /// What it draws.
        amount: Nano,
    },
    /// Sign, size, terms or draws of an entry do not go with its kind.
    #[error("entry {seq}: its amount, terms and draws do not fit its kind")]
    Shape {
        /// The entry.
        seq: Seq,
    },
    /// A snapshot contradicts itself.
    #[error("the snapshot as of entry {as_of} contradicts itself")]
    Snapshot {
        /// The latest entry in it.
        as_of: Seq,
    },
}

impl Wallet {
    /// Takes in an entry of this account as it was posted. All entries in order, applied to a
    /// wallet that was empty or stood at a snapshot before them, give the wallet that posted
    /// them, but for its holds.
    ///
    /// # Errors
    ///
    /// [`LedgerFault`] when the entry cannot have followed; the wallet may then be half changed
    /// and is to be thrown away.
    pub fn replay(&mut self, entry: &Entry) -> Result<(), LedgerFault> {
        let seq = entry.seq;
        let shape = LedgerFault::Shape { seq };
        let in_bounds = -Self::LIMIT <= entry.amount && entry.amount <= Self::LIMIT;
        let after = self.balance.checked_add(entry.amount).filter(|_| in_bounds).ok_or(shape)?;
        if after != entry.balance {
            let (expected, found) = (after, entry.balance);
            return Err(LedgerFault::Balance { seq, expected, found });
        }
        match entry.kind {
            EntryKind::TopUp | EntryKind::Grant => self.replay_credit(entry)?,
            EntryKind::Charge | EntryKind::Debt => self.replay_debit(entry)?,
            EntryKind::Expiry => {
                if owed_by(entry) != Some(Nano::ZERO) {
                    return Err(shape);
                }
                self.replay_debit(entry)?;
            }
            EntryKind::Adjustment | EntryKind::Correction if entry.amount.is_negative() => {
                self.replay_debit(entry)?;
            }
            EntryKind::Adjustment | EntryKind::Correction => self.replay_credit(entry)?,
            EntryKind::Refund => self.replay_refund(entry)?,
        }
        self.balance = after;
        self.note_top_up(entry.kind, entry.amount);
        if self.is_sound() { Ok(()) } else { Err(shape) }
    }

    /// The durable part; `as_of` is the latest entry of the account.
    pub fn state(&self, as_of: Seq) -> WalletState {
        WalletState {
            as_of,
            balance: self.balance,
            owed: self.owed,
            credit_line: self.credit_line,
            last_top_up: self.last_top_up,
            promo_covered: self.promo_covered,
            grants: self.grants.iter().copied().collect(),
        }
    }

    /// The wallet as it stood, without holds.
    ///
    /// # Errors
    ///
    /// [`LedgerFault::Snapshot`] when the state breaks an invariant of the wallet.
    pub fn from_state(state: &WalletState) -> Result<Self, LedgerFault> {
        let fault = LedgerFault::Snapshot { as_of: state.as_of };
        let mut grants = Grants::default();
        let mut total = Nano::ZERO;
        for (index, grant) in state.grants.iter().enumerate() {
            let twice = state.grants[..index].iter().any(|other| other.seq == grant.seq);
            if twice || grant.remaining <= Nano::ZERO {
                return Err(fault);
            }
            total = total.checked_add(grant.remaining).ok_or(fault)?;
            grants.add(*grant);
        }
        let bounded = |amount: Nano| Nano::ZERO <= amount && amount <= Self::LIMIT;
        let amounts = [state.owed, state.credit_line, state.last_top_up, total];
        if !amounts.into_iter().all(bounded) || state.promo_covered.is_negative() {
            return Err(fault);
        }
        let wallet = Self {
            balance: state.balance,
            owed: state.owed,
            held: Nano::ZERO,
            credit_line: state.credit_line,
            last_top_up: state.last_top_up,
            promo_covered: state.promo_covered,
            grants,
            claims: Vec::new(),
            claimed_until: Timestamp::default(),
        };
        if wallet.is_sound() { Ok(wallet) } else { Err(fault) }
    }

    /// Puts `books`, read anew, in the place of what was posted; open holds and the credit line
    /// stay. For a wallet that got ahead of its ledger.
    pub fn reread(&mut self, books: Self) {
        *self = Self {
            held: self.held,
            credit_line: self.credit_line,
            claims: std::mem::take(&mut self.claims),
            claimed_until: self.claimed_until,
            ..books
        };
    }

    fn replay_credit(&mut self, entry: &Entry) -> Result<(), LedgerFault> {
        let credit = self.credit_of(entry)?;
        self.bring(credit, entry.at);
        Ok(())
    }

    fn replay_debit(&mut self, entry: &Entry) -> Result<(), LedgerFault> {
        let shape = LedgerFault::Shape { seq: entry.seq };
        let owed = owed_by(entry).ok_or(shape)?;
        for draw in &entry.draws {
            if !self.grants.take_exactly(*draw) {
                let Draw { from, amount } = *draw;
                return Err(LedgerFault::Draw { seq: entry.seq, from, amount });
            }
        }
        self.owed = self.owed.checked_add(owed).ok_or(shape)?;
        Ok(())
    }

    fn replay_refund(&mut self, entry: &Entry) -> Result<(), LedgerFault> {
        let shape = LedgerFault::Shape { seq: entry.seq };
        match (entry.draws.as_slice(), entry.terms) {
            ([], None) if Nano::ZERO < entry.amount && entry.amount <= self.owed => {
                self.owed -= entry.amount;
            }
            ([], Some(_)) if self.owed == Nano::ZERO => {
                let credit = self.credit_of(entry)?;
                self.bring_back(credit);
            }
            ([draw], Some(_)) if draw.amount == entry.amount => {
                let credit = self.credit_of(entry)?;
                self.bring(Grant { seq: draw.from, ..credit }, entry.at);
            }
            _ => return Err(shape),
        }
        Ok(())
    }

    /// The credit that an entry brings in, under its own number.
    fn credit_of(&self, entry: &Entry) -> Result<Grant, LedgerFault> {
        let shape = LedgerFault::Shape { seq: entry.seq };
        let terms = entry.terms.ok_or(shape)?;
        let fits = entry.amount > Nano::ZERO && self.grants.total() <= Self::LIMIT - entry.amount;
        let credit = Grant { seq: entry.seq, remaining: entry.amount, terms };
        if fits { Ok(credit) } else { Err(shape) }
    }

    fn is_sound(&self) -> bool {
        self.owed <= Self::LIMIT && self.balance == self.grants.total() - self.owed
    }
}
