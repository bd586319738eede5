//! Holds: credit that running work reserves, and what becomes of it when it expires meanwhile.
//!
//! Credit that expires while a hold is open still serves that hold: as much of it as the holds
//! need that were made before it expired stays until they end, and their settlement uses it
//! first. Nothing that begins later may use it. So a call that was admitted on credit never ends
//! in debt because time passed, and no credit serves two holds.

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
    pub(super) expired_at: Timestamp,
    pub(super) held: Nano,
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
