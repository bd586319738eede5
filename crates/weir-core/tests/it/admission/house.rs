//! A small platform to call: three routes, a plan, one account, one key.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_core::account::{Account, Owner};
use weir_core::admit::{Ask, Grant, LimitView, Refusal};
use weir_core::entitlement::{Applied, Entitlement};
use weir_core::id::{AccountId, BoostId, KeyId, PolicyNumber};
use weir_core::key::{Key, KeyType, Urgency};
use weir_core::limit::{Algorithm, Mode, Period, Rule, Terms, Unit};
use weir_core::model::ModelPattern;
use weir_core::money::Nano;
use weir_core::names::LimitNames;
use weir_core::operation::{RouteIndex, RoutePattern};
use weir_core::plan::{Billing, Boost, BoostEffect, Limit, Plan, Target};
use weir_core::policy::{
    CacheMode, OnDisconnect, OnExhausted, OnLowBalance, OnMissingUsage, Policy, PolicyParts, Route,
    RoutePrice, UsageSource,
};
use weir_core::time::{Span, Timestamp};

pub(crate) const KEY: KeyId = KeyId(7);
pub(crate) const READ: RouteIndex = RouteIndex(0);
pub(crate) const CHAT: RouteIndex = RouteIndex(1);
pub(crate) const TRAIN: RouteIndex = RouteIndex(2);
pub(crate) const ROUTES: [(&str, &str, u64); 3] =
    [("GET /things", "read", 1), ("POST /ai/chat", "ai", 1), ("POST /train", "training", 3)];

