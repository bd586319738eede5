//! Reserving credit, and giving back what was reserved.

use smallvec::SmallVec;

use super::hold::{Claim, Hold, Insufficient};
use super::state::Wallet;
use crate::grant::Grant;
use crate::money::Nano;
use crate::time::Timestamp;

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

    pub(super) fn reserve(&mut self, amount: Nano, now: Timestamp) -> Result<(), Insufficient> {
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

    pub(super) fn claim_on(&self, grant: &Grant) -> Nano {
        let expired_at = grant.expires_at();
        if expired_at > self.claimed_until {
            return self.held;
        }
        let claim = self.claims.iter().find(|claim| claim.expired_at == expired_at);
        claim.map_or(Nano::ZERO, |claim| claim.held)
    }
}
