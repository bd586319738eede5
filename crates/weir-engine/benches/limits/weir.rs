//! Weir's decision: the account by its index, its lock, its time, and `Account::admit` under a
//! real policy.

use std::error::Error;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_core::account::Account;
use weir_core::admit::Ask;
use weir_core::entitlement::Entitlement;
use weir_core::id::{AccountId, KeyId};
use weir_core::limit::Period;
use weir_core::names::LimitNames;
use weir_core::operation::RouteIndex;
use weir_core::policy::Policy;
use weir_core::time::Timestamp;
use weir_engine::clock::Clock;

use crate::contender::Contender;
use crate::policy;

/// Accounts on one plan.
pub(crate) struct Weir {
    clock: Clock,
    policy: Policy,
    accounts: Box<[Mutex<Account>]>,
}

impl Weir {
    /// So many accounts with so many limits, the first of which has windows of this length.
    pub(crate) fn new(accounts: u32, limits: usize, first: Period) -> Result<Self, Box<dyn Error>> {
        let policy = policy::with_limits(limits, first, &mut LimitNames::default())?;
        let plan = Arc::clone(policy.plan(policy::PLAN).ok_or("the plan is there")?);
        let terms = Entitlement::new(&policy, plan, &[], &[], Timestamp::EPOCH);
        let terms = Arc::new(terms);
        let account = |id| Mutex::new(Account::new(AccountId(u64::from(id)), Arc::clone(&terms)));
        let accounts = (0..accounts).map(account).collect();
        Ok(Self { clock: Clock::running(), policy, accounts })
    }
}

impl Contender for Weir {
    fn decide(&self, key: u32) -> bool {
        let index = RouteIndex(0);
        let Some(route) = self.policy.route(index) else { return false };
        let Some(account) = self.accounts.get(usize::try_from(key).unwrap_or(usize::MAX)) else {
            return false;
        };
        let ask = Ask {
            index,
            route,
            key: KeyId(u64::from(key)),
            key_limits: &[],
            model: None,
            urgent: false,
            tokens: 100,
            worth: Default::default(),
            hold: None,
        };
        let clock = self.clock.now();
        account.lock().admit(&ask, clock).is_ok()
    }
}