/// What limits of an account are written as, before anything is worked out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spec {
    pub(crate) plan: Vec<(&'static str, Rule)>,
    pub(crate) endpoint: Vec<(RouteIndex, Rule)>,
    pub(crate) multiplier_ppm: u64,
    pub(crate) own: Vec<(&'static str, Rule)>,
    pub(crate) key: Vec<(&'static str, Rule)>,
    /// What the plan gives to keys like this one.
    pub(crate) each_key: Vec<(&'static str, Rule)>,
    pub(crate) boosts: Vec<Boost>,
    pub(crate) billing: Option<Billing>,
}

impl Spec {
    pub(crate) fn of(plan: &[(&'static str, Rule)]) -> Self {
        Self { plan: plan.to_vec(), multiplier_ppm: 1_000_000, ..Self::default() }
    }
}

/// The platform in force: the policy of a [`Spec`] and an account on it.
pub(crate) struct House {
    names: LimitNames,
    pub(crate) policy: Policy,
    pub(crate) account: Account,
    pub(crate) key_limits: Box<[Applied]>,
    spec: Spec,
}

/// A call in the tests' words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) route: RouteIndex,
    pub(crate) model: Option<&'static str>,
    pub(crate) urgent: bool,
    pub(crate) tokens: u64,
    pub(crate) worth: i64,
    pub(crate) hold: Option<i64>,
}

/// A call of a route that uses nothing but itself.
pub(crate) fn call(route: RouteIndex) -> Call {
    Call { route, model: None, urgent: false, tokens: 0, worth: 0, hold: None }
}

impl House {
    pub(crate) fn new(spec: Spec) -> Self {
        let mut names = LimitNames::default();
        let policy = policy(&spec, &mut names);
        let plan = Arc::clone(policy.plan("p").unwrap());
        let nothing = Entitlement::new(&policy, plan, &[], &[], Timestamp::EPOCH);
        let account = Account::new(AccountId(1), Arc::new(nothing));
        let mut house = Self { names, policy, account, key_limits: Box::default(), spec };
        house.refresh(Timestamp::EPOCH);
        house
    }

    /// Puts everything on other terms, as a plan change, a reload or a boost's edge does.
    pub(crate) fn change(&mut self, spec: Spec, now: Timestamp) {
        self.policy = policy(&spec, &mut self.names);
        self.spec = spec;
        self.refresh(now);
    }

    /// Works out anew what holds now.
    pub(crate) fn refresh(&mut self, now: Timestamp) {
        let plan = Arc::clone(self.policy.plan("p").unwrap());
        let own: Vec<Limit> = self.spec.own.iter().map(|l| limit(l, "", &mut self.names)).collect();
        let keys: Vec<Limit> =
            self.spec.key.iter().map(|l| limit(l, "key:", &mut self.names)).collect();
        let entitlement = Entitlement::new(&self.policy, plan, &own, &self.spec.boosts, now);
        let of_key = entitlement.for_key(&key(), &keys);
        self.account.entitle(Arc::new(entitlement), now);
        let before = std::mem::replace(&mut self.key_limits, of_key);
        self.account.entitle_key(KEY, &before, &self.key_limits, now);
    }

    pub(crate) fn ask<'a>(
        policy: &'a Policy,
        key_limits: &'a [Applied],
        call: &'a Call,
    ) -> Ask<'a> {
        Ask {
            index: call.route,
            route: policy.route(call.route).unwrap(),
            key: KEY,
            key_limits,
            model: call.model,
            urgent: call.urgent,
            tokens: call.tokens,
            worth: Nano::new(call.worth),
            hold: call.hold.map(Nano::new),
        }
    }

    pub(crate) fn admit(&mut self, call: &Call, now: Timestamp) -> Result<Grant, Refusal> {
        self.account.admit(&Self::ask(&self.policy, &self.key_limits, call), now)
    }

    pub(crate) fn void(&mut self, grant: Grant, call: &Call, now: Timestamp) {
        self.account.void(grant, &Self::ask(&self.policy, &self.key_limits, call), now);
    }

    pub(crate) fn settle(&mut self, grant: &Grant, call: &Call, used: (u64, i64), now: Timestamp) {
        let used = weir_core::admit::Used { tokens: used.0, worth: Nano::new(used.1) };
        let ask = Self::ask(&self.policy, &self.key_limits, call);
        self.account.settle_limits(grant, &ask, used, now);
    }

    pub(crate) fn unspend(&mut self, grant: &Grant, spent: i64, now: Timestamp) {
        self.account.unspend(grant, &self.key_limits, Nano::new(spent), now);
    }

    /// Every limit of the account and the key, by name.
    pub(crate) fn all(&self, now: Timestamp) -> BTreeMap<&'static str, LimitView> {
        let of_account = self.account.entitlement.listed().iter().map(|a| (Owner::Account, a));
        let of_key = self.key_limits.iter().map(|a| (Owner::Key(KEY), a));
        let views = of_account.chain(of_key);
        views
            .map(|(owner, applied)| self.account.view(owner, applied, now))
            .map(|view| (view.name, view))
            .collect()
    }

    #[track_caller]
    pub(crate) fn used(&self, name: &str, now: Timestamp) -> u64 {
        self.all(now)[name].now.used
    }

    /// How many such calls pass at one moment.
    pub(crate) fn drain(&mut self, call: &Call, now: Timestamp) -> u64 {
        let mut passed = 0;
        while self.admit(call, now).is_ok() {
            passed += 1;
            assert!(passed < 10_000, "nothing limits the call");
        }
        passed
    }
}

/// A requests rule by its text.
pub(crate) fn per(text: &str) -> Rule {
    text.parse().unwrap()
}

pub(crate) fn with(rule: &Rule, change: impl FnOnce(&mut Terms)) -> Rule {
    let mut terms = rule.terms().clone();
    change(&mut terms);
    Rule::new(terms).unwrap()
}

pub(crate) fn tokens(text: &str) -> Rule {
    with(&per(text), |terms| terms.unit = Unit::Tokens)
}

pub(crate) fn credits(text: &str) -> Rule {
    with(&per(text), |terms| terms.unit = Unit::Credits)
}

pub(crate) fn shadow(rule: &Rule) -> Rule {
    with(rule, |terms| terms.mode = Mode::Shadow)
}

pub(crate) fn at_once(quota: u64) -> Rule {
    let terms = Terms::new(Some(quota), Period::SECOND);
    Rule::new(Terms { algorithm: Algorithm::Concurrency, ..terms }).unwrap()
}

pub(crate) fn boost(limit: &str, effect: BoostEffect, from: i64, until: i64) -> Boost {
    let (from, until) = (Timestamp::from_secs(from), Timestamp::from_secs(until));
    Boost { id: BoostId(1), limit: limit.into(), effect, from, until }
}

#[track_caller]
pub(crate) fn wait_of(refused: Result<Grant, Refusal>) -> (&'static str, Span) {
    match refused {
        Err(Refusal::Limited(view, wait) | Refusal::SpendCap(view, wait)) => (view.name, wait),
        other => panic!("expected a limit with a wait, got {other:?}"),
    }
}

pub(crate) fn target(name: &str) -> Target {
    let stem = name.split('.').next().unwrap();
    match stem {
        "all" | "spend" => Target::All,
        "concurrency" => Target::InFlight,
        _ => match stem.strip_prefix("model:") {
            Some(pattern) => Target::Model(ModelPattern::parse(pattern).unwrap()),
            None => match ROUTES.iter().position(|(path, ..)| format!("route:{path}") == name) {
                Some(index) => Target::Route(RouteIndex(u16::try_from(index).unwrap())),
                None => Target::Class(stem.into()),
            },
        },
    }
}

fn limit((name, rule): &(&'static str, Rule), before: &str, names: &mut LimitNames) -> Limit {
    let (id, interned) = names.intern(&format!("{before}{name}"));
    Limit { id, name: interned, target: target(name), rule: rule.clone() }
}

fn key() -> Key {
    Key {
        id: KEY,
        account: AccountId(1),
        kind: KeyType::ReadWrite,
        scopes: None,
        models: None,
        allowed_ips: None,
        expires_at: None,
        revoked_at: None,
        spend_cap: None,
        urgency: Urgency::Critical,
    }
}

fn policy(spec: &Spec, names: &mut LimitNames) -> Policy {
    let routes = ROUTES.iter().enumerate().map(|(index, (pattern, class, weight))| {
        let here = spec.endpoint.iter().filter(|(route, _)| usize::from(route.0) == index);
        let limits = here.map(|(route, rule)| {
            let (id, name) = names.intern(&format!("route:{pattern}"));
            Limit { id, name, target: Target::Route(*route), rule: rule.clone() }
        });
        Route {
            limits: limits.collect(),
            pattern: RoutePattern::parse(pattern).unwrap(),
            upstream: "u".into(),
            class: (*class).into(),
            scope: None,
            weight: *weight,
            usage: UsageSource::None,
            price: RoutePrice::Free,
            hold_output_tokens: 1,
            min_output_tokens: 1,
            on_low_balance: OnLowBalance::Refuse,
            on_exhausted: OnExhausted::Stop,
            on_missing_usage: OnMissingUsage::Estimate,
            on_disconnect: OnDisconnect::Stop,
            cache: CacheMode::Off,
        }
    });
    let routes: Vec<Route> = routes.collect();
    let each_key = spec.each_key.iter().map(|l| limit(l, "key:", names)).collect();
    let plan = Plan {
        name: "p".into(),
        billing: spec.billing.unwrap_or(Billing::None),
        endpoint_multiplier_ppm: spec.multiplier_ppm,
        limits: spec.plan.iter().map(|l| limit(l, "", names)).collect(),
        key_limits: BTreeMap::from([(KeyType::ReadWrite, each_key)]),
        alerts: Vec::new(),
    };
    let parts = PolicyParts { routes, plans: vec![plan], ..PolicyParts::default() };
    Policy::new(PolicyNumber(1), parts).unwrap()
}
