//! A wallet: its balance, its grants, and how both change.

use std::sync::LazyLock;

use super::hold::{Claim, Hold};
use super::posting::{NextSeq, Posting, Postings};
use crate::grant::{Grant, Grants};
use crate::ledger::{Category, Draw, EntryKind, Terms};
use crate::money::Nano;
use crate::seldom::Blank;
use crate::time::Timestamp;

/// Money that an account has paid in or was given and has not spent yet.
///
/// `balance` is the sum of its entries: what is left of all grants, minus what is `owed`. Of it,
/// `available` may be spent: it leaves out grants whose time ran out (whether their expiry is
/// posted or not) and what open holds need, and adds the credit line.
///
/// Invariants: `balance == sum(grants) - owed`; nothing is owed while a grant can be used;
/// `held` is the sum of the open holds; `available >= 0` after every hold.
///
/// `now` must never step back from one call to the next.
#[derive(Clone, Debug, Default)]
pub struct Wallet {
    pub(super) balance: Nano,
    pub(super) owed: Nano,
    pub(super) held: Nano,
    pub(super) credit_line: Nano,
    pub(super) last_top_up: Nano,
    pub(super) promo_covered: Nano,
    pub(super) grants: Grants,
    pub(super) claims: Vec<Claim>,
    pub(super) claimed_until: Timestamp,
}

/// Credit, or a change by hand, that is refused: the wallet is unchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChangeRefused {
    /// Zero, or negative where only credit is meant.
    #[error("the amount must be above zero")]
    NotPositive,
    /// Above [`Nano::BOUND`], or the wallet would go beyond [`Wallet::LIMIT`].
    #[error("the amount is larger than a wallet can keep")]
    TooLarge,
    /// A priority above 100.
    #[error("the priority must be from 0 to 100")]
    Priority,
    /// Its time has already run out.
    #[error("the credit would already have expired")]
    AlreadyExpired,
    /// It has [`Wallet::GRANTS_MAX`] grants with something left.
    #[error("the wallet has {max} unspent credits; use them up or expire some", max = Wallet::GRANTS_MAX)]
    TooManyGrants,
}

/// What a settlement did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settlement {
    /// A charge (of zero where nothing was to pay), and debt where not all of it was covered.
    pub postings: Postings,
    /// Whether more was charged than was held.
    pub above_hold: bool,
    /// The part of an absurd charge that could not be posted, because it exceeds
    /// [`Nano::BOUND`] or would take the wallet beyond [`Wallet::LIMIT`]; normally zero.
    pub unposted: Nano,
}

impl Blank for Wallet {
    fn blank() -> &'static Self {
        static BLANK: LazyLock<Wallet> = LazyLock::new(Wallet::default);
        &BLANK
    }
}

impl Wallet {
    /// The most that a wallet can keep, or owe: four billion currency units.
    pub const LIMIT: Nano = Nano::new(4 * Nano::BOUND.get());
    /// The most grants with something left.
    pub const GRANTS_MAX: usize = 1_000;

    /// The sum of all entries; below zero when more is owed than is left.
    pub const fn balance(&self) -> Nano {
        self.balance
    }

    /// What open holds reserve.
    pub const fn held(&self) -> Nano {
        self.held
    }

    /// What was spent beyond all credit, never negative: on the credit line, then as debt.
    pub const fn owed(&self) -> Nano {
        self.owed
    }

    /// How far the balance may go below zero.
    pub const fn credit_line(&self) -> Nano {
        self.credit_line
    }

    /// The amount of the latest top-up, zero if there was none.
    pub const fn last_top_up(&self) -> Nano {
        self.last_top_up
    }

    /// Credit with something left, in the order in which it burns.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    /// What may be spent: usable balance, minus what open holds need of it, plus the credit
    /// line. A pure function of the wallet and `now`: nothing has to be posted first.
    pub fn available(&self, now: Timestamp) -> Nano {
        let due = self.grants.due(now);
        let lost = if due.is_empty() {
            Nano::ZERO
        } else {
            let rest: Nano = due.iter().map(|grant| grant.remaining).sum();
            rest - self.kept_of(&due).1
        };
        (self.balance - lost).saturating_sub(self.held).saturating_add(self.credit_line)
    }

