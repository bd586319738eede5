//! Accounts as the admin API writes and reads them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use weir_core::time::Timestamp;
use weir_engine::cell::AccountCell;
use weir_engine::contracts::ContractRecord;

use crate::answer::Shown;
use crate::problem::Problem;
use crate::request::Change;
use crate::time::{parse_rfc3339, rfc3339};

/// An account: the paying party.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(crate) struct AccountShape {
    /// Its id.
    #[schema(example = "acct_01k1f2m8x3q4z")]
    pub(crate) id: String,
    /// What people call it.
    pub(crate) name: String,
    /// The name of its plan.
    pub(crate) plan: String,
    /// Whether its calls are let through.
    pub(crate) status: AccountStatus,
    /// The operator's own id for it.
    #[schema(required = true)]
    pub(crate) external_id: Option<String>,
    /// Where notices go.
    #[schema(required = true)]
    pub(crate) email: Option<String>,
    /// Whatever the operator keeps with it.
    #[schema(value_type = Object)]
    pub(crate) metadata: Map<String, Value>,
    /// Values of its own for limits, by the limit's name, as in the configuration.
    #[schema(value_type = Object)]
    pub(crate) limits: BTreeMap<String, Value>,
    /// Its contract; `null`: it has none.
    #[schema(required = true)]
    pub(crate) contract: Option<ContractShape>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    pub(crate) updated_at: String,
}

/// Whether an account's calls are let through.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountStatus {
    /// They are.
    Active,
    /// They are refused by hand.
    Suspended,
}

/// What a new account shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAccount)]
pub(crate) struct NewAccountShape {
    /// What people call it.
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) name: String,
    /// The name of its plan.
    pub(crate) plan: String,
    /// The operator's own id for it; no two accounts may have the same.
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) external_id: Option<String>,
    /// Where notices go.
    #[schema(max_length = 254)]
    pub(crate) email: Option<String>,
    /// Whatever the operator wants to keep with it; at most 16 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) metadata: Map<String, Value>,
}

/// What shall change of an account; members that are left out stay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountChange {
    /// What people call it.
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) name: Option<String>,
    /// The name of its plan.
    pub(crate) plan: Option<String>,
    /// Whether its calls are let through.
    pub(crate) status: Option<AccountStatus>,
    /// The operator's own id for it; `null` takes it away.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    pub(crate) external_id: Change<String>,
    /// Where notices go; `null` takes it away.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 254)]
    pub(crate) email: Change<String>,
    /// Replaces everything that is kept with it; at most 16 KiB.
    #[schema(value_type = Option<Object>)]
    pub(crate) metadata: Option<Map<String, Value>>,
    /// Values of its own for limits, by the limit's name: each one named is set, or taken away by
    /// `null`; the others stay.
    #[schema(value_type = Option<Object>)]
    pub(crate) limits: Option<BTreeMap<String, Value>>,
    /// Prices and terms of its own, in force with the next call; `null` ends them.
    #[serde(default)]
    #[schema(value_type = Option<ContractShape>)]
    pub(crate) contract: Change<ContractShape>,
}

impl AccountShape {
    /// An account as it stands.
    pub(crate) fn shown(cell: &AccountCell) -> Shown<Self> {
        let record = cell.record.load();
        let time = |micros| rfc3339(Timestamp::from_micros(micros));
        let body = Self {
            id: cell.id.to_string(),
            name: record.name.clone(),
            plan: record.plan.clone(),
            status: AccountStatus::of(record.suspended),
            external_id: record.external_id.clone(),
            email: record.email.clone(),
            metadata: record.metadata.clone(),
            limits: record.limits.clone(),
            contract: record.contract.as_ref().and_then(ContractShape::of),
            created_at: time(record.created_at_us),
            updated_at: time(record.updated_at_us),
        };
        let changed_at = Some(Timestamp::from_micros(record.updated_at_us));
        Shown { body, revision: Some(record.revision), changed_at }
    }
}

/// Prices and terms of one account.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContractShape {
    /// Prices by name, written as in the configuration; they replace list prices of that name.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"gpt-4o": {"input_tokens": "2.00/1M"}}))]
    pub(crate) prices: BTreeMap<String, Map<String, Value>>,
    /// What list prices are multiplied by.
    #[schema(example = "0.9")]
    pub(crate) multiplier: Option<String>,
    /// From when on it is in force; left out: at once.
    #[schema(format = DateTime)]
    pub(crate) from: Option<String>,
    /// When it ends; left out: never.
    #[schema(format = DateTime)]
    pub(crate) until: Option<String>,
    /// The least that is spent in a calendar month in UTC: what it falls short is charged after it.
    pub(crate) commitment: Option<String>,
    /// How far its balance may fall below zero meanwhile.
    pub(crate) credit_line: Option<String>,
}

impl ContractShape {
    fn of(kept: &Value) -> Option<Self> {
        let record: ContractRecord = serde_json::from_value(kept.clone()).ok()?;
        let time = |micros| rfc3339(Timestamp::from_micros(micros));
        Some(Self {
            prices: record.prices,
            multiplier: record.multiplier,
            from: record.from_us.map(time),
            until: record.until_us.map(time),
            commitment: record.commitment,
            credit_line: record.credit_line,
        })
    }

    /// As it is kept with the account.
    pub(crate) fn kept(self) -> Result<Value, Problem> {
        let time = |member: &str, text: Option<String>| {
            let at = text.as_deref().map(parse_rfc3339).transpose();
            at.map(|at| at.map(Timestamp::micros)).map_err(|why| Problem::invalid(member, why))
        };
        let record = ContractRecord {
            prices: self.prices,
            multiplier: self.multiplier,
            from_us: time("contract.from", self.from)?,
            until_us: time("contract.until", self.until)?,
            commitment: self.commitment,
            credit_line: self.credit_line,
        };
        serde_json::to_value(record).map_err(|why| Problem::internal(&why))
    }
}

impl AccountStatus {
    pub(crate) fn of(suspended: bool) -> Self {
        if suspended { Self::Suspended } else { Self::Active }
    }
}
