//! From the file to what the process runs on: settings and the policy.

use std::sync::Arc;

use weir_core::id::PolicyNumber;
use weir_core::model::ModelPattern;
use weir_core::names::LimitNames;
use weir_core::operation::RouteIndex;
use weir_core::plan::{Limit, Plan, Target};
use weir_core::policy::{ModelTerms, Policy, PolicyParts, Route, RoutePrice};
use weir_core::price::PriceBook;
use weir_gate::settings::UpstreamSettings;

use super::cross;
use super::diagnose::Problem;
use super::file::ConfigFile;
use super::limit::LimitFile;
use super::place::{At, Named, Place};
use super::plan::PlanFile;
use super::route::{ModelFile, RouteFile};
use super::server::ServerSettings;
use super::services::{
    AuthSettings, BillingSettings, EmailSettings, StoreSettings, WebhookSettings,
};

/// Everything that a configuration says, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `[server]`.
    pub(crate) server: ServerSettings,
    /// `[store]`.
    pub(crate) store: StoreSettings,
    /// `[billing]`.
    pub(crate) billing: BillingSettings,
    /// `[auth]`.
    pub(crate) auth: AuthSettings,
    /// `[webhooks]`.
    pub(crate) webhooks: WebhookSettings,
    /// `[email]`.
    pub(crate) email: EmailSettings,
    /// `[upstreams.NAME]`.
    pub(crate) upstreams: Vec<UpstreamSettings>,
    /// What the data plane needs of a route beside the policy, by the route's index.
    pub(crate) routes: Vec<RouteSettings>,
    /// Routes, plans, models and prices, under the number 0 until it is accepted.
    pub(crate) policy: Policy,
}

/// What a route says beside the policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RouteSettings {
    /// The largest answer kept for replays of an idempotency key, in bytes.
    pub(crate) idempotency_max_body_bytes: u64,
}

/// Checks how the sections go together and makes settings of them; `None` if there are problems,
/// old or new. Limits are interned in `names`.
pub(crate) fn settle(
    file: ConfigFile,
    names: &mut LimitNames,
    problems: &mut Vec<Problem>,
) -> Option<Settings> {
    cross::check(&file, problems);
    if !problems.is_empty() {
        return None;
    }
    let mut parts = PolicyParts::default();
    let mut routes = Vec::with_capacity(file.routes.len());
    for (index, route) in file.routes.into_iter().enumerate() {
        let body_bytes = route.idempotency_max_body_bytes;
        routes.push(RouteSettings { idempotency_max_body_bytes: body_bytes });
        parts.routes.push(settle_route(route, RouteIndex(u16::try_from(index).ok()?), names)?);
    }
    parts.plans = file.plans.into_iter().map(|plan| settle_plan(plan, names)).collect();
    parts.models = file.models.into_iter().filter_map(settle_model).collect();
    let prices = file.prices.into_iter().filter_map(|price| price.value);
    // Names are the keys of one TOML table, so that none is there twice.
    parts.prices = PriceBook::new(prices).ok()?;
    match Policy::new(PolicyNumber(0), parts) {
        Ok(policy) => Some(Settings {
            server: file.server,
            store: file.store,
            billing: file.billing,
            auth: file.auth,
            webhooks: file.webhooks,
            email: file.email,
            upstreams: file.upstreams.into_iter().map(|upstream| upstream.value).collect(),
            routes,
            policy,
        }),
        // Whatever the policy refuses that was not seen before is still told.
        Err(error) => {
            let (place, message) = (Place::default(), error.to_string());
            problems.push(Problem { place, path: String::new(), message, hint: None, also: None });
            None
        }
    }
}

fn settle_route(route: RouteFile, index: RouteIndex, names: &mut LimitNames) -> Option<Route> {
    Some(Route {
        limits: settle_limits(route.limits, &Target::Route(index), names),
        pattern: route.pattern.value,
        upstream: route.upstream?.value.into(),
        class: route.class.value.into(),
        scope: route.scope.map(Arc::from),
        weight: route.weight,
        usage: route.usage.value,
        price: route.price.map_or(RoutePrice::Free, |price| price.value),
        hold_output_tokens: route.hold_output_tokens,
        min_output_tokens: route.min_output_tokens,
        on_low_balance: route.on_low_balance,
        on_exhausted: route.on_exhausted,
        on_missing_usage: route.on_missing_usage,
        on_disconnect: route.on_disconnect,
        cache: route.cache,
    })
}

fn settle_plan(plan: Named<PlanFile>, names: &mut LimitNames) -> Plan {
    let Named { name, value: plan } = plan;
    let mut limits = settle_limits(plan.limits, &Target::All, names);
    if let Some(concurrency) = plan.concurrency {
        let (id, name) = names.intern("concurrency");
        limits.push(Limit { id, name, target: Target::InFlight, rule: concurrency.value });
    }
    let of_keys = plan.key_limits.into_iter();
    let key_limits =
        of_keys.map(|(kind, limits)| (kind, settle_limits(limits, &Target::All, names)));
    Plan {
        name: name.value.into(),
        billing: plan.billing,
        endpoint_multiplier_ppm: plan.endpoint_multiplier_ppm,
        key_limits: key_limits.collect(),
        limits,
        alerts: plan.alerts,
    }
}

/// Limits with their ids; those that name no target have this one.
fn settle_limits(limits: Vec<LimitFile>, otherwise: &Target, names: &mut LimitNames) -> Vec<Limit> {
    let settle = |limit: LimitFile| {
        let (id, name) = names.intern(&limit.name);
        let target = limit.target.unwrap_or_else(|| otherwise.clone());
        Limit { id, name, target, rule: limit.rule }
    };
    limits.into_iter().map(settle).collect()
}

fn settle_model(model: Named<ModelFile>) -> Option<ModelTerms> {
    let name = |at: At<String>| Arc::from(at.value);
    Some(ModelTerms {
        pattern: ModelPattern::parse(&model.name.value).ok()?,
        upstream: model.value.upstream.map(name),
        price: model.value.price.map(name),
        max_output_tokens: model.value.max_output_tokens,
    })
}
