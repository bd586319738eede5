//! Starting: the engine as the last process left it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use weir_core::account::{Owner, Slot};
use weir_core::id::{AccountId, AdminKeyId, BoostId, KeyId, PolicyNumber, Seq, WebhookId};
use weir_core::ledger::Entry;
use weir_core::names::LimitNames;
use weir_core::policy::Policy;
use weir_core::time::{Span, Timestamp};
use weir_core::wallet::replay::LedgerFault;
use weir_core::window::Window;
use weir_store::error::{OpenError, ReadError};
use weir_store::load::Loaded;
use weir_store::store::{Options, Store};
use weir_store::usage::{WindowKey, WindowState};

use crate::accept::PlansMissing;
use crate::boosting::Boosting;
use crate::cell::AccountCell;
use crate::clock::Clock;
use crate::counted::{self, Counted};
use crate::engine::{Engine, EngineSettings};
use crate::journal::Journal;
use crate::operators;
use crate::record::{AccountRecord, BoostRecord, KeyRecord, kind};
use crate::snapshot::{WalletRow, replay_into, take_up};
use crate::webhook::Webhook;
use crate::{outbox, webhooks};

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    /// Accounts are on plans that the configuration lacks.
    #[error(transparent)]
    PlansMissing(#[from] PlansMissing),
    /// What is kept of a resource makes no sense.
    #[error("{what} {id} in the store makes no sense: {why}")]
    Resource {
        /// The kind of resource.
        what: &'static str,
        /// Its id.
        id: String,
        /// What is wrong.
        why: String,
    },
    /// The ledger contradicts itself.
    #[error("the ledger contradicts itself")]
    Ledger(#[from] LedgerFault),
}

impl Engine {
    /// Opens the store and takes up everything where the last process left it.
    ///
    /// # Errors
    ///
    /// [`BootError`]: nothing was changed but what the store does to recover itself.
    pub fn boot(
        path: &Path,
        options: Options,
        settings: EngineSettings,
        policy: Policy,
        names: LimitNames,
        clock: Clock,
    ) -> Result<Arc<Self>, BootError> {
        let (store, loaded) = Store::open(path, options)?;
        let policy = policy.numbered(PolicyNumber(1));
        let journal = Journal::new(store, loaded.last_seq);
        let engine = Self::assemble(clock, settings, policy, names, journal);
        engine.skip_ids(loaded.last_event.0);
        engine.load_accounts(&loaded)?;
        engine.load_keys(&loaded)?;
        engine.load_boosts(&loaded)?;
        engine.load_admin_keys(&loaded)?;
        engine.load_webhooks(&loaded)?;
        engine.load_wallets(&loaded)?;
        engine.load_holds(&loaded)?;
        engine.load_auto_top_ups(&loaded)?;
        engine.load_windows(&loaded.windows);
        engine.rebuild_usage(&loaded)?;
        engine.charge_interrupted(loaded.checkpoints);
        Ok(Arc::new(engine))
    }

    fn load_accounts(&self, loaded: &Loaded) -> Result<(), BootError> {
        let mut records = Vec::new();
        loaded.resources(kind::ACCOUNT, |resource| records.push((resource.id, resource.body)))?;
        let policy = self.policy();
        let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (id, body) in records {
            let id = AccountId(id);
            self.skip_ids(id.0);
            let record: AccountRecord = read("account", id, &body)?;
            if policy.plan(&record.plan).is_none() {
                missing.entry(record.plan).or_default().push(format!("{id} ({})", record.name));
                continue;
            }
            let cell =
                self.account_cell(id, record).map_err(|why| senseless("account", id, why))?;
            self.list(&cell);
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(PlansMissing::told(missing).into())
    }

    fn load_keys(&self, loaded: &Loaded) -> Result<(), BootError> {
        let mut records = Vec::new();
        loaded.resources(kind::KEY, |resource| records.push(resource))?;
        for resource in records {
            let id = KeyId(resource.id);
            self.skip_ids(id.0);
            let account = resource.account.and_then(|account| self.account(account));
            let Some(account) = account else { continue };
            let record: KeyRecord = read("key", id, &resource.body)?;
            let state =
                self.key_state(id, account.id, record).map_err(|why| senseless("key", id, why))?;
            self.install_key(&account, id, state);
        }
        Ok(())
    }

    fn load_boosts(&self, loaded: &Loaded) -> Result<(), BootError> {
        let mut records = Vec::new();
        loaded.resources(kind::BOOST, |resource| records.push(resource))?;
        for resource in records {
            let id = BoostId(resource.id);
            self.skip_ids(id.0);
            let account = resource.account.and_then(|account| self.account(account));
            let Some(account) = account else { continue };
            let record: BoostRecord = read("boost", id, &resource.body)?;
            let Some(boost) = record.boost(id) else { continue };
            let boosting = Boosting { id, account: account.id, record };
            self.install_boost(&account, boosting, boost);
        }
        Ok(())
    }

    fn load_webhooks(&self, loaded: &Loaded) -> Result<(), BootError> {
        let mut records = Vec::new();
        loaded.resources(webhooks::KIND, |resource| records.push(resource))?;
        for resource in records {
            let id = WebhookId(resource.id);
            self.skip_ids(id.0);
            let record = read("webhook", id, &resource.body)?;
            self.webhooks.put(Webhook { id, account: resource.account, record });
        }
        loaded.resources(outbox::KIND, |resource| self.load_outbox(&resource.body))?;
        Ok(())
    }

    fn load_admin_keys(&self, loaded: &Loaded) -> Result<(), BootError> {
        let mut records = Vec::new();
        loaded.resources(operators::KIND, |resource| records.push((resource.id, resource.body)))?;
        for (id, body) in records {
            self.skip_ids(id);
            self.install_admin_key(id, read("admin key", AdminKeyId(id), &body)?);
        }
        Ok(())
    }

    fn load_wallets(&self, loaded: &Loaded) -> Result<(), BootError> {
        for snapshot in &loaded.wallets {
            let Some(cell) = self.account(snapshot.account) else { continue };
            let row: WalletRow = read("wallet", snapshot.account, &snapshot.state)?;
            take_up(&mut cell.live.lock(), &row, snapshot.as_of)?;
        }
        for entry in loaded.tail() {
            let entry = entry?;
            if let Some(cell) = self.account(entry.account) {
                self.replay(&cell, &entry)?;
            }
        }
        for cell in self.all_accounts() {
            let mut live = cell.live.lock();
            let now = live.account.observe(self.now());
            self.settle_levels(&mut live, now, false);
        }
        Ok(())
    }

    fn replay(&self, cell: &Arc<AccountCell>, entry: &Entry) -> Result<(), BootError> {
        let mut live = cell.live.lock();
        if entry.seq <= live.last_entry {
            return Ok(());
        }
        replay_into(&mut live, entry)?;
        drop(live);
        self.touch(cell);
        Ok(())
    }

    /// When a window was last seen to begin, if that lies ahead: the wall clock was set back while
    /// nothing ran. Books do not tell: their time stands still until the clock has caught up.
    fn ahead(&self, windows: &[(WindowKey, WindowState)]) -> Option<Timestamp> {
        let last = windows.iter().map(|(_, state)| Timestamp::from_micros(state.a)).max()?;
        let now = self.now();
        let ahead = last > now.plus(CLOCK_TOLERANCE);
        if ahead {
            let by_s = last.since(now).secs_ceil();
            tracing::warn!(by_s, "the clock was set back: limits go on where they stood");
        }
        ahead.then_some(last)
    }

    /// Takes up windows under the rules that hold now. One that was counted by another kind of
    /// rule is carried over; of several of one limit the one counts that says the most. Where the
    /// clock was set back, each has as long to go as it had when the last one was written; they
    /// are written at once and nothing else stays, so that no later start moves them again.
    fn load_windows(&self, windows: &[(WindowKey, WindowState)]) {
        let (now, ahead) = (self.now(), self.ahead(windows));
        for (key, state) in windows {
            let Some((name, counted)) = counted::read(&key.name) else { continue };
            let Some(cell) = self.account(key.account) else { continue };
            let owner = key.key.map_or(Owner::Account, Owner::Key);
            let mut live = cell.live.lock();
            let Some((limit, rule)) = live.rule(owner, name) else { continue };
            let bits = [state.a, state.b, state.c].map(i64::cast_unsigned);
            let mut window = Window::from_bits(bits);
            if Counted::by(&rule) != counted {
                let Some(old) = counted.rule(&rule) else { continue };
                if let Some(ahead) = ahead {
                    window = old.rebase(&window, ahead, now);
                }
                window = rule.carry_over(&old, &window, now);
            } else if let Some(ahead) = ahead {
                window = rule.rebase(&window, ahead, now);
            }
            let slot = Slot { owner, limit };
            let used = |window| rule.snapshot(window, now).used;
            if used(&window) > used(&live.account.windows.at(slot)) {
                live.account.windows.put(slot, window);
            }
        }
        if ahead.is_some() {
            self.write_windows_anew(windows);
        }
    }

    /// Counts the charges that the ledger has and the roll-ups lost in a crash.
    fn rebuild_usage(&self, loaded: &Loaded) -> Result<(), BootError> {
        let policy = self.policy();
        let mut turn = self.journal.turn();
        for entry in loaded.entries_after(loaded.usage_applied) {
            let entry = entry?;
            turn.recount(&policy, &entry);
        }
        Ok(())
    }
}

impl AccountCell {
    /// When the account was made.
    pub fn created_at(&self) -> Timestamp {
        Timestamp::from_micros(self.record.load().created_at_us)
    }

    /// The last entry of its ledger; zero if it has none.
    pub fn last_entry(&self) -> Seq {
        self.live.lock().last_entry
    }
}

fn read<T: serde::de::DeserializeOwned>(
    what: &'static str,
    id: impl std::fmt::Display,
    body: &str,
) -> Result<T, BootError> {
    serde_json::from_str(body).map_err(|why| BootError::Resource {
        what,
        id: id.to_string(),
        why: why.to_string(),
    })
}

fn senseless(
    what: &'static str,
    id: impl std::fmt::Display,
    why: impl std::fmt::Display,
) -> BootError {
    BootError::Resource { what, id: id.to_string(), why: why.to_string() }
}

/// How far ahead of the clock an instant may lie that was written down before the start: clocks
/// are set back by as much now and then.
const CLOCK_TOLERANCE: Span = Span::from_secs(5);
