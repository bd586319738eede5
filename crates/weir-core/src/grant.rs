//! Credit that an account holds, in the order in which it burns.

use smallvec::SmallVec;

use crate::id::Seq;
use crate::ledger::{Category, Draw, Terms};
use crate::money::Nano;
use crate::time::Timestamp;

/// Credit of one entry, as far as it is left.
///
/// Invariant: `remaining > 0` while a wallet has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The entry that brought it.
    pub seq: Seq,
    /// How much is left.
    pub remaining: Nano,
    /// On what terms.
    pub terms: Terms,
}

/// What is left of all credit of one account, sorted by priority, expiry and age.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Grants(SmallVec<[Grant; 1]>);

impl Grant {
    /// The first moment at which it can no longer be used; [`Timestamp::MAX`] if there is none.
    pub fn expires_at(&self) -> Timestamp {
        self.terms.expires_at.unwrap_or(Timestamp::MAX)
    }

    /// Whether its time has run out at `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.terms.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Whether it was given and not paid for.
    pub fn is_promo(&self) -> bool {
        self.terms.category == Category::Promo
    }

    fn burn_order(&self) -> (u8, Timestamp, Seq) {
        (self.terms.priority, self.expires_at(), self.seq)
    }
}

impl Grants {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Everything that is left, whether its time has run out or not.
    pub(crate) fn total(&self) -> Nano {
        self.0.iter().map(|grant| grant.remaining).sum()
    }

    /// Credit whose time has run out at `now`, the earliest first.
    pub(crate) fn due(&self, now: Timestamp) -> SmallVec<[Grant; 2]> {
        let mut due: SmallVec<[Grant; 2]> =
            self.0.iter().filter(|grant| grant.is_due(now)).copied().collect();
        due.sort_by_key(|grant| (grant.expires_at(), grant.seq));
        due
    }

    /// Adds credit: to the grant that `credit.seq` names if it stands here, else as a new one.
    pub(crate) fn add(&mut self, credit: Grant) {
        if credit.remaining <= Nano::ZERO {
            return;
        }
        if let Some(known) = self.0.iter_mut().find(|grant| grant.seq == credit.seq) {
            known.remaining += credit.remaining;
            return;
        }
        let place = self.0.partition_point(|grant| grant.burn_order() < credit.burn_order());
        self.0.insert(place, credit);
    }

    /// Takes up to `asked` of what a debit may use that began at `since` and is posted at `now`:
    /// first credit whose time ran out in between, the earliest first (it would be lost
    /// otherwise), then by burn order.
    pub(crate) fn take(
        &mut self,
        asked: Nano,
        since: Timestamp,
        now: Timestamp,
    ) -> SmallVec<[Draw; 1]> {
        let mut draws = SmallVec::new();
        let mut rest = asked;
        let late = self.due(now).into_iter().filter(|grant| !grant.is_due(since));
        for grant in late {
            rest -= self.draw(grant.seq, rest, &mut draws);
        }
        for grant in &mut self.0 {
            if rest <= Nano::ZERO {
                break;
            }
            if !grant.is_due(now) {
                let amount = grant.remaining.min(rest);
                grant.remaining -= amount;
                rest -= amount;
                draws.push(Draw { from: grant.seq, amount });
            }
        }
        self.0.retain(|grant| grant.remaining > Nano::ZERO);
        draws
    }

    /// Takes exactly what `draw` says; `false`, and nothing taken, if that is not there.
    pub(crate) fn take_exactly(&mut self, draw: Draw) -> bool {
        let Some(place) = self.0.iter().position(|grant| grant.seq == draw.from) else {
            return false;
        };
        if draw.amount <= Nano::ZERO || self.0[place].remaining < draw.amount {
            return false;
        }
        self.0[place].remaining -= draw.amount;
        if self.0[place].remaining == Nano::ZERO {
            self.0.remove(place);
        }
        true
    }

    /// Takes up to `most` of one grant and notes the draw; returns how much. May leave it empty.
    fn draw(&mut self, seq: Seq, most: Nano, draws: &mut SmallVec<[Draw; 1]>) -> Nano {
        let Some(grant) = self.0.iter_mut().find(|grant| grant.seq == seq) else {
            return Nano::ZERO;
        };
        let amount = grant.remaining.min(most);
        if amount > Nano::ZERO {
            grant.remaining -= amount;
            draws.push(Draw { from: seq, amount });
        }
        amount
    }
}
