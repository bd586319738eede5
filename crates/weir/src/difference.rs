//! What another configuration would change.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_core::limit::Rule;
use weir_core::policy::{Policy, Route};
use weir_core::price::{Multiplier, Tariff};
use weir_core::usage::Meter;
use weir_engine::engine::Engine;
use weir_gate::settings::UpstreamSettings;

use crate::setup::Kept;

/// What would change, as `weir config diff` and the admin API tell it.
pub(crate) fn difference(engine: &Engine, present: &Kept, other: &Kept, policy: &Policy) -> Value {
    let old = engine.policy();
    let missing = engine.check_plans(policy).err().map(|missing| missing.0).unwrap_or_default();
    json!({
        "applies": missing.is_empty(),
        "plans_missing": missing,
        "plans": names(old.plans().map(|plan| &*plan.name), policy.plans().map(|plan| &*plan.name)),
        "limits": limits(&old, policy, &engine.accounts_by_plan()),
        "prices": prices(&old, policy),
        "routes": routes(&old, policy),
        "upstreams": upstreams(&present.upstreams, &other.upstreams),
        "settings": settings(present, other),
        "needs_restart": needs_restart(present, other),
    })
}

/// What is reported and not applied before a restart.
pub(crate) fn needs_restart(present: &Kept, other: &Kept) -> Vec<&'static str> {
    let (one, two) = (&present.server, &other.server);
    let changes = [
        ("server.listen", one.front.listen != two.front.listen),
        ("server.admin_listen", one.admin_listen != two.admin_listen),
        ("server.tls", one.front.tls.is_some() != two.front.tls.is_some()),
        ("server.max_connections", one.front.connections_max != two.front.connections_max),
        ("server.max_headers", one.front.head != two.front.head),
        ("server.header_timeout", one.front.timeouts.head != two.front.timeouts.head),
        ("server.body_timeout", one.front.timeouts.body_idle != two.front.timeouts.body_idle),
        ("server.runtime", one.front.runtime != two.front.runtime),
        ("server.drain_timeout", one.drain_timeout != two.drain_timeout),
        ("store.path", present.store.path != other.store.path),
        ("store.on_store_failure", present.store.on_store_failure != other.store.on_store_failure),
        ("billing.currency", present.billing.currency != other.billing.currency),
        (
            "billing.stripe_webhook_secret",
            present.billing.stripe_webhook_secret != other.billing.stripe_webhook_secret,
        ),
        ("auth.key_prefix", present.auth.key_prefix != other.auth.key_prefix),
        ("auth.admin_key", present.auth.admin_key != other.auth.admin_key),
    ];
    changed(&changes)
}

fn settings(present: &Kept, other: &Kept) -> Vec<&'static str> {
    let (one, two) = (&present.server, &other.server);
    changed(&[
        ("server.public_url", one.public_url != two.public_url),
        ("server.support_url", one.support_url != two.support_url),
        ("server.api_prefix", one.api_prefix != two.api_prefix),
        ("server.trusted_proxies", one.trusted_proxies != two.trusted_proxies),
        ("server.max_body", one.max_body_bytes != two.max_body_bytes),
        ("store.audit_retention", present.store.audit_retention != other.store.audit_retention),
        ("store.usage_retention", present.store.usage_retention != other.store.usage_retention),
        ("billing.top_up_url", present.billing.top_up_url != other.billing.top_up_url),
        ("auth.headers", present.auth.headers != other.auth.headers),
        (
            "auth.failed_keys_per_minute",
            present.auth.failed_keys_per_minute != other.auth.failed_keys_per_minute,
        ),
    ])
}

