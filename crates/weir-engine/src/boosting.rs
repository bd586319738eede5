//! Boosts with their places, and what each has still to tell.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use weir_core::id::{AccountId, BoostId};
use weir_core::time::Timestamp;

use crate::record::BoostRecord;

/// A boost with its place.
#[derive(Clone, Debug)]
pub struct Boosting {
    /// Its id.
    pub id: BoostId,
    /// Whose limits it raises.
    pub account: AccountId,
    /// What it does.
    pub record: BoostRecord,
}

/// What every boost has still to tell, by the time: that it begins, then that it ends.
#[derive(Debug, Default)]
pub(crate) struct BoostEdges(pub(crate) Mutex<BTreeMap<(Timestamp, BoostId), Boosting>>);

impl Boosting {
    /// The time of what it has to tell next.
    pub(crate) fn edge(&self) -> Timestamp {
        let next = if self.record.begun { self.record.until_us } else { self.record.from_us };
        Timestamp::from_micros(next)
    }
}

impl BoostEdges {
    pub(crate) fn put(&self, boosting: Boosting) {
        self.0.lock().insert((boosting.edge(), boosting.id), boosting);
    }

    pub(crate) fn find(&self, id: BoostId) -> Option<Boosting> {
        self.0.lock().values().find(|known| known.id == id).cloned()
    }

    pub(crate) fn forget(&self, account: AccountId) {
        self.0.lock().retain(|_, known| known.account != account);
    }

    pub(crate) fn take_due(&self, now: Timestamp) -> Vec<Boosting> {
        let mut due = Vec::new();
        let mut edges = self.0.lock();
        while let Some(first) = edges.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        due
    }
}
