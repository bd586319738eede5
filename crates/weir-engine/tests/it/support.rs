//! An engine with one charged route, an account and a key.

use std::path::Path;
use std::sync::Arc;

use weir_core::id::PolicyNumber;
use weir_core::money::Nano;
use weir_core::names::LimitNames;
use weir_core::operation::{RouteIndex, RoutePattern};
use weir_core::plan::{Billing, Plan};
use weir_core::policy::{
    CacheMode, OnDisconnect, OnExhausted, OnLowBalance, OnMissingUsage, Policy, PolicyParts, Route,
    RoutePrice, UsageSource,
};
use weir_core::price::{Bound, Price, PriceBook, Rates};
use weir_core::time::{Span, Timestamp};
use weir_core::usage::{Meter, Usage};
use weir_engine::accounts::NewAccount;
use weir_engine::call::{Admission, Wanted};
use weir_engine::cell::{AccountCell, KeyCell};
use weir_engine::clock::Clock;
use weir_engine::credit::NewCredit;
use weir_engine::engine::{Engine, EngineSettings};
use weir_engine::keys::NewKey;
use weir_engine::ticket::{Outcome, Settled, Ticket};
use weir_store::fault::Faults;
use weir_store::op::Event;
use weir_store::store::Options;

/// When tests begin: 2026-03-01.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_772_323_200);

pub(crate) fn nano(text: &str) -> Nano {
    text.parse().unwrap()
}

/// Blocks on a future of the engine.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// A policy with a plan `payg` whose one route charges the price of the model.
pub(crate) fn policy(prices: &[(&str, &str)], alerts: &[&str]) -> Policy {
    let prices = prices.iter().map(|(name, rate)| {
        let rates = Rates::default()
            .with(Meter::Request, "0".parse().unwrap())
            .with(Meter::OutputTokens, rate.parse().unwrap());
        Price::new(name, rates, Vec::new()).unwrap()
    });
    let plan = |name: &str, billing| Plan {
        name: name.into(),
        billing,
        endpoint_multiplier_ppm: 1_000_000,
        limits: Vec::new(),
        key_limits: Default::default(),
        alerts: alerts.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let route = Route {
        pattern: RoutePattern::parse("POST /chat").unwrap(),
        upstream: "models".into(),
        class: "ai".into(),
        scope: None,
        limits: Vec::new(),
        weight: 1,
        usage: UsageSource::OpenAi,
        price: RoutePrice::ByModel,
        hold_output_tokens: 100,
        min_output_tokens: 1,
        on_low_balance: OnLowBalance::Refuse,
        on_exhausted: OnExhausted::Stop,
        on_missing_usage: OnMissingUsage::Estimate,
        on_disconnect: OnDisconnect::Stop,
        cache: CacheMode::Off,
    };
    let parts = PolicyParts {
        routes: vec![route],
        plans: vec![plan("payg", Billing::Wallet), plan("free", Billing::None)],
        models: Vec::new(),
        prices: PriceBook::new(prices).unwrap(),
    };
    Policy::new(PolicyNumber(1), parts).unwrap()
}

/// Opens the engine in a folder as it was left, at a time.
pub(crate) fn boot(path: &Path, at: Timestamp, faults: Option<Arc<Faults>>) -> Arc<Engine> {
    boot_with(path, at, faults, policy(&[("m", "1")], &["5", "20%"]))
}

pub(crate) fn boot_with(
    path: &Path,
    at: Timestamp,
    faults: Option<Arc<Faults>>,
    policy: Policy,
) -> Arc<Engine> {
    let options = Options { ballast_bytes: 64 << 10, faults, ..Options::default() };
    let settings = EngineSettings { key_prefix: "weir".into(), currency: "USD".into() };
    Engine::boot(path, options, settings, policy, LimitNames::default(), Clock::manual(at)).unwrap()
}

pub(crate) fn account(engine: &Engine, plan: &str, credit: &str) -> Arc<AccountCell> {
    let new = NewAccount { name: "A".into(), plan: plan.into(), ..NewAccount::default() };
    let cell = wait(engine.create_account(new)).unwrap();
    if credit != "0" {
        top_up(engine, &cell, credit);
    }
    cell
}

#[track_caller]
pub(crate) fn top_up(engine: &Engine, cell: &Arc<AccountCell>, amount: &str) {
    wait(engine.post_credit(cell, &NewCredit::paid(nano(amount), "test"))).unwrap();
}

pub(crate) fn key(engine: &Engine, cell: &AccountCell) -> Arc<KeyCell> {
    let new = NewKey { name: "k".into(), kind: "read_write".into(), ..NewKey::default() };
    wait(engine.create_key(cell.id, new)).unwrap().key
}

/// Asks for a call of model `m` with an output bound.
pub(crate) fn admit(engine: &Arc<Engine>, key: &Arc<KeyCell>, output: u64) -> Admission {
    engine.admit(&Wanted {
        policy: &engine.policy(),
        index: RouteIndex(0),
        key,
        state: &key.state.load_full(),
        model: Some("m"),
        urgent: false,
        request_id: "call",
        stream: false,
        bound: Bound::text(0, output),
        output_max: Some(output),
    })
}

#[track_caller]
pub(crate) fn granted(engine: &Arc<Engine>, key: &Arc<KeyCell>, output: u64) -> Ticket {
    match admit(engine, key, output) {
        Admission::Granted(mut ticket) => {
            ticket.sent();
            ticket
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn settle(ticket: Ticket, output: u64) -> Settled {
    let reported = Some(Usage::NONE.with(Meter::OutputTokens, output));
    ticket.settle(&Outcome { reported, status: 200, ..Outcome::default() }).unwrap()
}

/// A call that is held for and charged in full, and durable.
#[track_caller]
pub(crate) fn call(engine: &Arc<Engine>, key: &Arc<KeyCell>, output: u64) {
    let settled = settle(granted(engine, key, output), output);
    settled.commit.unwrap().wait().unwrap();
}

/// What a crash leaves: the files as they are.
pub(crate) fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Moves the clock.
pub(crate) fn pass(engine: &Engine, secs: i64) {
    engine.clock().set(engine.now().plus(Span::from_secs(secs)));
}

/// The events of an account that were told, oldest first.
pub(crate) fn events(engine: &Engine, cell: &AccountCell) -> Vec<Event> {
    let reader = engine.store_reader();
    reader.events(Some(cell.id), Default::default(), 1_000).unwrap()
}

pub(crate) fn kinds(engine: &Engine, cell: &AccountCell, prefix: &str) -> Vec<String> {
    let all = events(engine, cell).into_iter().map(|event| event.kind.to_string());
    all.filter(|kind| kind.starts_with(prefix)).collect()
}
