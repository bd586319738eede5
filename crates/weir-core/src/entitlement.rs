//! What one account may do today: its plan, its own values and the boosts that act now.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::key::{Key, KeyType};
use crate::plan::{Billing, Boost, BoostEffect, Limit, Plan, Target};
use crate::policy::{Policy, Route};
use crate::time::Timestamp;

/// What one account may do until [`Self::valid_until`].
///
/// Accounts without own values and boosts share the entitlement of their plan.
#[derive(Debug)]
pub struct Entitlement {
    plan: Arc<Plan>,
    routes: Vec<Box<[Applied]>>,
    models: Box<[Applied]>,
    listed: Box<[Applied]>,
    keys: BTreeMap<KeyType, Box<[Applied]>>,
    valid_until: Timestamp,
}

/// A limit as it applies to one account or key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applied {
    /// The limit with the rule that holds now.
    pub limit: Limit,
    /// Whether a boost acts on it.
    pub boosted: bool,
}

impl Entitlement {
    /// Works out what holds at `now`.
    pub fn new(
        policy: &Policy,
        plan: Arc<Plan>,
        own: &[Limit],
        boosts: &[Boost],
        now: Timestamp,
    ) -> Self {
        let acting: Vec<&Boost> = boosts.iter().filter(|boost| boost.acts(now)).collect();
        let base = with_own(&plan.limits, own, |limit| !matches!(limit.target, Target::Route(_)));
        let mut listed = Vec::new();
        let mut models = Vec::new();
        let mut general = Vec::new();
        for limit in &base {
            let applied = apply(limit, class_of(limit, policy), &acting);
            listed.push(applied.clone());
            match (&limit.target, applied.limit.rule.quota().is_none()) {
                (_, true) => {}
                (Target::Model(_), false) => models.push(applied),
                (_, false) => general.push(applied),
            }
        }
        let mut routes = Vec::with_capacity(policy.routes().len());
        for route in policy.routes() {
            let mut here: Vec<Applied> =
                general.iter().filter(|applied| counts(applied, route)).cloned().collect();
            for limit in route_limits(route, &plan, own, &base) {
                let applied = apply(&limit, Some(&route.class), &acting);
                listed.push(applied.clone());
                if applied.limit.rule.quota().is_some() {
                    here.push(applied);
                }
            }
            routes.push(here.into());
        }
        let keys = plan.key_limits.iter().map(|(kind, limits)| {
            let applied = limits.iter().map(|limit| apply(limit, class_of(limit, policy), &acting));
            (*kind, applied.collect())
        });
        Self {
            keys: keys.collect(),
            plan,
            routes,
            models: models.into(),
            listed: listed.into(),
            valid_until: next_change(boosts, now),
        }
    }

    /// The plan it comes from.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Whether calls are paid from the wallet.
    pub fn is_charged(&self) -> bool {
        self.plan.billing == Billing::Wallet
    }

    /// From when on it must be worked out anew: a boost begins or ends.
    pub fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// The finite limits per account that count a call: of its class, route, model, and all.
    pub fn for_call<'a>(
        &'a self,
        route: crate::operation::RouteIndex,
        model: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Applied> {
        let of_route = self.routes.get(usize::from(route.0)).map_or(&[][..], |limits| limits);
        let of_model = self.models.iter().filter(move |applied| match &applied.limit.target {
            Target::Model(pattern) => model.is_some_and(|model| pattern.covers(model)),
            _ => false,
        });
        of_route.iter().chain(of_model)
    }

    /// Every limit per account, unlimited ones included: class, `all` and model limits first, then
    /// endpoint limits in the order of the routes.
    pub fn listed(&self) -> &[Applied] {
        &self.listed
    }

