//! Requests for higher limits as the APIs write and read them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use weir_core::time::Timestamp;
use weir_engine::increases::{Increase, IncreaseStatus, NewIncrease};

use crate::answer::Shown;
use crate::problem::Problem;
use crate::shape::check;
use crate::time::{parse_rfc3339, rfc3339};

/// A customer's request for a higher limit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LimitIncrease)]
pub(crate) struct IncreaseShape {
    /// Its id.
    pub(crate) id: String,
    /// Who asks.
    account_id: String,
    /// The account's plan when it asked.
    plan: String,
    /// The limit's name.
    limit: String,
    /// How much is expected to be needed: a number or words.
    expected_volume: Value,
    /// What for.
    use_case: String,
    /// From when on.
    timeline: String,
    /// Until when; `null`: for good.
    #[schema(required = true, format = DateTime)]
    until: Option<String>,
    /// What became of it.
    status: IncreaseStatusShape,
    /// What was granted.
    #[schema(required = true)]
    granted: Option<Value>,
    /// Why it was declined.
    #[schema(required = true)]
    reason: Option<String>,
    /// The boost that grants it.
    #[schema(required = true)]
    boost_id: Option<String>,
    /// When it was decided.
    #[schema(required = true, format = DateTime)]
    decided_at: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = IncreaseStatus)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IncreaseStatusShape {
    /// Nothing yet.
    Pending,
    /// It was granted.
    Approved,
    /// It was not.
    Declined,
}

/// What a customer asks for. The present plan is noted with it.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewLimitIncrease)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewIncreaseShape {
    /// The limit's name, as `GET limits` shows it.
    limit: String,
    /// How much is expected to be needed: a number or words.
    expected_volume: Value,
    /// What for.
    #[schema(max_length = 1000)]
    use_case: String,
    /// From when on.
    #[schema(max_length = 1000)]
    timeline: String,
    /// Until when, if it is needed for some time only.
    #[schema(format = DateTime)]
    until: Option<String>,
}

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct IncreasesWanted {
    /// How many at most; 50 if left out.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// Only those of this status.
    #[param(inline)]
    pub(crate) status: Option<IncreaseStatusShape>,
}

/// What is granted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    /// The new limit: `"2000/hour"`, the long form, or a number, which keeps the present window.
    pub(crate) limit: Value,
}

/// Why not.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decline {
    /// What the customer is told.
    #[schema(min_length = 1, max_length = 1000)]
    pub(crate) reason: String,
}

impl IncreaseShape {
    /// A request as it stands.
    pub(crate) fn shown(increase: &Increase) -> Shown<Self> {
        let record = &increase.record;
        let time = |micros: Option<i64>| micros.map(|at| rfc3339(Timestamp::from_micros(at)));
        let body = Self {
            id: increase.id.to_string(),
            account_id: increase.account.to_string(),
            plan: record.plan.clone(),
            limit: record.limit.clone(),
            expected_volume: record.expected_volume.clone(),
            use_case: record.use_case.clone(),
            timeline: record.timeline.clone(),
            until: time(record.until_us),
            status: IncreaseStatusShape::of(record.status),
            granted: record.granted.clone(),
            reason: record.reason.clone(),
            boost_id: record.boost_id.clone(),
            decided_at: time(record.decided_at_us),
            created_at: rfc3339(increase.created_at),
        };
        let changed_at = Some(increase.updated_at);
        Shown { body, revision: Some(increase.revision), changed_at }
    }
}

impl IncreaseStatusShape {
    fn of(status: IncreaseStatus) -> Self {
        match status {
            IncreaseStatus::Pending => Self::Pending,
            IncreaseStatus::Approved => Self::Approved,
            IncreaseStatus::Declined => Self::Declined,
        }
    }

    pub(crate) fn engine(self) -> IncreaseStatus {
        match self {
            Self::Pending => IncreaseStatus::Pending,
            Self::Approved => IncreaseStatus::Approved,
            Self::Declined => IncreaseStatus::Declined,
        }
    }
}

impl NewIncreaseShape {
    /// What the engine is asked for.
    ///
    /// # Errors
    ///
    /// [`Problem`] for members that are too long, or no time.
    pub(crate) fn wanted(self) -> Result<NewIncrease, Problem> {
        check::name("limit", &self.limit)?;
        let plausible = match &self.expected_volume {
            Value::Number(_) => true,
            Value::String(text) => !text.trim().is_empty() && text.chars().count() <= 1_000,
            _ => false,
        };
        if !plausible {
            let why = "it must be a number, or words of at most 1000 characters";
            return Err(Problem::invalid("expected_volume", why));
        }
        for (member, text) in [("use_case", &self.use_case), ("timeline", &self.timeline)] {
            check::text(member, text)?;
            if text.trim().is_empty() {
                return Err(Problem::invalid(member, "it must say something"));
            }
        }
        let until = self.until.as_deref().map(parse_rfc3339).transpose();
        let until = until.map_err(|why| Problem::invalid("until", why))?;
        Ok(NewIncrease {
            limit: self.limit,
            expected_volume: self.expected_volume,
            use_case: self.use_case,
            timeline: self.timeline,
            until,
        })
    }
}
