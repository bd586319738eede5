//! Holds: credit that running work reserves, and what becomes of it when it expires meanwhile.
//!
//! Credit that expires while a hold is open still serves that hold: as much of it as the holds
//! need that were made before it expired stays until they end, and their settlement uses it
//! first. Nothing that begins later may use it. So a call that was admitted on credit never ends
//! in debt because time passed, and no credit serves two holds.

use smallvec::SmallVec;

use super::Wallet;
use crate::grant::Grant;
use crate::money::Nano;
use crate::time::Timestamp;

/// Reserved credit: ends in exactly one of [`Wallet::settle`] and [`Wallet::release`].
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a hold that is neither settled nor released keeps its credit from everyone"]
pub struct Hold {
    pub(super) amount: Nano,
    pub(super) at: Timestamp,
}

/// A hold that does not fit: the wallet is unchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{asked} asked, {available} available, {held} held by running calls")]
pub struct Insufficient {
    /// What was to be held.
    pub asked: Nano,
    /// What may be spent; below zero when more is owed than the credit line covers.
    pub available: Nano,
    /// What open holds reserve: with it, the call would have fitted if `asked <= available + held`.
    pub held: Nano,
}

/// How much was held when credit that expired at `expired_at` did, and still is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    expired_at: Timestamp,
    held: Nano,
}

impl Hold {
    /// How much it reserves.
    pub const fn amount(&self) -> Nano {
        self.amount
    }

    /// When it was made: credit that could be used then can be used to settle it.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}

impl Wallet {
    /// Reserves `asked` (nothing if negative) until it is settled or released.
    ///
    /// # Errors
    ///
    /// [`Insufficient`] when `asked > available`; the wallet is then unchanged.
    pub fn hold(&mut self, asked: Nano, now: Timestamp) -> Result<Hold, Insufficient> {
        let amount = asked.or_zero();
        self.reserve(amount, now)?;
        Ok(Hold { amount, at: now })
    }

    /// Reserves `more` for a hold that is open.
    ///
    /// # Errors
    ///
    /// [`Insufficient`] when `more > available`; wallet and hold are then unchanged.
    pub fn extend(
        &mut self,
        hold: &mut Hold,
        more: Nano,
        now: Timestamp,
    ) -> Result<(), Insufficient> {
        let more = more.or_zero();
        self.reserve(more, now)?;
        hold.amount += more;
        Ok(())
    }

    /// Takes up a hold again that outlived a restart, whether it fits or not. Holds are to be
    /// restored in the order in which they were made, before anything expires.
    pub fn restore_hold(&mut self, amount: Nano, at: Timestamp) -> Hold {
        let amount = amount.or_zero().min(Self::LIMIT);
        self.claim(at);
        for claim in self.claims.iter_mut().filter(|claim| at < claim.expired_at) {
            claim.held = claim.held.saturating_add(amount);
        }
        self.held = self.held.saturating_add(amount);
        Hold { amount, at }
    }

    /// Gives back what was reserved: nothing is charged.
    pub fn release(&mut self, hold: Hold) {
        self.held = self.held.saturating_sub(hold.amount).or_zero();
        for claim in self.claims.iter_mut().filter(|claim| hold.at < claim.expired_at) {
            claim.held = claim.held.saturating_sub(hold.amount).or_zero();
        }
        self.claims.retain(|claim| claim.held > Nano::ZERO);
    }

    fn reserve(&mut self, amount: Nano, now: Timestamp) -> Result<(), Insufficient> {
        let available = self.available(now);
        if available < amount {
            return Err(Insufficient { asked: amount, available, held: self.held });
        }
        self.claim(now);
        self.held += amount; // at most the limit plus the credit line
        Ok(())
    }

    /// Notes for credit that expired since the last time how much was held then: no hold was
    /// made in between, because each hold notes this first.
    pub(super) fn claim(&mut self, now: Timestamp) {
        if self.held > Nano::ZERO {
            for grant in self.grants.due(now) {
                let expired_at = grant.expires_at();
                let known = self.claims.iter().any(|claim| claim.expired_at == expired_at);
                if expired_at > self.claimed_until && !known {
                    self.claims.push(Claim { expired_at, held: self.held });
                }
            }
        }
        self.claimed_until = self.claimed_until.max(now);
    }

    /// How much of each grant of `due` (sorted by expiry) is kept for holds that were made before
    /// it expired, and the sum: holds older than one expiry are older than the next too.
    pub(super) fn kept_of(&self, due: &[Grant]) -> (SmallVec<[Nano; 2]>, Nano) {
        let mut sum = Nano::ZERO;
        let kept = due
            .iter()
            .map(|grant| {
                let until = sum.max((sum + grant.remaining).min(self.claim_on(grant)));
                let kept = until - sum;
                sum = until;
                kept
            })
            .collect();
        (kept, sum)
    }

    fn claim_on(&self, grant: &Grant) -> Nano {
        let expired_at = grant.expires_at();
        if expired_at > self.claimed_until {
            return self.held;
        }
        let claim = self.claims.iter().find(|claim| claim.expired_at == expired_at);
        claim.map_or(Nano::ZERO, |claim| claim.held)
    }
}
