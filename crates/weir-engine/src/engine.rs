//! The live state of everything: policy, accounts and keys in memory, the journal behind them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use weir_core::entitlement::Entitlement;
use weir_core::id::{AccountId, EventId, KeyId, PolicyNumber};
use weir_core::money::Nano;
use weir_core::names::LimitNames;
use weir_core::plan::Boost;
use weir_core::policy::Policy;
use weir_core::price::Period;
use weir_core::time::{Span, Timestamp};
use weir_core::usage::Usage;
use weir_store::health::StoreHealth;

use crate::alarm::Alarms;
use crate::boosting::BoostEdges;
use crate::cell::{AccountCell, KeyCell, KeyState, Live};
use crate::clock::Clock;
use crate::guard::Guard;
use crate::journal::Journal;
use crate::meters::Meters;
use crate::open_hold::OpenHolds;
use crate::operator::AdminKeys;
use crate::retention::UsageRetention;
use crate::running::RunningCalls;
use crate::secret::{SecretDigest, is_surely_wrong};
use crate::tally::Tallies;
use crate::watch::{Ended, Watchers};
use crate::webhook::Webhooks;

/// The live state of everything.
#[derive(Debug)]
pub struct Engine {
    pub(crate) clock: Clock,
    pub(crate) settings: EngineSettings,
    /// How long changes stay in the audit log.
    pub(crate) audit_kept_us: AtomicI64,
    usage_kept: Mutex<UsageRetention>,
    pub(crate) policy: ArcSwap<Policy>,
    /// The present policy, and earlier ones until what their calls counted is written.
    pub(crate) policies: Mutex<BTreeMap<PolicyNumber, Arc<Policy>>>,
    pub(crate) names: Mutex<LimitNames>,
    /// What accounts without own values and boosts share, by plan, for the present policy.
    shared: Mutex<SharedEntitlements>,
    pub(crate) keys: papaya::HashMap<SecretDigest, Arc<KeyCell>>,
    pub(crate) key_ids: papaya::HashMap<KeyId, Arc<KeyCell>>,
    pub(crate) accounts: papaya::HashMap<AccountId, Arc<AccountCell>>,
    /// Accounts by the ids that their operator has for them.
    pub(crate) external_ids: papaya::HashMap<Box<str>, AccountId>,
    pub(crate) journal: Journal,
    pub(crate) running: RunningCalls,
    pub(crate) tallies: Tallies,
    pub(crate) watchers: Watchers,
    pub(crate) dirty: Mutex<Vec<Arc<AccountCell>>>,
    /// Changes through the API take turns: each is checked, made durable, then shown.
    pub(crate) changes: tokio::sync::Mutex<()>,
    /// When the process began: what was in progress before is not any more.
    pub(crate) started_at: Timestamp,
    pub(crate) webhooks: Webhooks,
    /// Whether the process ends, so that nobody waits for what will not come.
    pub(crate) ending: tokio::sync::watch::Sender<bool>,
    /// The last event that has become deliveries.
    pub(crate) outbox: tokio::sync::Mutex<EventId>,
    pub(crate) alarms: Alarms,
    pub(crate) open_holds: OpenHolds,
    pub(crate) boost_edges: BoostEdges,
    pub(crate) admin_keys: AdminKeys,
    /// What is written behind is written by one thread at a time.
    pub(crate) behind: Mutex<()>,
    /// Up to which one early payment events were looked through.
    pub(crate) early_payments_swept: AtomicU64,
    guard: Guard,
    last_id: AtomicU64,
    debt_nano: AtomicU64,
    meters: Meters,
}

/// The policy they are worked out from, and the entitlements by plan.
type SharedEntitlements = (PolicyNumber, HashMap<Arc<str>, Arc<Entitlement>>);
/// Why a caller is not identified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unidentified {
    /// There is no such key.
    Unknown,
    /// There is none either, and the address has failed too often to be told; next after this time.
    TooMany(Span),
}

/// What the engine is told at start.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// What key secrets begin with.
    pub key_prefix: String,
    /// The currency of all money, ISO 4217.
    pub currency: String,
}

