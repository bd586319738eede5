//! The windows of one account, where a decision finds them at once.

use crate::id::KeyId;
use crate::limit::LimitId;
use crate::seldom::Seldom;
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

/// The windows of one account and its keys. A window that was never used has no place.
///
/// The first few of the account's own stand in the account itself: a decision reads them with it,
/// and a million accounts with three limits take 184 MB. Those of keys, and what is beyond the
/// few, are sorted by slot.
///
/// Invariant: a slot stands in one of both, and [`FREE`] is no slot's limit in `few`.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Whose windows `few` are; apart from them, so that no room is lost between the two.
    limits: [LimitId; FEW],
    few: [Window; FEW],
    more: Seldom<Vec<(Slot, Window)>>,
}

impl Default for Windows {
    fn default() -> Self {
        Self { limits: [FREE; FEW], few: [Window::UNUSED; FEW], more: Seldom::default() }
    }
}

impl Windows {
    /// The window at a slot; a fresh one if it was never used.
    #[inline]
    pub fn at(&self, slot: Slot) -> Window {
        match self.near(slot) {
            Some(index) => self.few[index],
            None => self.far(slot),
        }
    }

    /// Puts a window in its place.
    #[inline]
    pub fn put(&mut self, slot: Slot, window: Window) {
        *self.place(slot) = window;
    }

    /// The place of a window, to change it there; a fresh one stands in it if it was never used.
    #[inline]
    pub(crate) fn place(&mut self, slot: Slot) -> &mut Window {
        match self.near(slot) {
            Some(index) => &mut self.few[index],
            None => self.far_place(slot),
        }
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        match self.near(slot) {
            Some(index) => self.limits[index] = FREE,
            None => self.more.retain(|(known, _)| *known != slot),
        }
    }

    /// Forgets the windows of a key.
    pub(crate) fn forget(&mut self, key: KeyId) {
        self.more.retain(|(slot, _)| slot.owner != Owner::Key(key));
    }

    #[inline]
    fn near(&self, slot: Slot) -> Option<usize> {
        let is_own = slot.owner == Owner::Account && slot.limit != FREE;
        let found = self.limits.iter().position(|limit| *limit == slot.limit);
        found.filter(|_| is_own)
    }

    fn far(&self, slot: Slot) -> Window {
        match self.more.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(index) => self.more[index].1,
            Err(_) => Window::UNUSED,
        }
    }

    #[cold]
    fn far_place(&mut self, slot: Slot) -> &mut Window {
        let known = self.more.binary_search_by_key(&slot, |(slot, _)| *slot);
        let free = self.limits.iter().position(|limit| *limit == FREE);
        match (known, free) {
            (Ok(index), _) => &mut self.more[index].1,
            (Err(_), Some(index)) if slot.owner == Owner::Account && slot.limit != FREE => {
                self.limits[index] = slot.limit;
                self.few[index] = Window::UNUSED;
                &mut self.few[index]
            }
            (Err(index), _) => {
                self.more.insert(index, (slot, Window::UNUSED));
                &mut self.more[index].1
            }
        }
    }
}

/// How many windows stand in the account: the limits of a class in requests and tokens, of all
/// calls, and of those in flight.
const FEW: usize = 4;
/// Marks a place without a window. A limit of this number stands elsewhere.
const FREE: LimitId = LimitId(u32::MAX);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_are_a_map(steps in prop::collection::vec((0..4_u8, 0..3_u64, 0..8_u32, any::<[u64; 3]>()), 0..60)) {
            let mut windows = Windows::default();
            let mut model = BTreeMap::new();
            for (what, owner, limit, bits) in steps {
                let owner = if owner == 0 { Owner::Account } else { Owner::Key(KeyId(owner)) };
                let limit = if limit == 7 { FREE } else { LimitId(limit) };
                let slot = Slot { owner, limit };
                match (what, owner) {
                    (0, Owner::Key(key)) => {
                        windows.forget(key);
                        model.retain(|slot: &Slot, _| slot.owner != owner);
                    }
                    (1, _) => {
                        windows.remove(slot);
                        model.remove(&slot);
                    }
                    _ => {
                        windows.put(slot, Window::from_bits(bits));
                        model.insert(slot, Window::from_bits(bits));
                    }
                }
                for owner in [Owner::Account, Owner::Key(KeyId(1)), Owner::Key(KeyId(2))] {
                    for limit in (0..7).map(LimitId).chain([FREE]) {
                        let slot = Slot { owner, limit };
                        let expected = model.get(&slot).copied().unwrap_or_default();
                        prop_assert_eq!(windows.at(slot), expected);
                    }
                }
            }
        }
    }

    /// What a million accounts take is promised in docs/performance-limits.md.
    #[test]
    fn an_account_is_small() {
        assert_eq!(size_of::<Windows>(), 120);
        assert!(size_of::<crate::account::Account>() <= 176);
    }
}