    /// Sets how far the balance may go below zero. Nothing that runs is refused by a lower one.
    ///
    /// # Errors
    ///
    /// [`ChangeRefused`] below zero and above [`Nano::BOUND`].
    pub fn set_credit_line(&mut self, credit_line: Nano) -> Result<(), ChangeRefused> {
        if credit_line.is_negative() {
            return Err(ChangeRefused::NotPositive);
        }
        if credit_line > Nano::BOUND {
            return Err(ChangeRefused::TooLarge);
        }
        self.credit_line = credit_line;
        Ok(())
    }

    /// Ends a hold and charges what the work really cost, be it less or more than was held.
    ///
    /// The charge takes credit by burn order (first that which expired while the hold was open),
    /// then the credit line; what neither covers is posted as [`EntryKind::Debt`].
    pub fn settle(
        &mut self,
        hold: Hold,
        charge: Nano,
        now: Timestamp,
        seq: NextSeq<'_>,
    ) -> Settlement {
        let (since, above_hold) = (hold.at.min(now), charge > hold.amount);
        self.claim(now);
        self.release(hold);
        let asked = charge.or_zero().min(Nano::BOUND);
        let draws = self.grants.take(asked, since, now);
        let drawn: Nano = draws.iter().map(|draw| draw.amount).sum();
        let rest = (asked - drawn).min(Self::LIMIT - self.owed);
        let lent = rest.min((self.credit_line - self.owed).or_zero());
        let debt = rest - lent;
        self.owed += rest;
        let mut postings = Postings::new();
        if drawn + lent > Nano::ZERO || debt == Nano::ZERO {
            let charge = Posting { draws, ..Posting::blank(EntryKind::Charge, now) };
            postings.push(self.post(charge, -(drawn + lent), seq));
        }
        if debt > Nano::ZERO {
            postings.push(self.post(Posting::blank(EntryKind::Debt, now), -debt, seq));
        }
        self.check(now);
        Settlement { postings, above_hold, unposted: charge.or_zero() - drawn - rest }
    }

    /// Charges work for which nothing was held.
    pub fn charge(&mut self, charge: Nano, now: Timestamp, seq: NextSeq<'_>) -> Settlement {
        self.settle(Hold { amount: Nano::ZERO, at: now }, charge, now, seq)
    }

    /// Adds credit that was paid for. What is owed is paid from it first.
    ///
    /// # Errors
    ///
    /// [`ChangeRefused`]; the wallet is then unchanged.
    pub fn top_up(
        &mut self,
        amount: Nano,
        terms: Terms,
        now: Timestamp,
        seq: NextSeq<'_>,
    ) -> Result<Posting, ChangeRefused> {
        self.credit(EntryKind::TopUp, amount, terms, now, seq)
    }

    /// Adds credit that was given. What is owed is paid from it first.
    ///
    /// # Errors
    ///
    /// [`ChangeRefused`]; the wallet is then unchanged.
    pub fn grant(
        &mut self,
        amount: Nano,
        terms: Terms,
        now: Timestamp,
        seq: NextSeq<'_>,
    ) -> Result<Posting, ChangeRefused> {
        self.credit(EntryKind::Grant, amount, terms, now, seq)
    }

    /// Changes the balance by hand: credit on `terms`, or a debit by burn order which may go
    /// below zero whatever the credit line.
    ///
    /// # Errors
    ///
    /// [`ChangeRefused`]; the wallet is then unchanged.
    pub fn adjust(
        &mut self,
        amount: Nano,
        terms: Terms,
        now: Timestamp,
        seq: NextSeq<'_>,
    ) -> Result<Posting, ChangeRefused> {
        self.change(EntryKind::Adjustment, amount, terms, now, seq)
    }

    /// As [`Wallet::adjust`], to mend an entry that was wrong.
    ///
    /// # Errors
    ///
    /// [`ChangeRefused`]; the wallet is then unchanged.
    pub fn correct(
        &mut self,
        amount: Nano,
        terms: Terms,
        now: Timestamp,
        seq: NextSeq<'_>,
    ) -> Result<Posting, ChangeRefused> {
        self.change(EntryKind::Correction, amount, terms, now, seq)
    }

