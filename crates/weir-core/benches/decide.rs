//! What one decision costs in one thread with everything in cache: each algorithm by itself, and
//! an account's whole decision with one limit and with four. `cargo bench -p weir-core`.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use weir_core::account::Account;
use weir_core::admit::Ask;
use weir_core::entitlement::Entitlement;
use weir_core::id::{AccountId, KeyId, PolicyNumber};
use weir_core::limit::{Algorithm, Period, Rule, Terms};
use weir_core::money::Nano;
use weir_core::names::LimitNames;
use weir_core::operation::{RouteIndex, RoutePattern};
use weir_core::plan::{Billing, Limit, Plan, Target};
use weir_core::policy::{
    CacheMode, OnDisconnect, OnExhausted, OnLowBalance, OnMissingUsage, Policy, PolicyParts, Route,
    RoutePrice, UsageSource,
};
use weir_core::time::{Span, Timestamp};
use weir_core::window::Window;

fn algorithms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check and take");
    for algorithm in ALGORITHMS {
        let Ok(rule) = rule(algorithm) else { continue };
        group.bench_function(algorithm.name(), |bencher| {
            let (mut window, mut now) = (Window::default(), START);
            bencher.iter(|| {
                now = now.plus(Span::from_micros(1));
                let passes = rule.check(&window, black_box(1), false, now).is_ok();
                let taken = rule.take(&mut window, 1, now);
                if algorithm == Algorithm::Concurrency {
                    rule.give_back(&mut window, taken, now);
                }
                passes
            });
        });
    }
    group.finish();
}

fn admission(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit");
    for count in [1, ALGORITHMS.len()] {
        let Ok((policy, mut account)) = house(count) else { continue };
        let Some(route) = policy.route(RouteIndex(0)) else { continue };
        let ask = Ask {
            index: RouteIndex(0),
            route,
            key: KeyId(1),
            key_limits: &[],
            model: None,
            urgent: false,
            tokens: 0,
            worth: Nano::ZERO,
            hold: None,
        };
        let mut now = START;
        group.bench_function(format!("{count} limits, granted and given back"), |bencher| {
            bencher.iter(|| {
                now = now.plus(Span::from_micros(1));
                let granted = account.admit(black_box(&ask), now);
                granted.map(|grant| account.void(grant, &ask, now)).is_ok()
            });
        });
    }
    group.finish();
}

fn rule(algorithm: Algorithm) -> Result<Rule, Box<dyn Error>> {
    Ok(Rule::new(Terms { algorithm, ..Terms::new(Some(1 << 50), Period::MINUTE) })?)
}

fn house(count: usize) -> Result<(Policy, Account), Box<dyn Error>> {
    let mut names = LimitNames::default();
    let limits = ALGORITHMS.into_iter().take(count).map(|algorithm| {
        let (id, name) = names.intern(algorithm.name());
        Ok(Limit { id, name, target: Target::All, rule: rule(algorithm)? })
    });
    let plan = Plan {
        name: "p".into(),
        billing: Billing::None,
        endpoint_multiplier_ppm: 1_000_000,
        limits: limits.collect::<Result<_, Box<dyn Error>>>()?,
        key_limits: BTreeMap::new(),
        alerts: Vec::new(),
    };
    let route = Route {
        pattern: RoutePattern::parse("POST /chat")?,
        upstream: "u".into(),
        class: "ai".into(),
        scope: None,
        limits: Vec::new(),
        weight: 1,
        usage: UsageSource::None,
        price: RoutePrice::Free,
        hold_output_tokens: 1,
        min_output_tokens: 1,
        on_low_balance: OnLowBalance::Refuse,
        on_exhausted: OnExhausted::Stop,
        on_missing_usage: OnMissingUsage::Estimate,
        on_disconnect: OnDisconnect::Stop,
        cache: CacheMode::Off,
    };
    let parts = PolicyParts { routes: vec![route], plans: vec![plan], ..PolicyParts::default() };
    let policy = Policy::new(PolicyNumber(1), parts)?;
    let plan = Arc::clone(policy.plan("p").ok_or("the plan is there")?);
    let terms = Arc::new(Entitlement::new(&policy, plan, &[], &[], START));
    Ok((policy, Account::new(AccountId(1), terms)))
}

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
    Algorithm::TokenBucket,
    Algorithm::Concurrency,
];

criterion_group!(decide, algorithms, admission);
criterion_main!(decide);