impl Engine {
    pub(crate) fn assemble(
        clock: Clock,
        settings: EngineSettings,
        policy: Policy,
        names: LimitNames,
        journal: Journal,
    ) -> Self {
        let number = policy.number();
        let policy = Arc::new(policy);
        let started_at = clock.now();
        Self {
            clock,
            started_at,
            settings,
            audit_kept_us: AtomicI64::new(AUDIT_KEPT.micros()),
            usage_kept: Mutex::default(),
            policies: Mutex::new(BTreeMap::from([(number, Arc::clone(&policy))])),
            policy: ArcSwap::new(policy),
            names: Mutex::new(names),
            shared: Mutex::new((number, HashMap::new())),
            keys: papaya::HashMap::new(),
            key_ids: papaya::HashMap::new(),
            accounts: papaya::HashMap::new(),
            external_ids: papaya::HashMap::new(),
            journal,
            running: RunningCalls::default(),
            tallies: Tallies::default(),
            watchers: Watchers::default(),
            dirty: Mutex::default(),
            changes: tokio::sync::Mutex::default(),
            webhooks: Webhooks::default(),
            ending: tokio::sync::watch::Sender::new(false),
            outbox: tokio::sync::Mutex::default(),
            alarms: Alarms::default(),
            open_holds: OpenHolds::default(),
            boost_edges: BoostEdges::default(),
            admin_keys: AdminKeys::default(),
            behind: Mutex::default(),
            early_payments_swept: AtomicU64::new(0),
            guard: Guard::default(),
            last_id: AtomicU64::new(0),
            debt_nano: AtomicU64::new(0),
            meters: Meters::default(),
        }
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock that everything is stamped by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Reads what is durable. All its functions block.
    pub fn store_reader(&self) -> weir_store::read::Reader {
        self.journal.store().reader()
    }

    /// What the operator decided.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The currency of all money, ISO 4217.
    pub fn currency(&self) -> &str {
        &self.settings.currency
    }

    /// Whether charges can be recorded.
    pub fn health(&self) -> StoreHealth {
        self.journal.store().health()
    }

    /// The key of that secret. A secret that is surely none of ours is refused without a lookup.
    pub fn identify(&self, secret: &str) -> Option<Arc<KeyCell>> {
        if is_surely_wrong(secret, &self.settings.key_prefix) {
            return None;
        }
        self.keys.pin().get(&SecretDigest::of(secret.as_bytes())).map(Arc::clone)
    }

    /// The key of that secret, for a caller at this address (behind trusted proxies).
    ///
    /// # Errors
    ///
    /// [`Unidentified`]: there is no such key. Whoever guesses is told so only so often; a key that
    /// exists is found however often others at its address have failed.
    pub fn identify_from(
        &self,
        secret: &str,
        address: IpAddr,
    ) -> Result<Arc<KeyCell>, Unidentified> {
        if let Some(key) = self.identify(secret) {
            return Ok(key);
        }
        Err(match self.guard.fail(address, self.now()) {
            Ok(()) => Unidentified::Unknown,
            Err(wait) => Unidentified::TooMany(wait),
        })
    }

    /// How many keys that do not exist an address may send per minute before it is told to wait.
    pub fn allow_failed_keys(&self, per_minute: u32) {
        self.guard.allow(per_minute);
    }

    /// How long usage is kept from now on.
    pub fn keep_usage(&self, retention: UsageRetention) {
        *self.usage_kept.lock() = retention;
    }

    /// How long usage is kept.
    pub fn usage_kept(&self) -> UsageRetention {
        *self.usage_kept.lock()
    }

    /// The account of that id.
    pub fn account(&self, id: AccountId) -> Option<Arc<AccountCell>> {
        self.accounts.pin().get(&id).map(Arc::clone)
    }

    /// The key of that id.
    pub fn key(&self, id: KeyId) -> Option<Arc<KeyCell>> {
        self.key_ids.pin().get(&id).map(Arc::clone)
    }

    /// Tells every change of [`Self::health`].
    pub fn watch_health(&self) -> tokio::sync::watch::Receiver<StoreHealth> {
        self.journal.store().watch_health()
    }

    /// Every call as it ends, from now on. A watcher that lags far behind misses some.
    pub fn watch(&self) -> tokio::sync::broadcast::Receiver<Arc<Ended>> {
        self.watchers.watch()
    }

    /// What is counted for the operator's metrics.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// All debt that was ever taken on since the process started.
    pub fn debt_total(&self) -> Nano {
        Nano::new(i64::try_from(self.debt_nano.load(Ordering::Relaxed)).unwrap_or(i64::MAX))
    }

    pub(crate) fn count_debt(&self, debt: Nano) {
        self.debt_nano.fetch_add(debt.get().max(0).unsigned_abs(), Ordering::Relaxed);
    }

    pub(crate) fn running(&self) -> &RunningCalls {
        &self.running
    }

    /// A new id: the time in milliseconds and a count within it, ascending, below 2^63.
    pub(crate) fn next_id(&self) -> u64 {
        let floor = self.id_at(self.now());
        let draw = |last: u64| Some(floor.max(last + 1));
        match self.last_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, draw) {
            Ok(last) | Err(last) => floor.max(last + 1),
        }
    }

