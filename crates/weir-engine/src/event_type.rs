//! The types of events, and what a webhook may ask for.

/// Whether webhooks can ask for it: a type, or a group of types such as `wallet.*`.
pub fn is_known_filter(filter: &str) -> bool {
    match filter.strip_suffix(".*") {
        Some(group) => EVENT_TYPES
            .iter()
            .any(|kind| kind.strip_prefix(group).is_some_and(|rest| rest.starts_with('.'))),
        None => EVENT_TYPES.contains(&filter),
    }
}

/// Every type of event that is told.
pub const EVENT_TYPES: [&str; 23] = [
    "account.plan_changed",
    "boost.ended",
    "boost.started",
    "grant.expiring",
    "key.changed",
    "key.created",
    "key.expiring",
    "key.revoked",
    "key.rotated",
    "limit.exceeded",
    "limit.threshold",
    "limit_increase.approved",
    "limit_increase.declined",
    "limit_increase.requested",
    "wallet.auto_top_up_failed",
    "wallet.auto_top_up_requested",
    "wallet.depleted",
    "wallet.low",
    "wallet.recovered",
    "wallet.topped_up",
    "watch.changed",
    "webhook.disabled",
    WEBHOOK_TEST,
];

/// Asked for by hand, to see that a webhook works.
pub const WEBHOOK_TEST: &str = "webhook.test";