fn changed(changes: &[(&'static str, bool)]) -> Vec<&'static str> {
    changes.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect()
}

fn names<'a>(old: impl Iterator<Item = &'a str>, new: impl Iterator<Item = &'a str>) -> Value {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (old.collect(), new.collect());
    json!({
        "added": new.difference(&old).collect::<Vec<_>>(),
        "removed": old.difference(&new).collect::<Vec<_>>(),
    })
}

fn upstreams(old: &[UpstreamSettings], new: &[UpstreamSettings]) -> Value {
    let name = |upstream: &UpstreamSettings| upstream.name.to_string();
    let (one, two): (Vec<_>, Vec<_>) =
        (old.iter().map(name).collect(), new.iter().map(name).collect());
    let mut told = names(one.iter().map(String::as_str), two.iter().map(String::as_str));
    let same_name =
        |new: &&UpstreamSettings| old.iter().any(|old| old.name == new.name && !old.is_same(new));
    told["changed"] = new.iter().filter(same_name).map(name).collect();
    told
}

/// Every limit of every plan and route, by where it stands.
fn rules(policy: &Policy) -> BTreeMap<(String, String), &Rule> {
    let of_plans = policy.plans().flat_map(|plan| {
        let limits = plan.limits.iter().chain(plan.key_limits.values().flatten());
        limits.map(|limit| ((plan.name.to_string(), limit.name.to_owned()), &limit.rule))
    });
    let of_routes = policy.routes().iter().flat_map(|route| {
        route.limits.iter().map(|limit| ((String::new(), limit.name.to_owned()), &limit.rule))
    });
    of_plans.chain(of_routes).collect()
}

fn limits(old: &Policy, new: &Policy, accounts: &BTreeMap<String, usize>) -> Vec<Value> {
    let (old, new) = (rules(old), rules(new));
    let places: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let told = places.into_iter().filter_map(|place| {
        let (from, to) = (old.get(place), new.get(place));
        if from == to {
            return None;
        }
        let (plan, limit) = place;
        let concerned = match plan.as_str() {
            "" => accounts.values().sum(),
            plan => accounts.get(plan).copied().unwrap_or_default(),
        };
        let direction = match (from, to) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(from), Some(to)) => match (from.quota(), to.quota()) {
                _ if from.terms().period != to.terms().period => "changed",
                (Some(from), Some(to)) if from < to => "up",
                (Some(from), Some(to)) if from > to => "down",
                (Some(_), None) => "up",
                (None, Some(_)) => "down",
                _ => "changed",
            },
        };
        let text = |rule: Option<&&Rule>| rule.map(|rule| rule.to_string());
        Some(json!({
            "plan": (!plan.is_empty()).then_some(plan), "limit": limit, "direction": direction,
            "from": text(from), "to": text(to), "accounts": concerned,
        }))
    });
    told.collect()
}

/// Every tariff by its price, its meter and the prompt length above which it holds.
fn tariffs(policy: &Policy) -> BTreeMap<(&str, Meter, Option<u64>), &Tariff> {
    let all = policy.prices().iter().flat_map(|price| {
        let long = price.long_contexts().iter().map(|long| (Some(long.above), &long.rates));
        std::iter::once((None, price.rates())).chain(long).flat_map(move |(above, rates)| {
            rates.iter().map(move |(meter, tariff)| ((price.name(), meter, above), tariff))
        })
    });
    all.collect()
}

/// Every rate that another policy changes.
pub(crate) fn prices(old: &Policy, new: &Policy) -> Vec<Value> {
    let (old, new) = (tariffs(old), tariffs(new));
    let places: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let told = places.into_iter().filter_map(|place| {
        let (from, to) = (old.get(place), new.get(place));
        if from == to {
            return None;
        }
        let (price, meter, above) = place;
        let of = |tariff: &Tariff| tariff.cumulative(*meter, COMPARED_UNITS, Multiplier::ONE);
        let direction = match (from, to) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(from), Some(to)) if of(from) < of(to) => "up",
            (Some(from), Some(to)) if of(from) > of(to) => "down",
            _ => "changed",
        };
        let text = |tariff: Option<&&Tariff>| {
            tariff.map(|tariff| {
                let tiers = tariff.tiers().iter();
                let amounts = tiers.map(|tier| Tariff::amount_text(*tier, Multiplier::ONE));
                amounts.collect::<Vec<_>>().join(", ")
            })
        };
        let above = above.map(|above| format!(" above {above}")).unwrap_or_default();
        let meter = format!("{}{above}", meter.name());
        Some(json!({
            "price": price, "meter": meter, "direction": direction,
            "from": text(from), "to": text(to),
        }))
    });
    told.collect()
}

fn routes(old: &Policy, new: &Policy) -> Value {
    let pattern = |route: &Route| route.pattern.as_str().to_owned();
    let (one, two): (Vec<_>, Vec<_>) =
        (old.routes().iter().map(pattern).collect(), new.routes().iter().map(pattern).collect());
    let mut told = names(one.iter().map(String::as_str), two.iter().map(String::as_str));
    let terms = |route: &Route| {
        let Route { upstream, class, scope, weight, usage, price, cache, .. } = route;
        format!("{upstream} {class} {scope:?} {weight} {usage:?} {price:?} {cache:?}")
    };
    let differs = |new: &&Route| {
        let same = old.routes().iter().find(|old| old.pattern.as_str() == new.pattern.as_str());
        same.is_some_and(|old| terms(old) != terms(new))
    };
    told["changed"] = new.routes().iter().filter(differs).map(pattern).collect();
    told
}

/// As many units as tell which of two prices is the higher one for a busy account.
const COMPARED_UNITS: u64 = 1_000_000_000;
