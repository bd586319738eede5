//! Random policies and calls, admission against the naive one.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_core::admit::{Grant, Refusal};
use weir_core::limit::{Algorithm, Mode, Period, Rule, Terms, Unit};
use weir_core::operation::RouteIndex;
use weir_core::plan::BoostEffect;
use weir_core::time::Span;

use super::house::{Call, House, Spec, boost};
use super::model::{Model, Took, Verdict};
use crate::limits::secs;

pub(crate) const NAMES: [&str; 10] = [
    "read",
    "ai",
    "ai.tokens",
    "ai.credits",
    "training",
    "all",
    "model:gpt-*",
    "concurrency",
    "route:POST /ai/chat",
    "route:POST /train",
];

#[derive(Clone, Debug)]
enum Step {
    Call(Call),
    Settle { which: usize, tokens: u64, worth: u64 },
    Void { which: usize },
    Pass { micros: i64 },
    Plan { which: usize },
}

fn rule(name: &'static str) -> impl Strategy<Value = Rule> {
    let quota = prop_oneof![8 => (1_u64..7).prop_map(Some), 1 => Just(None), 1 => Just(Some(0))];
    let algorithm = prop_oneof![
        Just(Algorithm::FixedWindow),
        Just(Algorithm::SlidingWindow),
        Just(Algorithm::TokenBucket)
    ];
    let shape = (1_i64..40, algorithm, prop_oneof![3 => Just(0), 1 => Just(500_000)], 0..8);
    (quota, shape).prop_map(move |(quota, (window, algorithm, reserve_ppm, mode))| {
        let (unit, scale) = match name {
            "ai.tokens" => (Unit::Tokens, 20),
            "ai.credits" => (Unit::Credits, 50),
            _ => (Unit::Requests, 1),
        };
        let algorithm = if name == "concurrency" { Algorithm::Concurrency } else { algorithm };
        let mode = if mode == 0 { Mode::Shadow } else { Mode::Enforce };
        let period = Period::Span(Span::from_secs(window));
        let quota = quota.map(|quota| quota * scale);
        Rule::new(Terms { algorithm, unit, mode, reserve_ppm, ..Terms::new(quota, period) })
            .unwrap()
    })
}

fn rules(
    names: &'static [&'static str],
    odds: f64,
) -> impl Strategy<Value = Vec<(&'static str, Rule)>> {
    let each: Vec<_> = names
        .iter()
        .map(|name| {
            prop::option::weighted(odds, rule(name)).prop_map(move |rule| rule.map(|r| (*name, r)))
        })
        .collect();
    each.prop_map(|all| all.into_iter().flatten().collect())
}

fn spec() -> impl Strategy<Value = Spec> {
    let routes = rules(&NAMES[8..], 0.5);
    let multiplier = prop_oneof![Just(500_000), Just(1_000_000), Just(2_500_000)];
    let effect = prop_oneof![
        (500_000_u64..3_000_000).prop_map(BoostEffect::MultiplierPpm),
        (1_u64..20).prop_map(BoostEffect::Value)
    ];
    let boosted = prop_oneof![Just("ai"), Just("*"), Just("training"), Just("ai.tokens")];
    let boosts = (boosted, effect, 0_i64..100, 0_i64..100)
        .prop_map(|(limit, effect, from, length)| boost(limit, effect, from, from + length));
    let own = rules(&NAMES, 0.15);
    (
        rules(&NAMES[..8], 0.6),
        routes,
        multiplier,
        own,
        rules(&["ai", "all", "ai.tokens"], 0.3),
        vec(boosts, 0..3),
    )
        .prop_map(|(plan, routes, multiplier_ppm, own, key, boosts)| {
            let index = |name: &str| RouteIndex(if name == NAMES[8] { 1 } else { 2 });
            let endpoint: Vec<_> =
                routes.into_iter().map(|(name, rule)| (index(name), rule)).collect();
            // An own value for an endpoint needs an endpoint limit to take the place of.
            let has = |name: &str| {
                !name.starts_with("route:")
                    || endpoint.iter().any(|(route, _)| index(name) == *route)
            };
            let own = own.into_iter().filter(|(name, _)| has(name)).collect();
            Spec { plan, endpoint, multiplier_ppm, own, key, boosts, ..Spec::default() }
        })
}

