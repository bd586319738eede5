//! Boosts as the admin API writes and reads them.

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_engine::boosting::Boosting;
use weir_engine::record::BoostRecord;

use crate::problem::Problem;
use crate::shape::check;
use crate::time::{parse_rfc3339, rfc3339};

/// A limit that is raised from one time until another.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Boost)]
pub(crate) struct BoostShape {
    /// Its id.
    pub(crate) id: String,
    /// Whose limit.
    account_id: String,
    /// A limit's name, a class, or `*` for every limit.
    limit: String,
    /// What it multiplies by; `null` where it sets a value.
    #[schema(required = true, value_type = Option<f64>)]
    multiplier: Option<Number>,
    /// What it sets the limit to, where that is more; `null` where it multiplies.
    #[schema(required = true)]
    value: Option<u64>,
    /// From when on.
    #[schema(format = DateTime)]
    from: String,
    /// Until when.
    #[schema(format = DateTime)]
    until: String,
    /// Why.
    reason: String,
    /// Whether it acts now.
    active: bool,
}

/// What a new boost shall do: one of `multiplier` and `value`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewBoost)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBoostShape {
    /// A limit's name; to multiply, also a class or `*` for every limit.
    #[schema(max_length = 200)]
    limit: String,
    /// Multiplies it: from 0.000001 to 1000000.
    #[schema(value_type = Option<f64>)]
    multiplier: Option<Number>,
    /// Sets it, where that is more than it is.
    #[schema(minimum = 1)]
    value: Option<u64>,
    /// From when on; now if left out.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Until when; at most 366 days ahead.
    #[schema(format = DateTime)]
    until: String,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: String,
}

impl BoostShape {
    /// A boost as it stands.
    pub(crate) fn of(boosting: &Boosting, now: Timestamp) -> Self {
        let record = &boosting.record;
        let time = |micros| rfc3339(Timestamp::from_micros(micros));
        Self {
            id: boosting.id.to_string(),
            account_id: boosting.account.to_string(),
            limit: record.limit.clone(),
            multiplier: record.multiplier_ppm.and_then(multiplier),
            value: record.value,
            from: time(record.from_us),
            until: time(record.until_us),
            reason: record.reason.clone(),
            active: record.from_us <= now.micros() && now.micros() < record.until_us,
        }
    }
}

impl NewBoostShape {
    /// What the engine is asked for.
    ///
    /// # Errors
    ///
    /// [`Problem`] for times or factors that are none.
    pub(crate) fn record(self, now: Timestamp) -> Result<BoostRecord, Problem> {
        check::name("limit", &self.limit)?;
        check::text("reason", &self.reason)?;
        let time =
            |name: &str, text: &str| parse_rfc3339(text).map_err(|why| Problem::invalid(name, why));
        let from = self.from.as_deref().map(|from| time("from", from)).transpose()?;
        let from = from.unwrap_or(now);
        if from > now.plus(AHEAD_MAX) {
            return Err(Problem::invalid("from", "it may lie at most 366 days ahead"));
        }
        let until = time("until", &self.until)?;
        if self.value == Some(0) {
            return Err(Problem::invalid("value", "it must be at least 1"));
        }
        Ok(BoostRecord {
            limit: self.limit,
            multiplier_ppm: self.multiplier.as_ref().map(ppm).transpose()?,
            value: self.value,
            from_us: from.max(now).micros(),
            until_us: until.micros(),
            reason: self.reason,
            begun: false,
        })
    }
}

/// Millionths of a decimal number, exactly as it was written.
fn ppm(number: &Number) -> Result<u64, Problem> {
    const WRONG: &str = "it must be a number from 0.000001 to 1000000 with at most 6 decimals";
    let wrong = || Problem::invalid("multiplier", WRONG);
    let nano: Nano = number.to_string().parse().map_err(|_| wrong())?;
    let ppm =
        u64::try_from(nano.get()).ok().filter(|nano| nano % 1_000 == 0).map(|nano| nano / 1_000);
    ppm.filter(|ppm| (1..=1_000_000_000_000).contains(ppm)).ok_or_else(wrong)
}

/// The same back.
pub(crate) fn multiplier(ppm: u64) -> Option<Number> {
    let (whole, rest) = (ppm / 1_000_000, ppm % 1_000_000);
    if rest == 0 {
        return Some(whole.into());
    }
    serde_json::from_str(format!("{whole}.{rest:06}").trim_end_matches('0')).ok()
}

const AHEAD_MAX: weir_core::time::Span = weir_core::time::Span::from_secs(366 * 86_400);
