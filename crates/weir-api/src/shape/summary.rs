//! The summary of an account's last day: how busy, by whom, and how long things last.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use weir_core::money::Nano;
use weir_engine::cell::AccountCell;
use weir_engine::engine::Engine;
use weir_engine::usage::{Dimension, Interval, UsageRow, UsageSums, UsageWanted, exhaustion_at};

use crate::problem::Problem;
use crate::shape::usage::{DAY, SumsShape};
use crate::time::rfc3339;

/// The last 24 hours of an account, and how long its limits and credit last at this rate.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageSummary)]
pub(crate) struct SummaryShape {
    /// From when on it tells.
    #[schema(format = DateTime)]
    from: String,
    /// Until when.
    #[schema(format = DateTime)]
    to: String,
    /// Everything together.
    totals: SumsShape,
    /// The busiest minute; `null` without calls.
    #[schema(required = true)]
    peak: Option<PeakShape>,
    /// Requests per hour on average, rounded up.
    average_requests_per_hour: u64,
    /// Who and what used most, by what was charged, then by requests; at most ten of each. It counts
    /// whole hours, also the one that was running a day ago.
    top: TopShape,
    /// When each limit will be used up if it is used on as in its present window.
    exhaustion: Vec<ExhaustionShape>,
    /// What was charged per hour on average.
    burn_per_hour: String,
    /// For how many hours what is available lasts at that rate, rounded down; `null`: nothing is
    /// charged at present.
    #[schema(required = true)]
    runway_hours: Option<u64>,
}

/// The busiest minute.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Peak)]
pub(crate) struct PeakShape {
    /// When it began.
    #[schema(format = DateTime)]
    at: String,
    /// Calls in it.
    requests: u64,
}

/// Who and what used most.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Top)]
pub(crate) struct TopShape {
    /// By key.
    keys: Vec<ConsumerShape>,
    /// By model.
    models: Vec<ConsumerShape>,
    /// By route.
    routes: Vec<ConsumerShape>,
}

/// A part of the usage.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Consumer)]
pub(crate) struct ConsumerShape {
    /// The key's id, the model or the route.
    name: String,
    /// Calls.
    requests: u64,
    /// What was charged.
    charged: String,
}

/// When a limit will be used up.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Exhaustion)]
pub(crate) struct ExhaustionShape {
    /// The limit's name.
    name: String,
    /// When it is used up at the present rate; `null`: not before its window ends.
    #[schema(required = true, format = DateTime)]
    exhaustion_at: Option<String>,
}

/// The summary of an account.
///
/// # Errors
///
/// [`Problem`] where the store fails.
pub(crate) async fn summary(engine: &Engine, cell: &AccountCell) -> Result<SummaryShape, Problem> {
    let now = engine.now();
    let from = now.minus(DAY);
    let of_day = |interval, group_by| UsageWanted {
        account: Some(cell.id),
        from,
        to: now,
        interval,
        group_by,
    };
    let interval = Interval::Minute;
    let minutes = engine.usage(of_day(interval, Vec::new())).await?;
    let mut totals = UsageSums::default();
    minutes.iter().for_each(|row| totals.add(&row.sums));
    let peak = minutes.iter().map(|row| (row.sums.requests(), row.start)).max();
    let consumers = vec![Dimension::Key, Dimension::Model, Dimension::Route];
    let rows = engine.usage(of_day(Interval::Hour, consumers)).await?;
    // An account that is younger than a day is judged by the time that it had.
    let age = now.since(cell.created_at().max(from));
    let hours = u64::try_from(age.secs_ceil()).unwrap_or(0).div_ceil(3_600).clamp(1, 24);
    let burn = Nano::new(totals.charged().or_zero().get() / i64::try_from(hours).unwrap_or(24));
    let available = engine.wallet_of(cell).available.or_zero();
    let runway_hours = (burn > Nano::ZERO).then(|| available.get() / burn.get());
    let exhaustion = engine
        .limits_of(cell, None)
        .iter()
        .map(|view| ExhaustionShape {
            name: view.name.to_owned(),
            exhaustion_at: exhaustion_at(view, now).map(rfc3339),
        })
        .collect();
    Ok(SummaryShape {
        from: rfc3339(interval.start(from)),
        to: rfc3339(now),
        totals: SumsShape::of(&totals),
        peak: peak.map(|(requests, at)| PeakShape { at: rfc3339(at), requests }),
        average_requests_per_hour: totals.requests().div_ceil(hours),
        top: TopShape { keys: top(&rows, 0), models: top(&rows, 1), routes: top(&rows, 2) },
        exhaustion,
        burn_per_hour: burn.to_string(),
        runway_hours: runway_hours.and_then(|hours| u64::try_from(hours).ok()),
    })
}

/// The largest parts by one member of the group; calls that have none there are left out.
fn top(rows: &[UsageRow], member: usize) -> Vec<ConsumerShape> {
    let mut parts: BTreeMap<&str, UsageSums> = BTreeMap::new();
    for row in rows {
        let name = row.group.get(member).map_or("", String::as_str);
        if !name.is_empty() {
            parts.entry(name).or_default().add(&row.sums);
        }
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|(_, sums)| std::cmp::Reverse((sums.charged(), sums.requests())));
    parts.truncate(TOP_MAX);
    let shape = |(name, sums): (&str, UsageSums)| ConsumerShape {
        name: name.to_owned(),
        requests: sums.requests(),
        charged: sums.charged().to_string(),
    };
    parts.into_iter().map(shape).collect()
}

const TOP_MAX: usize = 10;
