//! A naive admission: a map from a limit's name to its window and the rule it was counted under.
//! What a single rule says is tested against a log of events elsewhere; here it is which rules are
//! asked, for how much, and what becomes of their windows.

use std::collections::BTreeMap;

use weir_core::limit::{Algorithm, Mode, Rule, Unit};
use weir_core::plan::{BoostEffect, Target};
use weir_core::time::{Span, Timestamp};
use weir_core::window::{Snapshot, Taken, Wait, Window};

use super::house::{Call, ROUTES, Spec, target};

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: Timestamp,
    rules: BTreeMap<String, (Target, Rule)>,
    windows: BTreeMap<String, (Window, Rule)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Passes,
    Waits(Span),
    Never,
}

pub(crate) type Took = Vec<(String, Taken)>;

impl Model {
    pub(crate) fn change(&mut self, spec: &Spec) {
        self.rules = effective(spec, self.now);
        for (name, (_, rule)) in &self.rules {
            if let Some((window, old)) = self.windows.get_mut(name) {
                *window = rule.carry_over(old, window, self.now);
                *old = rule.clone();
            }
        }
        // Of a limit that is gone only use that counts still is remembered.
        let (rules, now) = (&self.rules, self.now);
        self.windows.retain(|name, (window, rule)| {
            rules.contains_key(name) || rule.snapshot(window, now).used > 0
        });
    }

    pub(crate) fn admit(&mut self, call: &Call) -> (Verdict, Took) {
        let mut verdict = Verdict::Passes;
        let counting = self.counting(call);
        for (name, rule, amount) in &counting {
            let window = self.window(name);
            let refused = rule.check(&window, *amount, call.urgent, self.now);
            let Err(blocked) = refused else { continue };
            verdict = match (blocked.wait, verdict) {
                _ if rule.mode() == Mode::Shadow => continue,
                (Wait::Never, _) | (_, Verdict::Never) => Verdict::Never,
                (Wait::For(wait), Verdict::Waits(known)) => Verdict::Waits(wait.max(known)),
                (Wait::For(wait), Verdict::Passes) => Verdict::Waits(wait),
            };
        }
        if verdict != Verdict::Passes {
            return (verdict, Vec::new());
        }
        let mut took = Vec::new();
        for (name, rule, amount) in counting {
            let mut window = self.window(&name);
            let taken = rule.take(&mut window, amount, self.now);
            took.push((name.clone(), taken));
            self.windows.insert(name, (window, rule));
        }
        (verdict, took)
    }

    pub(crate) fn void(&mut self, took: Took) {
        for (name, taken) in took {
            if let Some((window, rule)) = self.windows.get_mut(&name) {
                rule.give_back(window, taken, self.now);
            }
        }
    }

    pub(crate) fn settle(&mut self, took: Took, tokens: u64, worth: u64) {
        for (name, taken) in took {
            // A limit that went while nothing of it was used, and came back, counts what ends now.
            if let Some((_, rule)) = self.rules.get(&name) {
                let fresh = || (Window::default(), rule.clone());
                self.windows.entry(name.clone()).or_insert_with(fresh);
            }
            let Some((window, rule)) = self.windows.get_mut(&name) else { continue };
            match (rule.algorithm(), rule.unit()) {
                (Algorithm::Concurrency, _) => rule.give_back(window, taken, self.now),
                (_, Unit::Requests) => {}
                (_, Unit::Tokens) => rule.settle(window, taken, tokens, self.now),
                (_, Unit::Credits) => rule.settle(window, taken, worth, self.now),
            }
        }
    }

    pub(crate) fn snapshots(&self) -> BTreeMap<String, Snapshot> {
        let snapshot = |(name, (_, rule)): (&String, &(Target, Rule))| {
            (name.clone(), rule.snapshot(&self.window(name), self.now))
        };
        self.rules.iter().map(snapshot).collect()
    }

    fn window(&self, name: &str) -> Window {
        self.windows.get(name).map(|(window, _)| *window).unwrap_or_default()
    }

    fn counting(&self, call: &Call) -> Vec<(String, Rule, u64)> {
        let (_, class, weight) = ROUTES[usize::from(call.route.0)];
        let counts = |target: &Target| match target {
            Target::All | Target::InFlight => true,
            Target::Class(of) => **of == *class,
            Target::Model(pattern) => call.model.is_some_and(|model| pattern.covers(model)),
            Target::Route(route) => *route == call.route,
        };
        let amount = |rule: &Rule| match (rule.algorithm(), rule.unit()) {
            (Algorithm::Concurrency, _) => 1,
            (_, Unit::Requests) => weight,
            (_, Unit::Tokens) => call.tokens,
            (_, Unit::Credits) => call.worth.unsigned_abs(),
        };
        let finite = self.rules.iter().filter(|(_, (_, rule))| rule.quota().is_some());
        finite
            .filter(|(_, (target, _))| counts(target))
            .map(|(name, (_, rule))| (name.clone(), rule.clone(), amount(rule)))
            .collect()
    }
}

/// Every limit by name, as the docs say it comes about.
fn effective(spec: &Spec, now: Timestamp) -> BTreeMap<String, (Target, Rule)> {
    let mut rules: BTreeMap<String, Rule> = BTreeMap::new();
    let account = spec.plan.iter().chain(spec.own.iter());
    for (name, rule) in account.filter(|(name, _)| !name.starts_with("route:")) {
        rules.insert((*name).to_owned(), rule.clone());
    }
    for (route, rule) in &spec.endpoint {
        let (pattern, class, _) = ROUTES[usize::from(route.0)];
        let name = format!("route:{pattern}");
        let limited = rules.iter().any(|(known, rule)| {
            target(known_static(known)) == Target::Class(class.into()) && rule.quota().is_some()
        });
        match spec.own.iter().find(|(own, _)| *own == name) {
            Some((_, own)) => rules.insert(name, own.clone()),
            None if limited => rules.insert(name, rule.scaled(spec.multiplier_ppm)),
            None => None,
        };
    }
    let mut all: BTreeMap<String, (Target, Rule)> = rules
        .into_iter()
        .map(|(name, rule)| {
            let target = target(known_static(&name));
            let rule = boosted(spec, &name, &target, rule, now);
            (name, (target, rule))
        })
        .collect();
    for (name, rule) in &spec.key {
        all.insert(format!("key:{name}"), (target(name), rule.clone()));
    }
    all
}

fn boosted(spec: &Spec, name: &str, target: &Target, rule: Rule, now: Timestamp) -> Rule {
    let class = match target {
        Target::Class(class) => Some(&**class),
        Target::Route(route) => Some(ROUTES[usize::from(route.0)].1),
        _ => None,
    };
    let Some(mut quota) = rule.quota() else { return rule };
    let acting = || spec.boosts.iter().filter(|boost| boost.from <= now && now < boost.until);
    for boost in acting().filter(|boost| *boost.limit == *name) {
        if let BoostEffect::Value(value) = boost.effect {
            quota = quota.max(value);
        }
    }
    let mut rule = rule.with_quota(Some(quota));
    for boost in acting() {
        let covers = *boost.limit == *name || &*boost.limit == "*" || class == Some(&*boost.limit);
        if let (BoostEffect::MultiplierPpm(ppm), true) = (boost.effect, covers) {
            rule = rule.scaled(ppm);
        }
    }
    rule
}

fn known_static(name: &str) -> &'static str {
    super::prop::NAMES.iter().find(|known| **known == name).unwrap()
}