fn step() -> impl Strategy<Value = Step> {
    let model = prop_oneof![Just(None), Just(Some("gpt-4o")), Just(Some("llama"))];
    let call = (0_u16..3, model, any::<bool>(), 0_u64..60, 0_i64..120).prop_map(
        |(route, model, urgent, tokens, worth)| {
            let route = RouteIndex(route);
            Step::Call(Call { route, model, urgent, tokens, worth, hold: None })
        },
    );
    prop_oneof![
        10 => call,
        3 => (0_usize..9, 0_u64..200, 0_u64..300)
            .prop_map(|(which, tokens, worth)| Step::Settle { which, tokens, worth }),
        2 => (0_usize..9).prop_map(|which| Step::Void { which }),
        4 => (0_i64..30_000_000).prop_map(|micros| Step::Pass { micros }),
        1 => (0_usize..3).prop_map(|which| Step::Plan { which }),
    ]
}

#[track_caller]
fn same_limits(house: &House, model: &Model) {
    let told = house.all(model.now).into_iter().map(|(name, view)| (name.to_owned(), view.now));
    assert_eq!(told.collect::<std::collections::BTreeMap<_, _>>(), model.snapshots());
}

/// A refusal changes nothing, and waiting as told passes when nobody else uses the limits.
fn refusal_is_true(house: &mut House, model: &Model, call: &Call, refused: Result<Grant, Refusal>) {
    let (Refusal::Limited(view, wait) | Refusal::SpendCap(view, wait)) = refused.unwrap_err()
    else {
        return;
    };
    if view.name == "concurrency" {
        return;
    }
    let then = model.now.plus(wait);
    let ask = House::ask(&house.policy, &house.key_limits, call);
    let views = house.account.views(&ask, then);
    assert!(views.iter().any(|told| told.name == view.name));
    let mut later = model.clone();
    later.now = then;
    match later.admit(call).0 {
        // Only what does not follow time may be in the way still.
        Verdict::Waits(rest) => assert_eq!(rest, Span::SECOND, "waited {wait:?} in vain"),
        Verdict::Passes | Verdict::Never => {}
    }
}

fn run(specs: &[Spec], steps: Vec<Step>) {
    let mut house = House::new(specs[0].clone());
    let mut model = Model::default();
    model.change(&specs[0]);
    let mut plan = 0;
    let mut open: Vec<(Call, Grant, Took)> = Vec::new();
    for step in steps {
        match step {
            Step::Call(call) => {
                let admitted = house.admit(&call, model.now);
                let (verdict, took) = model.admit(&call);
                match (&admitted, &verdict) {
                    (Ok(_), Verdict::Passes) => open.push((call, admitted.unwrap(), took)),
                    (Err(Refusal::NeverFits(..)), Verdict::Never) => {}
                    (Err(Refusal::Limited(_, wait)), Verdict::Waits(known)) if wait == known => {
                        refusal_is_true(&mut house, &model, &call, admitted);
                    }
                    _ => panic!("{admitted:?}, expected {verdict:?}"),
                }
            }
            Step::Settle { which, tokens, worth } if !open.is_empty() => {
                let (call, grant, took) = open.swap_remove(which % open.len());
                let used = (tokens, i64::try_from(worth).unwrap());
                house.settle(&grant, &call, used, model.now);
                model.settle(took, tokens, worth);
            }
            Step::Void { which } if !open.is_empty() => {
                let (call, grant, took) = open.swap_remove(which % open.len());
                house.void(grant, &call, model.now);
                model.void(took);
            }
            Step::Settle { .. } | Step::Void { .. } => {}
            Step::Pass { micros } => {
                let before = model.now;
                model.now = before.plus(Span::from_micros(micros));
                if house.account.entitlement.valid_until() <= model.now {
                    house.refresh(model.now);
                    model.change(&specs[plan]);
                }
            }
            Step::Plan { which } => {
                plan = which % specs.len();
                house.change(specs[plan].clone(), model.now);
                model.change(&specs[plan]);
            }
        }
        same_limits(&house, &model);
    }
    for (call, grant, took) in open.drain(..) {
        house.settle(&grant, &call, (0, 0), model.now);
        model.settle(took, 0, 0);
    }
    same_limits(&house, &model);
    if let Some(flying) = house.all(secs(1_000_000_000)).get("concurrency") {
        assert_eq!(flying.now.used, 0);
    }
}

proptest! {
    #[test]
    fn admission_does_what_the_naive_one_does(specs in vec(spec(), 3), steps in vec(step(), 1..60)) {
        run(&specs, steps);
    }
}
