//! Limits as the APIs show them.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_core::account::Owner;
use weir_core::admit::LimitView;
use weir_core::limit::{Algorithm, Unit};
use weir_core::money::Nano;

use crate::time::rfc3339;

/// Where all limits stand.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limits)]
pub(crate) struct LimitsShape {
    /// The account's limits, then those of the key.
    pub(crate) limits: Vec<LimitShape>,
}

/// Where a limit stands. Amounts are numbers; in credits they are decimal strings.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limit)]
pub(crate) struct LimitShape {
    /// Its name: `ai`, `ai.tokens`, `all`, `model:gpt-*`, `route:POST /ai/chat`, `key:ai`.
    name: String,
    /// Whose use it counts: `account` or `key`.
    per: &'static str,
    /// What it counts: `requests`, `tokens`, `credits`.
    unit: &'static str,
    /// How: `fixed-window`, `sliding-window`, `token-bucket`, `concurrency`.
    algorithm: &'static str,
    /// Units per window; `null`: unlimited.
    #[schema(required = true, value_type = Option<Value>)]
    limit: Option<Value>,
    /// What was used of the present window.
    used: Value,
    /// What is left of it; `null`: unlimited.
    #[schema(required = true, value_type = Option<Value>)]
    remaining: Option<Value>,
    /// The length of a window in seconds; 0 for concurrency.
    window_s: i64,
    /// When the window ends; one not yet begun ends a window's length from now. `null` for
    /// concurrency.
    #[schema(required = true, format = DateTime)]
    reset_at: Option<String>,
    /// Whether a boost acts on it.
    boosted: bool,
    /// Whether it only watches and never refuses.
    shadow: bool,
}

impl LimitShape {
    /// Where a limit stands.
    pub(crate) fn of(view: &LimitView) -> Self {
        let told = |amount: u64| told(view.unit, amount);
        let in_flight = view.algorithm == Algorithm::Concurrency;
        Self {
            name: view.name.to_owned(),
            per: match view.owner {
                Owner::Account => "account",
                Owner::Key(_) => "key",
            },
            unit: view.unit.name(),
            algorithm: view.algorithm.name(),
            limit: view.now.limit.map(told),
            used: told(view.now.used),
            remaining: view.now.limit.map(|_| told(view.now.remaining)),
            window_s: view.now.window.secs_ceil(),
            reset_at: (!in_flight).then(|| rfc3339(view.now.reset_at)),
            boosted: view.boosted,
            shadow: view.shadow,
        }
    }
}

/// An amount as it is told: a number, of credits a decimal string.
pub(crate) fn told(unit: Unit, amount: u64) -> Value {
    match unit {
        Unit::Credits => {
            Value::from(Nano::new(i64::try_from(amount).unwrap_or(i64::MAX)).to_string())
        }
        Unit::Requests | Unit::Tokens => Value::from(amount),
    }
}
