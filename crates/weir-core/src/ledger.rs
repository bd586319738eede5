//! The append-only record of every change of a balance.

use smallvec::SmallVec;

use crate::id::{AccountId, KeyId, PolicyNumber, Seq};
use crate::money::Nano;
use crate::time::Timestamp;
use crate::usage::Usage;

/// One change of one balance. Written once, never altered.
///
/// Invariant: `balance` is the account's previous balance plus `amount`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Position in the ledger, ascending.
    pub seq: Seq,
    /// Whose balance changed.
    pub account: AccountId,
    /// When; never earlier than the account's entry before.
    pub at: Timestamp,
    /// Why.
    pub kind: EntryKind,
    /// The change: positive adds credit, negative takes it.
    pub amount: Nano,
    /// The balance after the change.
    pub balance: Nano,
    /// What caused it: a request id, a hold, a payment, another entry. At most 200 bytes.
    pub reference: Box<str>,
    /// The policy by which it was priced.
    pub policy: PolicyNumber,
    /// Words of whoever posted it.
    pub note: Option<Box<str>>,
    /// The terms of the credit, on entries that bring credit or bring it back.
    pub terms: Option<Terms>,
    /// Which credit a debit used up, or a refund brought back, in order.
    pub draws: SmallVec<[Draw; 1]>,
    /// The call that was charged.
    pub call: Option<Box<Call>>,
}

/// Why a balance changed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EntryKind {
    /// Credit that was paid for.
    TopUp,
    /// Credit that was given.
    Grant,
    /// The price of a call, or of other metered work.
    Charge,
    /// The part of a price that neither credit nor the credit line covered.
    Debt,
    /// A charge taken back, wholly or in part.
    Refund,
    /// A change by hand, with a reason.
    Adjustment,
    /// Credit whose time ran out.
    Expiry,
    /// The mending of an earlier entry.
    Correction,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::TopUp,
        Self::Grant,
        Self::Charge,
        Self::Debt,
        Self::Refund,
        Self::Adjustment,
        Self::Expiry,
        Self::Correction,
    ];

    /// The name in JSON and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Grant => "grant",
            Self::Charge => "charge",
            Self::Debt => "debt",
            Self::Refund => "refund",
            Self::Adjustment => "adjustment",
            Self::Expiry => "expiry",
            Self::Correction => "correction",
        }
    }

    /// The kind of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// On what terms credit was brought in. Credit burns by priority, then expiry, then age.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Paid or given.
    pub category: Category,
    /// 0 burns first, 100 last; the default is 50.
    pub priority: u8,
    /// From when on it can no longer be used.
    pub expires_at: Option<Timestamp>,
}

/// Whether credit was paid for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Category {
    /// Paid for.
    Paid,
    /// Given; never becomes refundable cash.
    Promo,
}

/// A part of a debit that came from one credit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Draw {
    /// The entry that brought the credit in.
    pub from: Seq,
    /// How much of it, never negative.
    pub amount: Nano,
}

/// What is known of a charged call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// The key that made it.
    pub key: Option<KeyId>,
    /// The route's name: `POST /v1/chat/completions`.
    pub route: Box<str>,
    /// The model it asked for, empty if none.
    pub model: Box<str>,
    /// The price's name.
    pub price: Box<str>,
    /// What was used.
    pub usage: Usage,
    /// The exact price in pico units before the one rounding.
    pub pico: u128,
    /// What was held for it.
    pub held: Nano,
    /// What was out of the ordinary.
    pub flags: Flags,
}

/// What was out of the ordinary about a charge.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(pub u16);

impl Flags {
    /// The upstream reported no usage: counted by what was produced, or by the hold.
    pub const ESTIMATED: Self = Self(1);
    /// The upstream reported nonsense (negative, huge, text), which was clamped.
    pub const IMPLAUSIBLE: Self = Self(1 << 1);
    /// The client went away before the end.
    pub const CLIENT_GONE: Self = Self(1 << 2);
    /// The upstream broke off.
    pub const UPSTREAM_BROKE: Self = Self(1 << 3);
    /// The credit ran out while it streamed.
    pub const EXHAUSTED: Self = Self(1 << 4);
    /// Charged by recovery after a crash, from the last checkpoint.
    pub const RECOVERED: Self = Self(1 << 5);
    /// It cost more than was held.
    pub const ABOVE_HOLD: Self = Self(1 << 6);

    /// Every flag with its name in JSON.
    pub const NAMES: [(Self, &'static str); 7] = [
        (Self::ESTIMATED, "estimated"),
        (Self::IMPLAUSIBLE, "implausible_usage"),
        (Self::CLIENT_GONE, "client_gone"),
        (Self::UPSTREAM_BROKE, "upstream_broke"),
        (Self::EXHAUSTED, "credit_exhausted"),
        (Self::RECOVERED, "recovered"),
        (Self::ABOVE_HOLD, "above_hold"),
    ];

    /// These flags and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_by_its_name() {
        let names = EntryKind::ALL.map(EntryKind::name);
        let expected =
            ["top_up", "grant", "charge", "debt", "refund", "adjustment", "expiry", "correction"];
        assert_eq!(names, expected);
        assert_eq!(names.map(EntryKind::by_name), EntryKind::ALL.map(Some));
        assert_eq!(EntryKind::by_name("topup"), None);
    }

    #[test]
    fn flags_add_up_and_are_told_by_name() {
        let both = Flags::CLIENT_GONE.and(Flags::RECOVERED).and(Flags::RECOVERED);
        assert!(both.has(Flags::RECOVERED) && both.has(both) && both.has(Flags::default()));
        assert!(!both.has(Flags::ESTIMATED) && !Flags::RECOVERED.has(both));
        assert_eq!(both.names().collect::<Vec<_>>(), ["client_gone", "recovered"]);
        let all = Flags::NAMES.into_iter().fold(Flags::default(), |all, (flag, _)| all.and(flag));
        assert_eq!(all, Flags(0b111_1111));
    }
}