    /// Posts the expiry of all credit whose time has run out and which no hold may still use.
    pub fn expire_due(&mut self, now: Timestamp, seq: NextSeq<'_>) -> Postings {
        self.claim(now);
        let due = self.grants.due(now);
        let (kept, _) = self.kept_of(&due);
        let mut postings = Postings::new();
        for (grant, kept) in due.iter().zip(kept) {
            let draw = Draw { from: grant.seq, amount: grant.remaining - kept };
            if self.grants.take_exactly(draw) {
                let mut expiry = Posting::blank(EntryKind::Expiry, now);
                expiry.draws.push(draw);
                postings.push(self.post(expiry, -draw.amount, seq));
            }
        }
        self.check(now);
        postings
    }

    /// When [`Wallet::expire_due`] next has something to post: `now` if it has at once, `None`
    /// if nothing expires or what did is kept for open holds.
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.grants.due(now);
        let (kept, _) = self.kept_of(&due);
        if due.iter().zip(kept).any(|(grant, kept)| grant.remaining > kept) {
            return Some(now);
        }
        let later = self.grants.iter().filter(|grant| !grant.is_due(now));
        later.filter_map(|grant| grant.terms.expires_at).min()
    }

    pub(super) fn credit(
        &mut self,
        kind: EntryKind,
        amount: Nano,
        terms: Terms,
        now: Timestamp,
        seq: NextSeq<'_>,
    ) -> Result<Posting, ChangeRefused> {
        if amount <= Nano::ZERO {
            return Err(ChangeRefused::NotPositive);
        }
        if amount > Nano::BOUND || self.grants.total() > Self::LIMIT - amount {
            return Err(ChangeRefused::TooLarge);
        }
        if terms.priority > 100 {
            return Err(ChangeRefused::Priority);
        }
        if terms.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(ChangeRefused::AlreadyExpired);
        }
        if self.grants.len() >= Self::GRANTS_MAX {
            return Err(ChangeRefused::TooManyGrants);
        }
        let credit = Posting { terms: Some(terms), ..Posting::blank(kind, now) };
        let posting = self.post(credit, amount, seq);
        self.bring(Grant { seq: posting.seq, remaining: amount, terms }, now);
        self.note_top_up(kind, amount);
        self.check(now);
        Ok(posting)
    }

    pub(super) fn change(
        &mut self,
        kind: EntryKind,
        amount: Nano,
        terms: Terms,
        now: Timestamp,
        seq: NextSeq<'_>,
    ) -> Result<Posting, ChangeRefused> {
        if !amount.is_negative() {
            return self.credit(kind, amount, terms, now, seq);
        }
        if amount < -Nano::BOUND || self.owed > Self::LIMIT + amount {
            return Err(ChangeRefused::TooLarge);
        }
        let draws = self.grants.take(-amount, now, now);
        self.owed += -amount - draws.iter().map(|draw| draw.amount).sum();
        let posting = self.post(Posting { draws, ..Posting::blank(kind, now) }, amount, seq);
        self.check(now);
        Ok(posting)
    }

    /// Takes in credit: what is owed is paid from it, if it can still be used.
    pub(super) fn bring(&mut self, credit: Grant, now: Timestamp) {
        let covered = if credit.is_due(now) { Nano::ZERO } else { self.owed.min(credit.remaining) };
        self.owed -= covered;
        if credit.terms.category == Category::Promo {
            self.promo_covered = self.promo_covered.saturating_add(covered);
        }
        self.grants.add(Grant { remaining: credit.remaining - covered, ..credit });
    }

    pub(super) fn note_top_up(&mut self, kind: EntryKind, amount: Nano) {
        if kind == EntryKind::TopUp {
            self.last_top_up = amount;
        }
    }

    pub(super) fn post(&mut self, posting: Posting, amount: Nano, seq: NextSeq<'_>) -> Posting {
        self.balance += amount; // within twice the limit
        Posting { seq: seq(), amount, balance: self.balance, ..posting }
    }

    /// The invariants, in debug builds.
    pub(super) fn check(&self, now: Timestamp) {
        debug_assert_eq!(self.balance, self.grants.total() - self.owed, "the books are out");
        debug_assert!(!self.owed.is_negative() && !self.held.is_negative());
        debug_assert!(
            self.owed == Nano::ZERO || self.grants.iter().all(|grant| grant.is_due(now)),
            "something is owed although credit can be used"
        );
    }
}