    /// The first id that could be drawn at a time.
    pub(crate) fn id_at(&self, at: Timestamp) -> u64 {
        u64::try_from(at.millis()).unwrap_or(0) << ID_COUNT_BITS
    }

    /// No id up to this one is drawn again.
    pub(crate) fn skip_ids(&self, used: u64) {
        self.last_id.fetch_max(used, Ordering::Relaxed);
    }

    /// Brings what an account may do up to date: a new policy, a boost that began or ended.
    /// `false`: the account is gone.
    pub(crate) fn refresh(&self, cell: &AccountCell, live: &mut Live, clock: Timestamp) -> bool {
        if live.gone {
            return false;
        }
        let now = live.account.observe(clock);
        settle_line(live, now);
        let policy = self.policy.load();
        let at = live.account.window_time(now);
        if live.policy == policy.number() && at < live.account.entitlement.valid_until() {
            return true;
        }
        let record = cell.record.load();
        if live.policy != policy.number() && !live.own.is_empty() {
            live.own = self.own_limits_after(&record, &policy);
        }
        self.entitle(live, &policy, &record.plan, now);
        true
    }

    /// Puts an account on a plan of this policy, with its own values and boosts.
    pub(crate) fn entitle(&self, live: &mut Live, policy: &Policy, plan: &str, now: Timestamp) {
        // A policy that lacks a plan in use is never accepted; if it were, the old terms go on.
        let Some(plan) = policy.plan(plan) else { return };
        let at = live.account.window_time(now);
        live.boosts.retain(|(boost, _)| boost.until > at);
        let entitlement = if live.own.is_empty() && live.boosts.is_empty() {
            self.shared_entitlement(policy, plan, at)
        } else {
            let boosts: Vec<Boost> = live.boosts.iter().map(|(boost, _)| boost.clone()).collect();
            Arc::new(Entitlement::new(policy, Arc::clone(plan), &live.own, &boosts, at))
        };
        let was_charged = live.account.entitlement.is_charged();
        live.account.entitle(entitlement, now);
        self.settle_levels(live, now, !was_charged);
        live.policy = policy.number();
        for key in &live.keys {
            let state = key.state.load();
            let limits = live.account.entitlement.for_key(&state.key, &state.own);
            if limits != state.limits {
                live.account.entitle_key(key.id, &state.limits, &limits, now);
                key.state.store(Arc::new(KeyState { limits, ..KeyState::clone(&state) }));
            }
        }
    }

    /// Brings the alert thresholds of an account up to date.
    pub(crate) fn settle_levels(&self, live: &mut Live, now: Timestamp, anew: bool) {
        let Live { account, levels, .. } = live;
        levels.settle(&account.entitlement.plan().alerts, &account.wallet, now, anew);
    }

    fn shared_entitlement(
        &self,
        policy: &Policy,
        plan: &Arc<weir_core::plan::Plan>,
        now: Timestamp,
    ) -> Arc<Entitlement> {
        let mut shared = self.shared.lock();
        if shared.0 != policy.number() {
            *shared = (policy.number(), HashMap::new());
        }
        let fresh = || Arc::new(Entitlement::new(policy, Arc::clone(plan), &[], &[], now));
        Arc::clone(shared.1.entry(Arc::clone(&plan.name)).or_insert_with(fresh))
    }

    /// Marks an account to be written behind.
    pub(crate) fn touch(&self, cell: &Arc<AccountCell>) {
        if !cell.dirty.swap(true, Ordering::AcqRel) {
            self.dirty.lock().push(Arc::clone(cell));
        }
    }

    /// What the account used of a price in the present billing period.
    pub(crate) fn totals(&self, live: &Live, price: Option<&str>, now: Timestamp) -> Usage {
        price.map_or(Usage::NONE, |price| live.totals.of(price, Period::Month.start(now)))
    }
}

/// Puts the credit line in force that holds at this time.
pub(crate) fn settle_line(live: &mut Live, now: Timestamp) {
    let (own, of_contract) = live.lines;
    let in_force = live.contract.as_ref().is_some_and(|contract| contract.is_in_force(now));
    let line = of_contract.filter(|_| in_force).unwrap_or(own);
    // Both were checked when they were taken.
    if line != live.account.wallet.credit_line()
        && live.account.wallet.set_credit_line(line).is_err()
    {
        tracing::error!("a credit line was accepted but does not fit the wallet");
    }
}

const ID_COUNT_BITS: u32 = 20;
/// How long changes stay in the audit log unless the operator says otherwise.
const AUDIT_KEPT: Span = Span::from_secs(400 * 86_400);
