//! Taking charges back, in the reverse order of what they took.

use smallvec::SmallVec;

use super::posting::{NextSeq, Posting, Postings, drawn_by, owed_by};
use super::state::Wallet;
use crate::grant::Grant;
use crate::id::Seq;
use crate::ledger::{Category, Draw, Entry, EntryKind, Terms};
use crate::money::Nano;
use crate::time::Timestamp;

/// What is left to refund of one charge.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Refundable {
    draws: SmallVec<[(Draw, Terms); 1]>,
    owed: Nano,
}

/// Entries that do not fit together, or a refund that is more than is left.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RefundRefused {
    /// Zero or negative.
    #[error("the amount must be above zero")]
    NotPositive,
    /// More than was charged and not yet refunded.
    #[error("only {left} of the charge is left to refund")]
    TooMuch {
        /// What is left.
        left: Nano,
    },
    /// The entry is no debit of a call, or no refund of these entries.
    #[error("entry {0} is not part of this charge")]
    Foreign(Seq),
    /// The credit that was drawn on is not known.
    #[error("no terms are known of the credit {0}")]
    UnknownCredit(Seq),
    /// It would take the wallet beyond [`Wallet::LIMIT`].
    #[error("the amount is larger than a wallet can keep")]
    TooLarge,
}

impl Refundable {
    /// What is left of a charge: `charged` are its entries (charge, debt) in order, `refunded`
    /// those that took parts of it back before, and `terms_of` gives the terms of the credit
    /// that an entry brought in.
    ///
    /// # Errors
    ///
    /// [`RefundRefused`] when the entries do not belong together.
    pub fn new<'a>(
        charged: impl IntoIterator<Item = &'a Entry>,
        refunded: impl IntoIterator<Item = &'a Entry>,
        terms_of: impl Fn(Seq) -> Option<Terms>,
    ) -> Result<Self, RefundRefused> {
        let mut left = Self::default();
        for entry in charged {
            let foreign = RefundRefused::Foreign(entry.seq);
            if !matches!(entry.kind, EntryKind::Charge | EntryKind::Debt) {
                return Err(foreign);
            }
            let owed = owed_by(entry).ok_or(foreign)?;
            left.owed = left.owed.checked_add(owed).ok_or(foreign)?;
            for draw in &entry.draws {
                let terms = terms_of(draw.from).ok_or(RefundRefused::UnknownCredit(draw.from))?;
                left.draws.push((*draw, terms));
            }
        }
        for entry in refunded {
            left.subtract(entry).ok_or(RefundRefused::Foreign(entry.seq))?;
        }
        Ok(left)
    }

    /// How much may be refunded.
    pub fn total(&self) -> Nano {
        self.draws.iter().fold(self.owed, |sum, (draw, _)| sum.saturating_add(draw.amount))
    }

    fn subtract(&mut self, refund: &Entry) -> Option<()> {
        if refund.kind != EntryKind::Refund || refund.amount.is_negative() {
            return None;
        }
        for draw in &refund.draws {
            let mut rest = draw.amount;
            for (known, _) in self.draws.iter_mut().filter(|(known, _)| known.from == draw.from) {
                let part = known.amount.min(rest);
                known.amount -= part;
                rest -= part;
            }
            if rest != Nano::ZERO {
                return None;
            }
        }
        let forgiven = refund.amount.checked_sub(drawn_by(&refund.draws)?)?;
        self.owed = self.owed.checked_sub(forgiven).filter(|owed| !owed.is_negative())?;
        self.draws.retain(|(draw, _)| draw.amount > Nano::ZERO);
        Some(())
    }
}

impl Wallet {
    /// Takes `amount` of a charge back, in the reverse order of what it took.
    ///
    /// What it had left owing comes first: it is forgiven, or, where it was paid since, becomes
    /// credit without expiry; given and not paid for, as far as given credit ever paid debt. Then
    /// each draw goes back to the credit that it came from, on its old terms. Where that has
    /// expired meanwhile it expires again at once: a refund does not prolong credit.
    ///
    /// # Errors
    ///
    /// [`RefundRefused`]; the wallet is then unchanged.
    pub fn refund(
        &mut self,
        left: &Refundable,
        amount: Nano,
        now: Timestamp,
        seq: NextSeq<'_>,
    ) -> Result<Postings, RefundRefused> {
        if amount <= Nano::ZERO {
            return Err(RefundRefused::NotPositive);
        }
        if amount > left.total() {
            return Err(RefundRefused::TooMuch { left: left.total() });
        }
        if amount > Nano::BOUND || self.grants.total() > Self::LIMIT - amount {
            return Err(RefundRefused::TooLarge);
        }
        // First, so that what comes back expired is not taken for credit that holds rely on.
        self.claim(now);
        let mut postings = Postings::new();
        let owed = amount.min(left.owed);
        self.refund_owed(owed, now, seq, &mut postings);
        let mut rest = amount - owed;
        for (draw, terms) in left.draws.iter().rev() {
            let part = draw.amount.min(rest);
            if part == Nano::ZERO {
                break;
            }
            rest -= part;
            let mut refund = Posting::blank(EntryKind::Refund, now);
            refund.terms = Some(*terms);
            refund.draws.push(Draw { from: draw.from, amount: part });
            postings.push(self.post(refund, part, seq));
            self.bring(Grant { seq: draw.from, remaining: part, terms: *terms }, now);
        }
        self.check(now);
        Ok(postings)
    }

    fn refund_owed(
        &mut self,
        amount: Nano,
        now: Timestamp,
        seq: NextSeq<'_>,
        postings: &mut Postings,
    ) {
        let forgiven = amount.min(self.owed);
        if forgiven > Nano::ZERO {
            self.owed -= forgiven;
            postings.push(self.post(Posting::blank(EntryKind::Refund, now), forgiven, seq));
        }
        let promo = (amount - forgiven).min(self.promo_covered);
        let paid = amount - forgiven - promo;
        for (part, category) in [(promo, Category::Promo), (paid, Category::Paid)] {
            if part > Nano::ZERO {
                let terms = Terms { category, priority: PRIORITY, expires_at: None };
                let refund =
                    Posting { terms: Some(terms), ..Posting::blank(EntryKind::Refund, now) };
                let posting = self.post(refund, part, seq);
                self.bring_back(Grant { seq: posting.seq, remaining: part, terms });
                postings.push(posting);
            }
        }
    }

    /// Takes in credit in place of debt that had been paid and is refunded.
    pub(super) fn bring_back(&mut self, credit: Grant) {
        if credit.is_promo() {
            self.promo_covered = (self.promo_covered - credit.remaining).or_zero();
        }
        self.grants.add(credit);
    }
}

/// The usual priority of credit.
const PRIORITY: u8 = 50;