    /// The limits of one key: the plan's for its type, replaced and joined by its own.
    pub fn for_key(&self, key: &Key, own: &[Limit]) -> Box<[Applied]> {
        let defaults = self.keys.get(&key.kind).map_or(&[][..], |limits| limits);
        let kept = defaults.iter().filter(|applied| own.iter().all(|o| o.id != applied.limit.id));
        let own = own.iter().map(|limit| Applied { limit: limit.clone(), boosted: false });
        kept.cloned().chain(own).collect()
    }
}

impl Applied {
    /// Whether it counts calls of this route (and, for a model limit, of this model).
    pub fn counts_call(&self, route: &Route, model: Option<&str>) -> bool {
        match &self.limit.target {
            Target::Model(pattern) => model.is_some_and(|model| pattern.covers(model)),
            _ => counts(self, route),
        }
    }
}

fn counts(applied: &Applied, route: &Route) -> bool {
    match &applied.limit.target {
        Target::Class(class) => *class == route.class,
        Target::All | Target::InFlight => true,
        Target::Model(_) | Target::Route(_) => false,
    }
}

/// The plan's limits with the account's own values in their place, and those that the plan lacks.
fn with_own(limits: &[Limit], own: &[Limit], wanted: impl Fn(&Limit) -> bool) -> Vec<Limit> {
    let mut all = limits.to_vec();
    for limit in own.iter().filter(|limit| wanted(limit)) {
        match all.iter_mut().find(|known| known.id == limit.id) {
            Some(known) => known.rule = limit.rule.clone(),
            None => all.push(limit.clone()),
        }
    }
    all
}

/// A route's endpoint limits by the plan's multiplier. They apply only where the class of the
/// route is limited at all, unless the account has a value of its own for the endpoint.
fn route_limits(route: &Route, plan: &Plan, own: &[Limit], base: &[Limit]) -> Vec<Limit> {
    let class_is_limited = base.iter().any(|limit| {
        matches!(&limit.target, Target::Class(class) if *class == route.class)
            && limit.rule.quota().is_some()
    });
    route
        .limits
        .iter()
        .filter_map(|limit| match own.iter().find(|known| known.id == limit.id) {
            Some(own) => Some(Limit { rule: own.rule.clone(), ..limit.clone() }),
            None if !class_is_limited => None,
            None => {
                let rule = limit.rule.scaled(plan.endpoint_multiplier_ppm);
                Some(Limit { rule, ..limit.clone() })
            }
        })
        .collect()
}

/// The class whose calls a limit counts, where it counts those of one class.
pub fn class_of<'a>(limit: &'a Limit, policy: &'a Policy) -> Option<&'a str> {
    match &limit.target {
        Target::Class(class) => Some(class),
        Target::Route(index) => policy.route(*index).map(|route| &*route.class),
        Target::All | Target::Model(_) | Target::InFlight => None,
    }
}

/// Of all boosts on a limit, the largest value counts first, then every multiplier.
fn apply(limit: &Limit, class: Option<&str>, boosts: &[&Boost]) -> Applied {
    let mut rule = limit.rule.clone();
    let mut boosted = false;
    let covering = || boosts.iter().filter(|boost| boost.covers(limit.name, class));
    let value = covering().filter_map(|boost| match boost.effect {
        BoostEffect::Value(value) => Some(value),
        BoostEffect::MultiplierPpm(_) => None,
    });
    if let (Some(value), Some(quota)) = (value.max(), rule.quota())
        && value > quota
    {
        rule = rule.with_quota(Some(value));
        boosted = true;
    }
    for boost in covering() {
        if let BoostEffect::MultiplierPpm(ppm) = boost.effect
            && rule.quota().is_some()
        {
            rule = rule.scaled(ppm);
            boosted = true;
        }
    }
    Applied { limit: Limit { rule, ..limit.clone() }, boosted }
}

fn next_change(boosts: &[Boost], now: Timestamp) -> Timestamp {
    boosts
        .iter()
        .flat_map(|boost| [boost.from, boost.until])
        .filter(|edge| *edge > now)
        .min()
        .unwrap_or(Timestamp::MAX)
}
