//! The live state of one account: what one decision may touch, and nothing else.

use std::sync::Arc;

use crate::entitlement::{Applied, Entitlement};
use crate::id::{AccountId, KeyId};
use crate::limit::{LimitId, Rule};
use crate::time::Timestamp;
use crate::wallet::Wallet;
use crate::window::Window;

/// Whose use a window counts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Owner {
    /// All calls of the account.
    Account,
    /// The calls of one key.
    Key(KeyId),
}

/// A window's place among those of its account.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot {
    /// Whose use it counts.
    pub owner: Owner,
    /// By which limit.
    pub limit: LimitId,
}

/// The windows of one account and its keys, sorted by slot. A window that was never used has no
/// place.
#[derive(Clone, Debug, Default)]
pub struct Windows(Vec<(Slot, Window)>);

/// The live state of one account.
#[derive(Debug)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Whether its calls are refused by hand.
    pub suspended: bool,
    /// What it may do.
    pub entitlement: Arc<Entitlement>,
    /// What it has used of its limits.
    pub windows: Windows,
    /// Its credit.
    pub wallet: Wallet,
    pub(crate) latest: Timestamp,
}

impl Windows {
    /// The window at a slot; a fresh one if it was never used.
    pub fn at(&self, slot: Slot) -> Window {
        match self.0.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(index) => self.0[index].1,
            Err(_) => Window::default(),
        }
    }

    /// Puts a window in its place.
    pub fn put(&mut self, slot: Slot, window: Window) {
        match self.0.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(index) => self.0[index].1 = window,
            Err(index) => self.0.insert(index, (slot, window)),
        }
    }

    /// Every used window, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, Window)> {
        self.0.iter().copied()
    }

    /// Forgets the windows of a key that is gone.
    pub fn forget(&mut self, key: KeyId) {
        self.0.retain(|(slot, _)| slot.owner != Owner::Key(key));
    }
}

impl Account {
    /// An account with nothing used.
    pub fn new(id: AccountId, entitlement: Arc<Entitlement>) -> Self {
        Self {
            id,
            suspended: false,
            entitlement,
            windows: Windows::default(),
            wallet: Wallet::default(),
            latest: Timestamp::EPOCH,
        }
    }

    /// The account's own time: `clock`, but never earlier than before.
    pub fn observe(&mut self, clock: Timestamp) -> Timestamp {
        self.latest = self.latest.max(clock);
        self.latest
    }

    /// The latest time that it has seen.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Puts the account on other terms; what was used stays used.
    pub fn entitle(&mut self, entitlement: Arc<Entitlement>, now: Timestamp) {
        let before = std::mem::replace(&mut self.entitlement, entitlement);
        let old = |limit| find(before.listed(), limit);
        for applied in self.entitlement.listed() {
            let slot = Slot { owner: Owner::Account, limit: applied.limit.id };
            if let Some(old) = old(applied.limit.id) {
                carry_over(&mut self.windows, slot, old, &applied.limit.rule, now);
            }
        }
    }

    /// Puts a key on other limits; what was used stays used.
    pub fn entitle_key(&mut self, key: KeyId, old: &[Applied], new: &[Applied], now: Timestamp) {
        for applied in new {
            let slot = Slot { owner: Owner::Key(key), limit: applied.limit.id };
            if let Some(old) = find(old, applied.limit.id) {
                carry_over(&mut self.windows, slot, old, &applied.limit.rule, now);
            }
        }
    }
}

fn find(applied: &[Applied], limit: LimitId) -> Option<&Rule> {
    applied.iter().find(|known| known.limit.id == limit).map(|known| &known.limit.rule)
}

fn carry_over(windows: &mut Windows, slot: Slot, old: &Rule, new: &Rule, now: Timestamp) {
    let window = windows.at(slot);
    if old != new && window != Window::default() {
        windows.put(slot, new.carry_over(old, &window, now));
    }
}
