//! Accounts that got ahead of their ledger, read anew.
//!
//! An entry that is refused by the store (no space, too many waiting, a conflict) has changed the
//! wallet in memory already. The store then takes no entry that builds on it, priced calls of the
//! account are refused, and here its books are read again from what is stored. Holds stay: the
//! calls that they belong to go on. Charges of calls that were refused are posted again, each
//! once, where anything of the answer has left: that was received. Others are given up: their
//! answers were withheld.

use std::sync::Arc;

use weir_core::alert::Burn;
use weir_core::id::{AccountId, Seq};
use weir_core::ledger::Entry;
use weir_core::money::Nano;
use weir_core::price::Period;
use weir_core::wallet::{LedgerFault, Wallet};
use weir_store::error::{CommitError, ReadError};
use weir_store::health::StoreHealth;
use weir_store::op::{Op, Urgency};
use weir_store::store::Lost;

use crate::cell::{AccountCell, Live};
use crate::engine::Engine;
use crate::snapshot::{WalletRow, replay_into, take_up};

/// Why an account cannot be read anew; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Unmended {
    #[error("the store takes nothing")]
    Store(#[from] CommitError),
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    #[error("a wallet in the store makes no sense")]
    Row(#[from] serde_json::Error),
    #[error("the ledger contradicts itself")]
    Ledger(#[from] LedgerFault),
}

impl Engine {
    /// Reads anew what got ahead of its ledger. Called before anything is written behind, by the
    /// same thread, so that no snapshot is handed in meanwhile. Whether there was anything: then
    /// usage is held back, and [`weir_store::store::Store::resume_usage`] is due.
    pub(crate) fn mend(&self) -> bool {
        let store = self.journal.store();
        let unsound = store.unsound();
        if unsound.is_empty() || store.health() != StoreHealth::Ok {
            return false;
        }
        store.hold_usage();
        for id in unsound {
            match self.mend_account(id) {
                Ok(()) => tracing::warn!(account = %id, "the account was read anew"),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(account = %id, error, "the account cannot be read anew yet");
                }
            }
        }
        true
    }

    fn mend_account(&self, id: AccountId) -> Result<(), Unmended> {
        // What was queued before the refusal is decided once this is.
        self.journal.commit(Urgency::Settlement, Vec::new()).wait()?;
        let Some(cell) = self.account(id) else {
            self.journal.mended(id);
            drop(self.journal.store().take_lost(id));
            return Ok(());
        };
        let mut live = cell.live.lock();
        let snapshot = self.journal.store().reader().wallet(id)?;
        let since = snapshot.as_ref().map_or(Seq(0), |snapshot| snapshot.as_of);
        let entries = self.entries_since(id, since)?;
        match snapshot {
            Some(snapshot) => {
                let row: WalletRow = serde_json::from_str(&snapshot.state)?;
                take_up(&mut live, &row, snapshot.as_of)?;
            }
            None => {
                live.account.wallet.reread(Wallet::default());
                live.totals = crate::cell::Totals::default();
                live.levels.burn = Burn::default();
                live.last_entry = Seq(0);
            }
        }
        for entry in &entries {
            replay_into(&mut live, entry)?;
        }
        for hold in std::mem::take(&mut live.stranded) {
            live.account.wallet.release(hold);
        }
        let now = live.account.observe(self.now());
        self.settle_levels(&mut live, now, false);
        self.journal.mended(id);
        for lost in self.journal.store().take_lost(id) {
            match lost.withheld {
                Some(status) => self.give_up(lost, status),
                None => self.charge_again(&mut live, lost),
            }
        }
        drop(live);
        self.touch(&cell);
        Ok(())
    }

    /// Posts a charge that was not stored. It was counted when it was posted first.
    fn charge_again(&self, live: &mut Live, lost: Lost) {
        let Some(first) = lost.entries.first() else { return };
        let Some(call) = first.call.clone() else { return };
        let amount = -lost.entries.iter().map(|entry| entry.amount).sum::<Nano>();
        let now = live.account.observe(self.now());
        live.totals.add(&call.price, &call.usage, Period::Month.start(now));
        let mut turn = self.journal.turn();
        let settlement = live.account.wallet.charge(amount, now, &mut || turn.seq());
        let mut ops = lost.beside;
        for posting in settlement.postings {
            live.levels.burn.record(-posting.amount, now);
            live.last_entry = posting.seq;
            let (reference, policy) = (&*first.reference, first.policy);
            let call = Some(call.clone());
            let entry = posting.into_entry(lost.account, reference, policy, Some(NOTE), call);
            ops.push(Op::Append(entry));
        }
        self.read_levels(live, lost.account, now, &mut ops);
        drop(turn.commit(Urgency::Settlement, ops));
    }

    /// Takes back what was counted of a charge that is not posted again, as a call that was
    /// answered with that status, and frees its idempotency key: whoever repeats the call makes it
    /// anew.
    fn give_up(&self, lost: Lost, status: u16) {
        let (policies, present) = (self.policies.lock().clone(), self.policy());
        let mut turn = self.journal.turn();
        for entry in &lost.entries {
            turn.uncount(policies.get(&entry.policy).unwrap_or(&present), entry, status);
        }
        let freed = |op| match op {
            Op::Answer(kept) => Op::Release(kept.key),
            other => other,
        };
        // A key that cannot be freed now is free after the next start.
        drop(turn.commit(Urgency::Settlement, lost.beside.into_iter().map(freed).collect()));
    }

    /// The stored entries of an account after a position, oldest first.
    fn entries_since(&self, account: AccountId, since: Seq) -> Result<Vec<Entry>, ReadError> {
        let reader = self.journal.store().reader();
        let mut found: Vec<Entry> = Vec::new();
        loop {
            let page = reader.entries(account, found.last().map(|entry| entry.seq), PAGE)?;
            let more = page.len() == PAGE && page.last().is_some_and(|entry| entry.seq > since);
            found.extend(page.into_iter().take_while(|entry| entry.seq > since));
            if !more {
                found.reverse();
                return Ok(found);
            }
        }
    }

    /// Whether entries of the account are taken.
    pub(crate) fn is_sound(&self, cell: &Arc<AccountCell>) -> bool {
        self.journal.store().is_sound(cell.id)
    }
}

const PAGE: usize = 1_000;
const NOTE: &str = "posted again: it could not be stored at first";
