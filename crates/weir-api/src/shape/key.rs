//! Keys as the APIs write and read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use weir_core::key::{KeyInvalid, KeyType};
use weir_core::time::Timestamp;
use weir_engine::cell::KeyCell;
use weir_engine::keys::NewKey;
use weir_engine::record::SpendCapRecord;

use crate::answer::Shown;
use crate::problem::Problem;
use crate::request::Change;
use crate::shape::check;
use crate::time::{parse_rfc3339, rfc3339};

/// A key: a credential of an account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyShape {
    /// Its id.
    pub(crate) id: String,
    /// The account whose it is.
    pub(crate) account_id: String,
    /// What people call it.
    pub(crate) name: String,
    /// What kind it is.
    #[serde(rename = "type")]
    pub(crate) kind: KeyKind,
    /// Whether it can be used now.
    pub(crate) status: KeyStatus,
    /// Beginning and end of its secret.
    pub(crate) hint: String,
    /// The scopes it may use; `null`: all.
    #[schema(required = true)]
    pub(crate) scopes: Option<Vec<String>>,
    /// The models it may name; `null`: all.
    #[schema(required = true)]
    pub(crate) models: Option<Vec<String>>,
    /// The addresses it may be used from; `null`: all.
    #[schema(required = true)]
    pub(crate) allowed_ips: Option<Vec<String>>,
    /// Limits of its own, by class, `all`, `concurrency` or model pattern.
    #[schema(value_type = Object)]
    pub(crate) limits: BTreeMap<String, Value>,
    /// What it may spend; `null`: no bound of its own.
    #[schema(required = true)]
    pub(crate) spend_cap: Option<SpendCapShape>,
    /// The most urgent priority that it may use.
    pub(crate) urgency: String,
    /// When it stops being valid; `null`: never.
    #[schema(required = true, format = DateTime)]
    pub(crate) expires_at: Option<String>,
    /// When it was or will be withdrawn.
    #[schema(required = true, format = DateTime)]
    pub(crate) revoked_at: Option<String>,
    /// The key that took its place.
    #[schema(required = true)]
    pub(crate) rotated_to: Option<String>,
    /// When it last made a call, as far as this process knows.
    #[schema(required = true, format = DateTime)]
    pub(crate) last_used_at: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeKey)]
pub(crate) struct MadeKeyShape {
    /// The key.
    #[serde(flatten)]
    pub(crate) key: KeyShape,
    /// Its secret, shown in this answer and never again; `null` for an imported key, and where an
    /// `Idempotency-Key` is repeated.
    #[schema(required = true)]
    pub(crate) secret: Option<String>,
}

/// What kind of credential a key is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyKind {
    /// GET, HEAD and OPTIONS only.
    Read,
    /// Every method.
    ReadWrite,
    /// Every method, on routes whose scope it names.
    Service,
}

/// Whether a key can be used now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyStatus {
    /// It can.
    Active,
    /// Its time is over.
    Expired,
    /// It was withdrawn.
    Revoked,
}

/// What a key may spend.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SpendCap)]
pub(crate) struct SpendCapShape {
    /// The most, a decimal string.
    #[schema(example = "25.00")]
    pub(crate) amount: String,
    /// How often that begins anew: `day`, `week` or `month`, by the calendar in UTC; left out:
    /// never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) period: Option<String>,
}

/// What a new key shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub(crate) struct NewKeyShape {
    /// What people call it; need not be unique.
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) name: String,
    /// What kind it is.
    #[serde(rename = "type")]
    pub(crate) kind: KeyKind,
    /// The scopes it may use; left out: all.
    pub(crate) scopes: Option<Vec<String>>,
    /// The models it may name, or patterns such as `gpt-*`; left out: all.
    pub(crate) models: Option<Vec<String>>,
    /// Addresses or blocks it may be used from; left out: all.
    pub(crate) allowed_ips: Option<Vec<String>>,
    /// Limits of its own, by class, `all`, `concurrency` or `model:PATTERN`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) limits: BTreeMap<String, Value>,
    /// What it may spend.
    pub(crate) spend_cap: Option<SpendCapShape>,
    /// The most urgent priority that it may use: `low`, `normal` (default), `high`, `critical`.
    pub(crate) urgency: Option<String>,
    /// When it stops being valid.
    #[schema(format = DateTime)]
    pub(crate) expires_at: Option<String>,
    /// SHA-256 in hex of a secret that customers already hold: imports it.
    pub(crate) secret_sha256: Option<String>,
}

