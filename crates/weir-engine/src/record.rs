//! Accounts, keys and boosts as they are kept: what the admin API changes and a restart reads.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use weir_core::id::BoostId;
use weir_core::plan::{Boost, BoostEffect};
use weir_core::time::Timestamp;

/// An account as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccountRecord {
    /// What people call it.
    pub name: String,
    /// The name of its plan.
    pub plan: String,
    /// Whether its calls are refused by hand.
    #[serde(default)]
    pub suspended: bool,
    /// The operator's own id for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Where notices go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whatever the operator wants to keep with it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Values of its own for limits, by the limit's name, as in the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Value>,
    /// Its contract, as the admin API took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Value>,
    /// From when on the contract's commitment is not settled yet, in microseconds since the Unix
    /// epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment_since_us: Option<i64>,
    /// How far its balance may fall below zero, a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit_line: Option<String>,
    /// Alert thresholds of its own, instead of the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Vec<String>>,
    /// Rules by which it is topped up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_top_up: Option<Value>,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_at_us: i64,
    /// When it was last changed, in microseconds since the Unix epoch.
    pub updated_at_us: i64,
    /// How often it was changed, plus one.
    pub revision: u64,
}

/// A key as it is kept: its secret only as digest.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyRecord {
    /// What people call it.
    pub name: String,
    /// `read`, `read_write` or `service`.
    #[serde(rename = "type")]
    pub kind: String,
    /// SHA-256 of its secret, in hex.
    pub digest: String,
    /// Beginning and end of the secret.
    pub hint: String,
    /// The scopes it may use; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The models it may name; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// The addresses it may be used from; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_ips: Option<Vec<String>>,
    /// Limits of its own, by class, `all`, `concurrency` or model pattern, as in the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Value>,
    /// What it may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend_cap: Option<SpendCapRecord>,
    /// The most urgent priority that it may use: `low`, `normal`, `high`, `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urgency: Option<String>,
    /// When it stops being valid, in microseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_us: Option<i64>,
    /// When it was or will be withdrawn, in microseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_us: Option<i64>,
    /// The key that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_to: Option<String>,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_at_us: i64,
    /// When it was last changed, in microseconds since the Unix epoch.
    pub updated_at_us: i64,
    /// How often it was changed, plus one.
    pub revision: u64,
}

/// What a key may spend in a period.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SpendCapRecord {
    /// The most, a decimal string.
    pub amount: String,
    /// How often that begins anew: `day`, `week`, `month`; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
}

/// A boost as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BoostRecord {
    /// A limit's name, a class or `*`.
    pub limit: String,
    /// What it multiplies by, in millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier_ppm: Option<u64>,
    /// What it sets the limit to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// From when on, in microseconds since the Unix epoch.
    pub from_us: i64,
    /// Until when, in microseconds since the Unix epoch.
    pub until_us: i64,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Whether it was told that it began.
    #[serde(default)]
    pub begun: bool,
}

/// Kinds of resources in the store.
pub mod kind {
    /// [`super::AccountRecord`].
    pub const ACCOUNT: &str = "account";
    /// [`super::KeyRecord`].
    pub const KEY: &str = "key";
    /// [`super::BoostRecord`].
    pub const BOOST: &str = "boost";
}

impl BoostRecord {
    /// What it means; `None` if it neither multiplies nor sets.
    pub(crate) fn boost(&self, id: BoostId) -> Option<Boost> {
        let effect = match (self.multiplier_ppm, self.value) {
            (Some(ppm), None) => BoostEffect::MultiplierPpm(ppm),
            (None, Some(value)) => BoostEffect::Value(value),
            _ => return None,
        };
        Some(Boost {
            id,
            limit: self.limit.as_str().into(),
            effect,
            from: Timestamp::from_micros(self.from_us),
            until: Timestamp::from_micros(self.until_us),
        })
    }
}
