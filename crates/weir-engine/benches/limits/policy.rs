//! A policy with one route and a plan with so many limits that all count its calls.

use std::collections::BTreeMap;
use std::error::Error;

use weir_core::id::PolicyNumber;
use weir_core::limit::{Algorithm, Period, Rule, Terms, Unit};
use weir_core::names::LimitNames;
use weir_core::operation::RoutePattern;
use weir_core::plan::{Billing, Limit, Plan, Target};
use weir_core::policy::{
    CacheMode, OnDisconnect, OnExhausted, OnLowBalance, OnMissingUsage, Policy, PolicyParts, Route,
    RoutePrice, UsageSource,
};

/// The limits of the plan, the first so many of which are in it: requests of a class in fixed
/// windows, its tokens in a bucket, all requests in fixed windows of a day and sliding ones of an hour.
pub(crate) fn with_limits(
    count: usize,
    first: Period,
    names: &mut LimitNames,
) -> Result<Policy, Box<dyn Error>> {
    let class = || Target::Class("ai".into());
    let all = [
        ("ai", class(), Terms::new(Some(QUOTA), first)),
        (
            "ai.tokens",
            class(),
            Terms {
                algorithm: Algorithm::TokenBucket,
                unit: Unit::Tokens,
                ..Terms::new(Some(QUOTA), Period::MINUTE)
            },
        ),
        ("all", Target::All, Terms::new(Some(QUOTA), Period::DAY)),
        (
            "all.hour",
            Target::All,
            Terms { algorithm: Algorithm::SlidingWindow, ..Terms::new(Some(QUOTA), Period::HOUR) },
        ),
    ];
    let limits = all.into_iter().take(count).map(|(name, target, terms)| {
        let (id, name) = names.intern(name);
        Ok(Limit { id, name, target, rule: Rule::new(terms)? })
    });
    let plan = Plan {
        name: PLAN.into(),
        billing: Billing::None,
        endpoint_multiplier_ppm: 1_000_000,
        limits: limits.collect::<Result<_, Box<dyn Error>>>()?,
        key_limits: BTreeMap::new(),
        alerts: Vec::new(),
    };
    let parts = PolicyParts { routes: vec![route()?], plans: vec![plan], ..PolicyParts::default() };
    Ok(Policy::new(PolicyNumber(1), parts)?)
}

fn route() -> Result<Route, Box<dyn Error>> {
    Ok(Route {
        pattern: RoutePattern::parse("POST /chat")?,
        upstream: "models".into(),
        class: "ai".into(),
        scope: None,
        limits: Vec::new(),
        weight: 1,
        usage: UsageSource::OpenAi,
        price: RoutePrice::Free,
        hold_output_tokens: 100,
        min_output_tokens: 1,
        on_low_balance: OnLowBalance::Refuse,
        on_exhausted: OnExhausted::Stop,
        on_missing_usage: OnMissingUsage::Estimate,
        on_disconnect: OnDisconnect::Stop,
        cache: CacheMode::Off,
    })
}

/// Units per window: so many that what is measured is passing.
pub(crate) const QUOTA: u64 = 1 << 50;
/// The name of the plan.
pub(crate) const PLAN: &str = "p";