/// What shall change of a key; members that are left out stay, `null` takes a bound away.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyChange {
    /// What people call it.
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) name: Option<String>,
    /// The scopes it may use.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub(crate) scopes: Change<Vec<String>>,
    /// The models it may name.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub(crate) models: Change<Vec<String>>,
    /// The addresses it may be used from.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub(crate) allowed_ips: Change<Vec<String>>,
    /// Limits of its own: each one named is set, or taken away by `null`; the others stay.
    #[schema(value_type = Option<Object>)]
    pub(crate) limits: Option<BTreeMap<String, Value>>,
    /// What it may spend.
    #[serde(default)]
    #[schema(value_type = Option<SpendCapShape>)]
    pub(crate) spend_cap: Change<SpendCapShape>,
    /// The most urgent priority that it may use.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) urgency: Change<String>,
    /// When it stops being valid.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) expires_at: Change<String>,
}

/// How a key is rotated.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the old key stays valid beside the new one: `"0s"` to `"90d"`.
    #[schema(example = "24h")]
    pub(crate) overlap: String,
}

impl KeyShape {
    /// A key as it stands.
    pub(crate) fn shown(cell: &KeyCell, now: Timestamp) -> Shown<Self> {
        let state = cell.state.load();
        let record = &state.record;
        let time = |micros: Option<i64>| micros.map(|at| rfc3339(Timestamp::from_micros(at)));
        let status = match state.key.check_valid(now) {
            Ok(()) => KeyStatus::Active,
            Err(KeyInvalid::Expired { .. }) => KeyStatus::Expired,
            Err(KeyInvalid::Revoked { .. }) => KeyStatus::Revoked,
        };
        let body = Self {
            id: cell.id.to_string(),
            account_id: cell.account.id.to_string(),
            name: record.name.clone(),
            kind: KeyKind::of(state.key.kind),
            status,
            hint: record.hint.clone(),
            scopes: record.scopes.clone(),
            models: record.models.clone(),
            allowed_ips: record.allowed_ips.clone(),
            limits: record.limits.clone(),
            spend_cap: record.spend_cap.as_ref().map(|cap| SpendCapShape {
                amount: cap.amount.clone(),
                period: cap.period.clone(),
            }),
            urgency: record.urgency.clone().unwrap_or_else(|| "normal".to_owned()),
            expires_at: time(record.expires_at_us),
            revoked_at: time(record.revoked_at_us),
            rotated_to: record.rotated_to.clone(),
            last_used_at: cell.last_used().map(rfc3339),
            created_at: rfc3339(Timestamp::from_micros(record.created_at_us)),
        };
        // When it was used last is no change that a date could tell.
        Shown { body, revision: Some(record.revision), changed_at: None }
    }
}

impl KeyKind {
    fn of(kind: KeyType) -> Self {
        match kind {
            KeyType::Read => Self::Read,
            KeyType::ReadWrite => Self::ReadWrite,
            KeyType::Service => Self::Service,
        }
    }

    pub(crate) fn core(self) -> KeyType {
        match self {
            Self::Read => KeyType::Read,
            Self::ReadWrite => KeyType::ReadWrite,
            Self::Service => KeyType::Service,
        }
    }
}

impl SpendCapShape {
    pub(crate) fn record(self) -> SpendCapRecord {
        SpendCapRecord { amount: self.amount, period: self.period }
    }
}

impl NewKeyShape {
    /// What the engine is asked for.
    ///
    /// # Errors
    ///
    /// [`Problem`] for members that are too long or no times.
    pub(crate) fn wanted(self, now: Timestamp) -> Result<NewKey, Problem> {
        check::name("name", &self.name)?;
        check::list("scopes", self.scopes.as_deref())?;
        check::list("models", self.models.as_deref())?;
        check::list("allowed_ips", self.allowed_ips.as_deref())?;
        check::members("limits", self.limits.len())?;
        let expires_at = self.expires_at.as_deref().map(|at| future(at, now)).transpose()?;
        Ok(NewKey {
            name: self.name,
            kind: self.kind.core().name().to_owned(),
            scopes: self.scopes,
            models: self.models,
            allowed_ips: self.allowed_ips,
            limits: self.limits,
            spend_cap: self.spend_cap.map(SpendCapShape::record),
            urgency: self.urgency,
            expires_at,
            secret_sha256: self.secret_sha256,
        })
    }
}

/// A time that is still to come.
pub(crate) fn future(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let at = parse_rfc3339(text).map_err(|why| Problem::invalid("expires_at", why))?;
    if at <= now {
        return Err(Problem::invalid("expires_at", "it must lie in the future"));
    }
    Ok(at)
}
