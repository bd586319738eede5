//! Another policy in the place of the present one, between two calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_core::id::PolicyNumber;
use weir_core::names::LimitNames;
use weir_core::plan::Limit;
use weir_core::policy::Policy;

use crate::engine::Engine;
use crate::own::account_limit;
use crate::record::AccountRecord;

/// Accounts are on plans that a policy lacks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the configuration lacks plans in use: {}", .0.join("; "))]
pub struct PlansMissing(pub Vec<String>);

impl Engine {
    /// Puts a policy in force: calls whose route is found from now on go by it. Counts of limits
    /// stay, by the limits' names. `before` runs when nothing is in the way any more, and before
    /// the policy is in force. Blocks until no change through the API is under way.
    ///
    /// # Errors
    ///
    /// [`PlansMissing`]; nothing was changed then, and `before` was not run.
    pub fn accept(
        &self,
        policy: Policy,
        before: impl FnOnce(),
    ) -> Result<PolicyNumber, PlansMissing> {
        let _turn = self.changes.blocking_lock();
        self.check_plans(&policy)?;
        before();
        let number = PolicyNumber(self.policy.load().number().0 + 1);
        let policy = Arc::new(policy.numbered(number));
        self.policies.lock().insert(number, Arc::clone(&policy));
        self.policy.store(policy);
        Ok(number)
    }

    /// Whether a policy has every plan that an account is on.
    ///
    /// # Errors
    ///
    /// [`PlansMissing`] with the accounts concerned.
    pub fn check_plans(&self, policy: &Policy) -> Result<(), PlansMissing> {
        let mut missing = BTreeMap::<String, Vec<String>>::new();
        for cell in self.all_accounts() {
            let record = cell.record.load();
            if policy.plan(&record.plan).is_none() {
                let account = format!("{} ({})", cell.id, record.name);
                missing.entry(record.plan.clone()).or_default().push(account);
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(PlansMissing::told(missing)) }
    }

    /// How many accounts are on each plan.
    pub fn accounts_by_plan(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for cell in self.all_accounts() {
            *counts.entry(cell.record.load().plan.clone()).or_default() += 1;
        }
        counts
    }

    /// Lends the interned names of limits, for reading a configuration whose limits shall be known
    /// as the present ones are. Not to be held for longer.
    pub fn with_names<T>(&self, read: impl FnOnce(&mut LimitNames) -> T) -> T {
        read(&mut self.names.lock())
    }

    /// An account's own values under another policy. A value whose limit is gone is left out.
    pub(crate) fn own_limits_after(&self, record: &AccountRecord, policy: &Policy) -> Vec<Limit> {
        let mut names = self.names.lock();
        let limits = record.limits.iter().filter_map(|(name, value)| {
            account_limit(name, value, policy, &mut names)
                .inspect_err(|why| tracing::warn!(%why, account = record.name, "left out"))
                .ok()
        });
        limits.collect()
    }

    /// Policies whose calls have all ended: what these counted has been counted.
    pub(crate) fn policies_ended(&self) -> Vec<PolicyNumber> {
        let present = self.policy.load().number();
        let policies = self.policies.lock();
        let ended = policies
            .iter()
            .filter(|(number, policy)| **number != present && Arc::strong_count(policy) == 1);
        ended.map(|(number, _)| *number).collect()
    }
}

impl PlansMissing {
    /// By plan, the accounts that are on it.
    pub(crate) fn told(missing: BTreeMap<String, Vec<String>>) -> Self {
        let plans = missing.into_iter().map(|(plan, accounts)| {
            let shown = accounts.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
            let more = accounts.len().saturating_sub(SHOWN_MAX);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("`{plan}`, used by {shown}{rest}")
        });
        Self(plans.collect())
    }
}

const SHOWN_MAX: usize = 5;
