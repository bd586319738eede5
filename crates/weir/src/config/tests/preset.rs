//! The presets that `weir init` writes.

use clap::ValueEnum;
use weir_core::plan::{Billing, Plan, Target};
use weir_core::policy::Policy;

use super::support::good;
use crate::config::preset::Preset;

/// The mission's plans: requests per hour by class, training in jobs per day; 0 is unlimited.
const PLANS: [(&str, u64, [Class; 4]); 3] = [
    ("free", 1, [("read", 100, HOUR), ("write", 20, HOUR), ("ai", 50, HOUR), ("training", 5, DAY)]),
    (
        "pro",
        5,
        [("read", 1_000, HOUR), ("write", 200, HOUR), ("ai", 500, HOUR), ("training", 20, DAY)],
    ),
    (
        "enterprise",
        50,
        [("read", 10_000, HOUR), ("write", 2_000, HOUR), ("ai", 5_000, HOUR), ("training", 0, DAY)],
    ),
];

/// Class, how many, in how many seconds.
type Class = (&'static str, u64, i64);

/// The mission's endpoints: a request, the class that counts it, requests per hour.
const ENDPOINTS: [(&str, &str, u64); 26] = [
    ("GET /accounts", "read", 500),
    ("GET /accounts/a/b", "read", 500),
    ("HEAD /accounts/a", "read", 500),
    ("POST /accounts/a", "write", 50),
    ("PUT /accounts/a", "write", 50),
    ("PATCH /accounts/a", "write", 50),
    ("DELETE /accounts/a", "write", 10),
    ("GET /clusters", "read", 1_000),
    ("GET /clusters/c", "read", 1_000),
    ("POST /clusters", "write", 20),
    ("PUT /clusters/c", "write", 100),
    ("PATCH /clusters/c", "write", 100),
    ("DELETE /clusters/c", "write", 20),
    ("GET /endpoints", "read", 1_000),
    ("GET /endpoints/e", "read", 1_000),
    ("POST /endpoints", "write", 50),
    ("POST /endpoints/e/execute", "write", 500),
    ("POST /ai/chat", "ai", 200),
    ("POST /ai/text-to-image", "ai", 100),
    ("POST /ai/text-to-video", "ai", 20),
    ("POST /ai/text-to-speech", "ai", 150),
    ("GET /training", "read", 500),
    ("GET /training/jobs/j", "read", 500),
    ("POST /training/jobs", "training", 10),
    ("PUT /training/jobs/j", "write", 50),
    ("PATCH /training/jobs/j", "write", 50),
];

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

#[test]
fn every_preset_is_good() {
    for preset in Preset::value_variants() {
        assert!(good(preset.text()).policy.routes().len() > 3, "{preset:?}");
    }
}

#[test]
fn presets_are_the_files_of_the_examples_folder() {
    for preset in Preset::value_variants() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let file = std::fs::read_to_string(folder.join(format!("{preset:?}.toml").to_lowercase()))
            .unwrap();
        assert_eq!(file, preset.text());
    }
}

#[test]
fn tiered_has_the_plans_of_the_mission() {
    let policy = good(Preset::Tiered.text()).policy;
    assert_eq!(policy.plans().count(), PLANS.len());
    for (name, multiplier, classes) in PLANS {
        let plan = policy.plan(name).unwrap();
        assert_eq!(plan.billing, Billing::None, "{name}");
        assert_eq!(plan.endpoint_multiplier_ppm, multiplier * 1_000_000, "{name}");
        assert_eq!(plan.limits.len(), classes.len(), "{name}");
        for (class, quota, window_s) in classes {
            check_class(plan, class, quota, window_s);
        }
    }
}

#[track_caller]
fn check_class(plan: &Plan, class: &str, quota: u64, window_s: i64) {
    let limit = plan.limits.iter().find(|limit| limit.name == class).unwrap();
    assert_eq!(limit.target, Target::Class(class.into()), "{} {class}", plan.name);
    if quota == 0 {
        assert_eq!(limit.rule.quota(), None, "{} {class}", plan.name);
    } else {
        assert_eq!(limit.rule.quota(), Some(quota), "{} {class}", plan.name);
        assert_eq!(limit.rule.window().secs_ceil(), window_s, "{} {class}", plan.name);
    }
}

#[test]
fn tiered_has_the_endpoints_of_the_mission() {
    let policy = good(Preset::Tiered.text()).policy;
    for (request, class, per_hour) in ENDPOINTS {
        check_endpoint(&policy, request, class, per_hour);
    }
    // Nothing beside them: 15 of the mission's 18 rows are one method, three are PUT with PATCH.
    assert_eq!(policy.routes().len(), 18);
}

#[track_caller]
fn check_endpoint(policy: &Policy, request: &str, class: &str, per_hour: u64) {
    let (method, path) = request.split_once(' ').unwrap();
    let weir_core::operation::Lookup::Found(index) = policy.find_route(method, path) else {
        panic!("{request} has no route");
    };
    let route = policy.route(index).unwrap();
    assert_eq!(&*route.class, class, "{request}");
    let [limit] = route.limits.as_slice() else { panic!("{request}: {:?}", route.limits) };
    assert_eq!(limit.target, Target::Route(index), "{request}");
    assert_eq!(limit.name, format!("route:{}", route.pattern), "{request}");
    assert_eq!(limit.rule.quota(), Some(per_hour), "{request}");
    assert_eq!(limit.rule.window().secs_ceil(), HOUR, "{request}");
}

#[test]
fn wallet_limits_nothing() {
    let policy = good(Preset::Wallet.text()).policy;
    for plan in policy.plans() {
        assert_eq!(plan.billing, Billing::Wallet);
        assert_eq!(plan.limits, []);
        assert!(plan.key_limits.is_empty());
    }
    assert!(policy.routes().iter().all(|route| route.limits.is_empty()));
}

#[test]
fn hybrid_has_a_plan_with_a_wallet_and_limits() {
    let policy = good(Preset::Hybrid.text()).policy;
    let both = |plan: &Plan| plan.billing == Billing::Wallet && !plan.limits.is_empty();
    assert!(policy.plans().any(|plan| both(plan)));
    assert!(policy.plans().any(|plan| plan.billing == Billing::None));
}
