//! What paths say about who may ask, and what may be asked twice.

use http::Method;
use weir_engine::operator::Role;

/// The least role that may ask this of the admin API, and its name.
pub(crate) fn role_needed(method: &Method, path: &str) -> (Role, &'static str) {
    let owners = path.starts_with("/admin/v1/admin-keys") || OWNERS.contains(&path);
    let only_looks = method.is_safe() || LOOKS.contains(&path);
    match (owners, only_looks) {
        (true, _) => (Role::Owner, "owner"),
        (false, false) => (Role::Operator, "operator"),
        (false, true) => (Role::Viewer, "viewer"),
    }
}

/// Whether a POST to this path takes an `Idempotency-Key`.
pub(crate) fn is_repeatable(path: &str) -> bool {
    !UNREPEATED.contains(&path)
}

/// What only an owner may ask: a backup holds the secrets of webhooks.
const OWNERS: [&str; 2] = ["/admin/v1/config/reload", "/admin/v1/backup"];
/// What is asked by POST but changes nothing.
const LOOKS: [&str; 3] = ["/admin/v1/config/diff", "/admin/v1/explain", "/admin/v1/ledger/verify"];
/// A backup changes nothing, and its answer is as large as the store; payment events are taken once
/// by their own ids, and whoever sends one is not known before its signature is checked.
const UNREPEATED: [&str; 2] = ["/admin/v1/backup", "/admin/v1/payments/stripe"];
