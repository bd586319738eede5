//! Usage as the APIs show it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use weir_core::id::AccountId;
use weir_core::time::{Span, Timestamp};
use weir_engine::usage::{Dimension, Interval, UsageRow, UsageSums, UsageWanted};

use crate::problem::Problem;
use crate::table::Format;
use crate::time::{parse_rfc3339, rfc3339};

/// Which usage.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// From the interval that holds this time; a day before `to` if left out.
    #[param(format = DateTime)]
    pub(crate) from: Option<String>,
    /// Up to this time; now if left out.
    #[param(format = DateTime)]
    pub(crate) to: Option<String>,
    /// `minute` (kept for 2 days unless configured), `hour` (100 days; what is taken if left out) or
    /// `day` (for good).
    #[param(inline)]
    pub(crate) interval: Option<IntervalShape>,
    /// Any of `account`, `key`, `route`, `class`, `model`, `status`, with commas between them; over
    /// all accounts `key` only beside `account`.
    pub(crate) group_by: Option<String>,
    /// Whether everything that is counted tells its calls by latency, too.
    #[serde(default)]
    #[param(default = false)]
    pub(crate) histogram: bool,
    /// How it is written; what `Accept` says if left out.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

/// The length of an interval.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Interval)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IntervalShape {
    /// Sixty seconds.
    Minute,
    /// Sixty minutes.
    Hour,
    /// Twenty-four hours, from midnight in UTC.
    Day,
}

/// Usage over time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub(crate) struct UsageShape {
    /// Where the first interval begins.
    #[schema(format = DateTime)]
    from: String,
    /// Up to when.
    #[schema(format = DateTime)]
    to: String,
    /// The length of an interval.
    interval: IntervalShape,
    /// Everything together.
    totals: SumsShape,
    /// By interval and group; those without a call are left out.
    series: Vec<UsageRowShape>,
}

/// Usage of one interval, one group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageRow)]
pub(crate) struct UsageRowShape {
    /// When the interval begins.
    #[schema(format = DateTime)]
    start: String,
    /// The group: a value for each member of `group_by`.
    group: BTreeMap<&'static str, String>,
    /// What was counted.
    #[serde(flatten)]
    sums: SumsShape,
}

/// What was counted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sums)]
pub(crate) struct SumsShape {
    /// Calls.
    requests: u64,
    /// Calls that failed on the server's side.
    errors: u64,
    /// Calls that a limit or the wallet refused.
    limited: u64,
    /// Prompt tokens of every kind.
    input_tokens: u64,
    /// Of the prompt tokens, those read from the upstream's cache.
    cached_input_tokens: u64,
    /// Of the prompt tokens, those written into the upstream's cache.
    cache_write_tokens: u64,
    /// Of the prompt tokens, audio.
    audio_input_tokens: u64,
    /// Generated tokens of every kind.
    output_tokens: u64,
    /// Of the generated tokens, those that the caller does not see.
    reasoning_tokens: u64,
    /// Of the generated tokens, audio.
    audio_output_tokens: u64,
    /// Bytes of the bodies of calls, as they were passed on.
    request_bytes: u64,
    /// Bytes of the bodies of answers, as they came from upstreams.
    response_bytes: u64,
    /// What was charged.
    charged: String,
    /// Half of the calls took no longer than this; `null` without calls.
    #[schema(required = true)]
    latency_p50_ms: Option<u64>,
    /// 95 of 100 calls took no longer than this; `null` without calls.
    #[schema(required = true)]
    latency_p95_ms: Option<u64>,
    /// 99 of 100 calls took no longer than this; `null` without calls.
    #[schema(required = true)]
    latency_p99_ms: Option<u64>,
    /// Calls by latency, the quickest first, where `histogram` asks for it. Together they are
    /// `requests`, less what was counted from the ledger alone after a crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    latency_histogram: Option<Vec<LatencyShape>>,
}

/// Calls of about the same latency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LatencyBucket)]
pub(crate) struct LatencyShape {
    /// They took no longer than this, and longer than the ones before; `null`: however long.
    #[schema(required = true)]
    up_to_ms: Option<u64>,
    /// How many.
    requests: u64,
}

