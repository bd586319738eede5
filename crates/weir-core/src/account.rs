//! The live state of one account: what one decision may touch, and nothing else.

mod slots;

use std::sync::Arc;

pub use self::slots::{Owner, Slot, Windows};
use crate::entitlement::{Applied, Entitlement};
use crate::id::{AccountId, KeyId};
use crate::limit::{LimitId, Rule};
use crate::seldom::Seldom;
use crate::time::Timestamp;
use crate::wallet::Wallet;
use crate::window::Window;

/// The live state of one account. A copy of it can be asked what would be, and thrown away.
#[derive(Clone, Debug)]
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
    pub wallet: Seldom<Wallet>,
    pub(crate) latest: Timestamp,
    /// The latest time of a clock that it has seen: that of its windows.
    ticked: Timestamp,
    /// Under which rules windows were counted whose limits are gone for now. Should a limit come
    /// back its use is still known, and what ends meanwhile is still given back.
    retired: Seldom<Vec<(Slot, Rule)>>,
}

impl Account {
    /// An account with nothing used.
    pub fn new(id: AccountId, entitlement: Arc<Entitlement>) -> Self {
        Self {
            id,
            suspended: false,
            entitlement,
            windows: Windows::default(),
            wallet: Seldom::default(),
            latest: Timestamp::EPOCH,
            ticked: Timestamp::EPOCH,
            retired: Seldom::default(),
        }
    }

    /// The time of the account's books: `clock`, but never earlier than before. Entries follow one
    /// another in it, also where a clock was set back between two runs.
    pub fn observe(&mut self, clock: Timestamp) -> Timestamp {
        self.ticked = self.ticked.max(clock);
        self.latest = self.latest.max(clock);
        self.latest
    }

    /// Takes in when something was written in its books; its windows do not follow.
    pub fn not_before(&mut self, written: Timestamp) {
        self.latest = self.latest.max(written);
    }

    /// The latest time that its books have seen.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// The time of its windows and boosts at `now`: the books' may stand ahead of it.
    pub fn window_time(&self, now: Timestamp) -> Timestamp {
        if now > self.latest { now } else { self.ticked }
    }

    /// Puts the account on other terms; what was used stays used.
    pub fn entitle(&mut self, entitlement: Arc<Entitlement>, now: Timestamp) {
        let now = self.window_time(now);
        let before = std::mem::replace(&mut self.entitlement, entitlement);
        if Arc::ptr_eq(&before, &self.entitlement) {
            return;
        }
        let after = Arc::clone(&self.entitlement);
        self.change(Owner::Account, before.listed(), after.listed(), now);
    }

    /// Puts a key on other limits; what was used stays used.
    pub fn entitle_key(&mut self, key: KeyId, old: &[Applied], new: &[Applied], now: Timestamp) {
        let now = self.window_time(now);
        self.change(Owner::Key(key), old, new, now);
    }

    /// Forgets what a key that is gone has used.
    pub fn forget(&mut self, key: KeyId) {
        self.windows.forget(key);
        if !self.retired.is_empty() {
            self.retired.retain(|(slot, _)| slot.owner != Owner::Key(key));
        }
    }

    /// The rule of a window whose limit is gone for now.
    pub(crate) fn retired(&self, slot: Slot) -> Option<&Rule> {
        self.retired.iter().find(|(known, _)| *known == slot).map(|(_, rule)| rule)
    }

    fn change(&mut self, owner: Owner, old: &[Applied], new: &[Applied], now: Timestamp) {
        for applied in old.iter().filter(|applied| find(new, applied.limit.id).is_none()) {
            let slot = Slot { owner, limit: applied.limit.id };
            self.retired.push((slot, applied.limit.rule.clone()));
        }
        for applied in new {
            let slot = Slot { owner, limit: applied.limit.id };
            let rule = &applied.limit.rule;
            let known = self.retired.iter().position(|(known, _)| *known == slot);
            let back = known.map(|index| self.retired.swap_remove(index).1);
            if let Some(old) = find(old, applied.limit.id).or(back.as_ref()) {
                carry_over(&mut self.windows, slot, old, rule, now);
            }
        }
        if self.retired.is_empty() {
            return;
        }
        let windows = &mut self.windows;
        self.retired.retain(|(slot, rule)| {
            let counts = rule.snapshot(&windows.at(*slot), now).used > 0;
            if !counts {
                windows.remove(*slot);
            }
            counts
        });
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
