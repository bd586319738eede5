//! Accounts and keys in memory: what a call reads without a lock, and what it changes under one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use weir_core::account::{Account, Owner};
use weir_core::entitlement::Applied;
use weir_core::id::{AccountId, KeyId, PolicyNumber, Seq};
use weir_core::key::Key;
use weir_core::limit::{LimitId, Rule};
use weir_core::money::Nano;
use weir_core::plan::{Boost, Limit};
use weir_core::price::{Commitment, Committed, Contract};
use weir_core::time::Timestamp;
use weir_core::usage::Usage;
use weir_core::wallet::Hold;

use crate::alarm::AlarmLevels;
use crate::auto_top_up::AutoState;
use crate::levels::Levels;
use crate::record::{AccountRecord, BoostRecord, KeyRecord};
use crate::secret::SecretDigest;

/// An account in memory.
#[derive(Debug)]
pub struct AccountCell {
    /// Its id.
    pub id: AccountId,
    /// What the operator set, as it is kept.
    pub record: ArcSwap<AccountRecord>,
    pub(crate) live: Mutex<Live>,
    /// Whether it waits to be written behind.
    pub(crate) dirty: AtomicBool,
}

/// What calls change of an account, under one lock.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) account: Account,
    /// The policy that the entitlement was worked out from.
    pub(crate) policy: PolicyNumber,
    /// Values of its own for limits.
    pub(crate) own: Vec<Limit>,
    pub(crate) boosts: Vec<(Boost, BoostRecord)>,
    pub(crate) contract: Option<Arc<Contract>>,
    /// The credit line: its own, and while its contract is in force that of the contract.
    pub(crate) lines: (Nano, Option<Nano>),
    /// What it promised to spend.
    pub(crate) commitment: Option<Commitment>,
    /// What was spent of that, as far as the ledger was added up.
    pub(crate) spent: Option<Spent>,
    /// What was used of each price in the present billing period.
    pub(crate) totals: Totals,
    /// The last entry of the account in the ledger.
    pub(crate) last_entry: Seq,
    pub(crate) keys: Vec<Arc<KeyCell>>,
    /// What it falls to and comes back from.
    pub(crate) levels: Levels,
    /// Credit that was reserved for what could not be stored: given back when the account is
    /// read anew.
    pub(crate) stranded: Vec<Hold>,
    /// How its automatic top-ups stand.
    pub(crate) auto: AutoState,
    /// Whether the account was deleted while calls were in flight.
    pub(crate) gone: bool,
    /// Which limits have told how full they are.
    pub(crate) alarms: AlarmLevels,
}

/// What was charged in a period of a commitment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) period: Committed,
    /// The newest entry that is counted.
    pub(crate) up_to: Seq,
    pub(crate) amount: Nano,
}

/// What was used of each price since the billing period began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) since: Timestamp,
    pub(crate) used: BTreeMap<Box<str>, Usage>,
}

/// A key in memory.
#[derive(Debug)]
pub struct KeyCell {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub account: Arc<AccountCell>,
    /// What it may do; changed as a whole.
    pub state: ArcSwap<KeyState>,
    pub(crate) last_used_us: AtomicI64,
}

/// What a key may do.
#[derive(Clone, Debug)]
pub struct KeyState {
    /// The rules of the core for it.
    pub key: Key,
    /// The same as it is kept.
    pub record: KeyRecord,
    /// What it is found by.
    pub digest: SecretDigest,
    /// Limits of its own, resolved.
    pub own: Vec<Limit>,
    /// All limits that count its calls beside the account's.
    pub limits: Box<[Applied]>,
}

impl Live {
    /// The limit of that name of the account or of one of its keys, and its rule.
    pub(crate) fn rule(&self, owner: Owner, name: &str) -> Option<(LimitId, Rule)> {
        let find = |limits: &[Applied]| {
            let known = limits.iter().find(|applied| applied.limit.name == name);
            known.map(|applied| (applied.limit.id, applied.limit.rule.clone()))
        };
        match owner {
            Owner::Account => find(self.account.entitlement.listed()),
            Owner::Key(id) => {
                let key = self.keys.iter().find(|key| key.id == id)?;
                find(&key.state.load().limits)
            }
        }
    }
}

impl Totals {
    /// What was used of a price; nothing if a new period has begun.
    pub(crate) fn of(&self, price: &str, period_start: Timestamp) -> Usage {
        if self.since != period_start {
            return Usage::NONE;
        }
        self.used.get(price).copied().unwrap_or(Usage::NONE)
    }

    /// Adds a call's usage.
    pub(crate) fn add(&mut self, price: &str, usage: &Usage, period_start: Timestamp) {
        if self.since != period_start {
            self.used.clear();
            self.since = period_start;
        }
        match self.used.get_mut(price) {
            Some(total) => {
                for (meter, amount) in usage.amounts() {
                    total.record(meter, total.of(meter).saturating_add(amount));
                }
            }
            None => {
                self.used.insert(price.into(), *usage);
            }
        }
    }
}

impl KeyCell {
    /// When it last made a call that was let through, if ever since the process started.
    pub fn last_used(&self) -> Option<Timestamp> {
        let micros = self.last_used_us.load(Ordering::Relaxed);
        (micros > 0).then(|| Timestamp::from_micros(micros))
    }
}
