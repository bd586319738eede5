//! What is remembered of an account for its alerts.

use weir_core::alert::{Alerts, Burn, Notices, Reading, Threshold};
use weir_core::time::Timestamp;
use weir_core::wallet::Wallet;

/// Where an account stands towards its thresholds, and how fast it spends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    /// `None` before its thresholds are known.
    pub(crate) alerts: Option<Alerts>,
    /// Thresholds of its own, instead of the plan's.
    pub(crate) own: Option<Vec<Threshold>>,
    pub(crate) burn: Burn,
    pub(crate) notices: Notices,
}

impl Levels {
    /// What the levels are judged by now.
    pub(crate) fn reading(&self, wallet: &Wallet, now: Timestamp) -> Reading {
        Reading {
            available: wallet.available(now),
            last_top_up: wallet.last_top_up(),
            burn_per_hour: self.burn.per_hour(now),
        }
    }

    /// Brings the thresholds up to date: new ones take their standing from the present, so that
    /// nothing is told of what was already so. `anew`: all are new, the account was not charged.
    pub(crate) fn settle(
        &mut self,
        plan: &[Threshold],
        wallet: &Wallet,
        now: Timestamp,
        anew: bool,
    ) {
        let reading = self.reading(wallet, now);
        let own = self.own.clone();
        let thresholds = own.as_deref().unwrap_or(plan);
        let done = match &mut self.alerts {
            Some(alerts) if !anew => alerts.reconfigure(thresholds, &reading),
            _ => Alerts::seeded(thresholds, &reading).map(|alerts| self.alerts = Some(alerts)),
        };
        if let Err(error) = done {
            // The API and the configuration refuse more; what was there before stays.
            tracing::error!(%error, "alert thresholds were not taken");
        }
    }
}
