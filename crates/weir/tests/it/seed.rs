//! Accounts and keys in a store, and what a store says after its process is gone.

use std::path::Path;
use std::sync::Arc;

use weir_core::id::{PolicyNumber, Seq};
use weir_core::ledger::Entry;
use weir_core::limit::Rule;
use weir_core::names::LimitNames;
use weir_core::plan::{Billing, Plan};
use weir_core::policy::{Policy, PolicyParts};
use weir_core::time::Timestamp;
use weir_core::window::Window;
use weir_engine::accounts::NewAccount;
use weir_engine::clock::Clock;
use weir_engine::credit::NewCredit;
use weir_engine::engine::{Engine, EngineSettings};
use weir_engine::keys::NewKey;
use weir_engine::record::SpendCapRecord;
use weir_store::store::{Options, Store};
use weir_store::usage::WindowKey;

/// An account that a test wants.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) plan: &'static str,
    /// Paid in, if anything.
    pub(crate) credit: Option<&'static str>,
    pub(crate) key: KeyWish,
}

/// What its key may do.
#[derive(Clone, Copy)]
pub(crate) struct KeyWish {
    pub(crate) kind: &'static str,
    pub(crate) scopes: Option<&'static [&'static str]>,
    pub(crate) allowed_ips: Option<&'static [&'static str]>,
    pub(crate) models: Option<&'static [&'static str]>,
    pub(crate) urgency: Option<&'static str>,
    /// Limits of its own: `all` and `concurrency` are known to every policy.
    pub(crate) limits: &'static [(&'static str, &'static str)],
    pub(crate) spend_cap: Option<&'static str>,
}

impl Wish {
    /// The same with another key.
    pub(crate) const fn with(self, key: KeyWish) -> Self {
        Self { key, ..self }
    }
}

/// A key that may do everything.
pub(crate) const ANY_KEY: KeyWish = KeyWish {
    kind: "read_write",
    scopes: None,
    allowed_ips: None,
    models: None,
    urgency: None,
    limits: &[],
    spend_cap: None,
};

/// An account on a plan, with nothing in its wallet.
pub(crate) const fn on(plan: &'static str) -> Wish {
    Wish { plan, credit: None, key: ANY_KEY }
}

/// An account on a plan, with credit.
pub(crate) const fn paying(plan: &'static str, credit: &'static str) -> Wish {
    Wish { plan, credit: Some(credit), key: ANY_KEY }
}

/// Makes the accounts in a store that no process has open, each with a key that may do everything;
/// gives back the keys.
pub(crate) fn seed(folder: &Path, wishes: &[Wish]) -> Vec<String> {
    let plans = wishes.iter().map(|wish| Plan {
        name: wish.plan.into(),
        billing: Billing::None,
        endpoint_multiplier_ppm: 1_000_000,
        limits: Vec::new(),
        key_limits: std::collections::BTreeMap::new(),
        alerts: Vec::new(),
    });
    let parts = PolicyParts { plans: plans.collect(), ..PolicyParts::default() };
    let policy = Policy::new(PolicyNumber(1), parts).expect("a policy");
    let settings = EngineSettings { key_prefix: "weir".to_owned(), currency: "USD".to_owned() };
    let names = LimitNames::default();
    let engine =
        Engine::boot(folder, Options::default(), settings, policy, names, Clock::running())
            .expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let secrets = runtime.block_on(async {
        let mut secrets = Vec::new();
        for wish in wishes {
            secrets.push(open(&engine, wish).await);
        }
        secrets
    });
    engine.close();
    secrets
}

async fn open(engine: &Arc<Engine>, wish: &Wish) -> String {
    let (name, plan) = (wish.plan.to_owned(), wish.plan.to_owned());
    let new = NewAccount { name, plan, ..NewAccount::default() };
    let account = engine.create_account(new).await.expect("an account");
    if let Some(credit) = wish.credit {
        let credit = NewCredit::paid(credit.parse().expect("an amount"), "seed");
        engine.post_credit(&account, &credit).await.expect("credit");
    }
    let KeyWish { kind, scopes, allowed_ips, models, urgency, limits, spend_cap } = wish.key;
    let list = |list: Option<&[&str]>| list.map(|l| l.iter().map(ToString::to_string).collect());
    let limits = limits.iter().map(|(name, rule)| ((*name).to_owned(), (*rule).into()));
    let cap = |amount: &str| SpendCapRecord { amount: amount.to_owned(), period: None };
    let key = NewKey {
        name: "test".to_owned(),
        kind: kind.to_owned(),
        scopes: list(scopes),
        allowed_ips: list(allowed_ips),
        models: list(models),
        urgency: urgency.map(str::to_owned),
        limits: limits.collect(),
        spend_cap: spend_cap.map(cap),
        ..NewKey::default()
    };
    let made = engine.create_key(account.id, key).await.expect("a key");
    made.secret.expect("a secret")
}

/// Every entry of the ledger of a store that no process has open, oldest first; the ledger is
/// verified on the way.
pub(crate) fn ledger(folder: &Path) -> Vec<Entry> {
    weir_store::verify::verify(folder).expect("a sound ledger");
    let (store, _loaded) = Store::open(folder, Options::default()).expect("a store");
    let entries = store.reader().entries_after(Seq(0), 1_000_000).expect("entries");
    store.close();
    entries
}

/// How much of an account's limit, of this rule, a store knows to be used that a process has open:
/// what the next one would find if that were killed now.
pub(crate) fn stored_use(folder: &Path, name: &str, rule: &Rule) -> u64 {
    let copy = tempfile::tempdir().expect("a folder");
    for file in std::fs::read_dir(folder).expect("the store is there") {
        let file = file.expect("a file");
        if file.file_name() == "ballast" {
            continue;
        }
        // The log may go while it is copied.
        let _ = std::fs::copy(file.path(), copy.path().join(file.file_name()));
    }
    // Files that were copied while they were written need not make a store: nothing is known then.
    let options = Options { ballast_bytes: 4_096, ..Options::default() };
    let Ok((_store, loaded)) = Store::open(copy.path(), options) else { return 0 };
    let named =
        |key: &WindowKey| key.key.is_none() && key.name.split('\u{1f}').next() == Some(name);
    let found = loaded.windows.iter().find(|(key, _)| named(key));
    found.map_or(0, |(_, state)| {
        let bits = [state.a, state.b, state.c].map(i64::cast_unsigned);
        let window = Window::from_bits(bits);
        rule.snapshot(&window, Timestamp::from_micros(state.a)).used
    })
}