impl UsageQuery {
    /// What the engine is asked for.
    ///
    /// # Errors
    ///
    /// [`Problem`] for times or dimensions that are none.
    pub(crate) fn wanted(
        &self,
        account: Option<AccountId>,
        now: Timestamp,
    ) -> Result<UsageWanted, Problem> {
        let time = |name: &str, text: &Option<String>| {
            let time = text.as_deref().map(parse_rfc3339).transpose();
            time.map_err(|why| Problem::invalid(name, why))
        };
        let to = time("to", &self.to)?.unwrap_or(now);
        let from = time("from", &self.from)?.unwrap_or(to.minus(DAY));
        let names = self.group_by.iter().flat_map(|names| names.split(','));
        let mut group_by = Vec::new();
        for name in names.map(str::trim).filter(|name| !name.is_empty()) {
            let dimension = Dimension::by_name(name).ok_or_else(|| {
                Problem::invalid("group_by", format!("usage is not told apart by `{name}`"))
            })?;
            if !group_by.contains(&dimension) {
                group_by.push(dimension);
            }
        }
        let apart = account.is_some() || group_by.contains(&Dimension::Account);
        if group_by.contains(&Dimension::Key) && !apart {
            let why = "over all accounts, `key` stands only beside `account`";
            return Err(Problem::invalid("group_by", why));
        }
        let interval = self.interval().engine();
        Ok(UsageWanted { account, from, to, interval, group_by })
    }

    fn interval(&self) -> IntervalShape {
        self.interval.unwrap_or(IntervalShape::Hour)
    }

    /// The answer.
    pub(crate) fn answer(&self, wanted: &UsageWanted, rows: &[UsageRow]) -> UsageShape {
        let mut totals = UsageSums::default();
        for row in rows {
            totals.add(&row.sums);
        }
        let shape = |sums: &UsageSums| match self.histogram {
            true => SumsShape::of(sums).with_histogram(sums),
            false => SumsShape::of(sums),
        };
        let series = rows.iter().map(|row| UsageRowShape {
            start: rfc3339(row.start),
            group: wanted.group_by.iter().map(|by| by.name()).zip(row.group.clone()).collect(),
            sums: shape(&row.sums),
        });
        UsageShape {
            from: rfc3339(wanted.interval.start(wanted.from)),
            to: rfc3339(wanted.to),
            interval: self.interval(),
            totals: shape(&totals),
            series: series.collect(),
        }
    }
}

impl UsageShape {
    /// Row by row, without the totals.
    ///
    /// # Errors
    ///
    /// [`Problem`] should a row be no JSON.
    pub(crate) fn rows(&self) -> Result<Vec<Value>, Problem> {
        let rows = self.series.iter().map(serde_json::to_value);
        rows.collect::<Result<_, _>>().map_err(|why| Problem::internal(&why))
    }
}

/// The columns of a table of usage: a heading, and where its cells are found in a row.
pub(crate) fn columns(wanted: &UsageWanted, histogram: bool) -> Vec<(String, String)> {
    let of_row = |name: &str| (name.to_owned(), format!("/{name}"));
    let groups = wanted.group_by.iter().map(|by| by.name());
    let groups = groups.map(|name| (name.to_owned(), format!("/group/{name}")));
    let buckets = UsageSums::default().latencies().filter(|_| histogram).enumerate();
    let latencies = buckets.map(|(index, (up_to_ms, _))| {
        let heading = match up_to_ms {
            Some(bound) => format!("latency_up_to_{bound}_ms"),
            None => "latency_above".to_owned(),
        };
        (heading, format!("/latency_histogram/{index}/requests"))
    });
    std::iter::once(of_row("start"))
        .chain(groups)
        .chain(SUMS.iter().map(|name| of_row(name)))
        .chain(latencies)
        .collect()
}

impl IntervalShape {
    fn engine(self) -> Interval {
        match self {
            Self::Minute => Interval::Minute,
            Self::Hour => Interval::Hour,
            Self::Day => Interval::Day,
        }
    }
}

impl SumsShape {
    /// What was counted.
    pub(crate) fn of(sums: &UsageSums) -> Self {
        Self {
            requests: sums.requests(),
            errors: sums.errors(),
            limited: sums.limited(),
            input_tokens: sums.input_tokens(),
            cached_input_tokens: sums.cached_input_tokens(),
            cache_write_tokens: sums.cache_write_tokens(),
            audio_input_tokens: sums.audio_input_tokens(),
            output_tokens: sums.output_tokens(),
            reasoning_tokens: sums.reasoning_tokens(),
            audio_output_tokens: sums.audio_output_tokens(),
            request_bytes: sums.request_bytes(),
            response_bytes: sums.response_bytes(),
            charged: sums.charged().to_string(),
            latency_p50_ms: sums.latency_ms(50),
            latency_p95_ms: sums.latency_ms(95),
            latency_p99_ms: sums.latency_ms(99),
            latency_histogram: None,
        }
    }

    fn with_histogram(self, sums: &UsageSums) -> Self {
        let bucket = |(up_to_ms, requests)| LatencyShape { up_to_ms, requests };
        Self { latency_histogram: Some(sums.latencies().map(bucket).collect()), ..self }
    }
}

/// The members of [`SumsShape`] that are always there, in order.
const SUMS: [&str; 16] = [
    "requests",
    "errors",
    "limited",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "audio_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_output_tokens",
    "request_bytes",
    "response_bytes",
    "charged",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
];

/// What is shown if nothing else is asked for.
pub(crate) const DAY: Span = Span::from_secs(86_400);
