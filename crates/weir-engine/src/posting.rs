//! Charges on their way from a wallet into the ledger.

use std::sync::Arc;

use weir_core::id::PolicyNumber;
use weir_core::ledger::{Call, EntryKind};
use weir_core::money::Nano;
use weir_core::price::Period;
use weir_core::time::Timestamp;
use weir_core::wallet::Hold;
use weir_store::commit::Commit;
use weir_store::op::{Op, Urgency};

use crate::cell::Live;
use crate::engine::Engine;
use crate::running::Running;
use crate::tally::Counted;

/// A charge on its way into the ledger.
pub(crate) struct ChargePosting<'a> {
    pub(crate) amount: Nano,
    /// What was charged; `None`: nothing is, only the hold is freed.
    pub(crate) call: Option<Call>,
    pub(crate) reference: &'a str,
    pub(crate) policy: PolicyNumber,
    pub(crate) running: Option<&'a Arc<Running>>,
    /// Whether the client gets nothing unless it is stored.
    pub(crate) withheld: bool,
    /// What becomes durable together with the charge.
    pub(crate) beside: Option<Op>,
    /// How it is counted for analytics.
    pub(crate) counted: Counted<'a>,
    pub(crate) at: Timestamp,
}

impl Engine {
    /// Ends a hold and posts what the work cost; tells what of that became debt. `None`: there was
    /// nothing to write.
    pub(crate) fn post_charge(
        &self,
        live: &mut Live,
        hold: Hold,
        posting: ChargePosting<'_>,
    ) -> Option<(Commit, Nano)> {
        let account = live.account.id;
        let mut ops = Vec::with_capacity(2);
        ops.extend(posting.beside);
        if let Some(running) = posting.running {
            self.running.end(running.call);
            ops.push(Op::DropCheckpoint(running.call));
        }
        let Some(call) = posting.call else {
            self.tallies.count(&posting.counted);
            live.account.wallet.release(hold);
            let commit = (!ops.is_empty()).then(|| self.journal.commit(Urgency::Settlement, ops));
            return commit.map(|commit| (commit, Nano::ZERO));
        };
        live.totals.add(&call.price, &call.usage, Period::Month.start(posting.at));
        let mut turn = self.journal.turn();
        let wallet = &mut live.account.wallet;
        let settlement = wallet.settle(hold, posting.amount, posting.at, &mut || turn.seq());
        if settlement.unposted > Nano::ZERO {
            let unposted = settlement.unposted;
            tracing::error!(%account, %unposted, "a charge beyond what a wallet can owe was cut");
        }
        let mut debt = Nano::ZERO;
        for part in settlement.postings {
            if part.kind == EntryKind::Debt {
                debt += -part.amount;
            }
            live.levels.burn.record(-part.amount, posting.at);
            live.last_entry = part.seq;
            let call = Some(Box::new(call.clone()));
            let entry = part.into_entry(account, posting.reference, posting.policy, None, call);
            ops.push(Op::Append(entry));
        }
        self.read_levels(live, account, posting.at, &mut ops);
        turn.count(&posting.counted);
        let urgency = match posting.withheld {
            true => Urgency::Answer(posting.counted.status),
            false => Urgency::Settlement,
        };
        Some((turn.commit(urgency, ops), debt))
    }
}
