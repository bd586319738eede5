//! `weir usage`: what was used, as a time series.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, Target, exit_code, query};
use crate::print::{self, Column};
use crate::sheet::sheet;

/// What `weir usage` takes.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// The account's id or your own; without: all accounts together.
    account: Option<String>,
    /// From when on: `2026-11-01T00:00:00Z`.
    #[arg(long)]
    from: Option<String>,
    /// Until when.
    #[arg(long)]
    to: Option<String>,
    /// The length of a step.
    #[arg(long, default_value = "hour", value_parser = ["minute", "hour", "day"])]
    interval: String,
    /// What to tell apart: `account`, `key`, `route`, `class`, `model`, `status`, with commas.
    #[arg(long)]
    group_by: Option<String>,
    /// Show how many calls took how long, all steps and groups together.
    #[arg(long)]
    histogram: bool,
    /// Show the last day in short: peak, average, top consumers, how long limits and credit last.
    #[arg(
        long,
        requires = "account",
        conflicts_with_all = ["from", "to", "interval", "group_by", "histogram"]
    )]
    summary: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs `weir usage`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &UsageArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(show(args, &client))
}

fn show(args: &UsageArgs, client: &Client) -> anyhow::Result<()> {
    let path = match &args.account {
        Some(account) => format!("accounts/{}/usage", client.account(account)?),
        None => "usage".to_owned(),
    };
    let json = args.target.json;
    if args.summary {
        let told = client.read(&format!("{path}/summary"))?;
        let shown = if json { print::one(&told, true) } else { summary(&told) };
        return shown.map_err(Into::into);
    }
    let wanted = [
        ("interval", Some(args.interval.as_str())),
        ("from", args.from.as_deref()),
        ("to", args.to.as_deref()),
        ("group_by", args.group_by.as_deref()),
        ("histogram", args.histogram.then_some("true")),
    ];
    let answer = client.read(&query(&path, &wanted))?;
    let series = answer.get("series").and_then(Value::as_array);
    let series = series.map_or(&[][..], |series| series);
    if args.histogram && !json && !series.is_empty() {
        let buckets = answer.pointer("/totals/latency_histogram").and_then(Value::as_array);
        return Ok(histogram(buckets.map_or(&[][..], |buckets| buckets))?);
    }
    let by = args.group_by.iter().flat_map(|names| names.split(','));
    let by = by.filter_map(|name| GROUPS.iter().find(|(known, _)| *known == name.trim()));
    let columns: Vec<Column> =
        [START].into_iter().chain(by.copied()).chain(SUMS.iter().copied()).collect();
    print::rows(series, &columns, json)?;
    if series.is_empty() && !json {
        writeln!(io::stderr(), "a call is counted about two seconds after its end")?;
    }
    Ok(())
}

/// The last day in short.
fn summary(told: &Value) -> io::Result<()> {
    let text = |place: &str| print::cell(told.pointer(place));
    let calls = ["requests", "errors", "limited"];
    let calls = calls.map(|name| format!("{} {name}", text(&format!("/totals/{name}"))));
    let took = ["p50", "p95", "p99"];
    let took =
        took.map(|name| format!("{name} {} ms", text(&format!("/totals/latency_{name}_ms"))));
    let peak = format!("{} calls in the minute from {}", text("/peak/requests"), text("/peak/at"));
    let peak = if told["peak"].is_null() { "-".to_owned() } else { peak };
    let runway = format!("{} hours at this rate", text("/runway_hours"));
    let runway = if told["runway_hours"].is_null() { "-".to_owned() } else { runway };
    let mut out = io::stdout().lock();
    for (label, said) in [
        ("since", text("/from")),
        ("calls", calls.join(", ")),
        ("average", format!("{} calls per hour", text("/average_requests_per_hour"))),
        ("peak", peak),
        ("latency", if told["peak"].is_null() { "-".to_owned() } else { took.join(", ") }),
        ("charged", format!("{}, {} per hour", text("/totals/charged"), text("/burn_per_hour"))),
        ("credit for", runway),
    ] {
        writeln!(out, "{label:10}  {said}")?;
    }
    drop(out);
    let top = [("key", "keys"), ("model", "models"), ("route", "routes")].into_iter();
    let top = top.flat_map(|(by, place)| {
        let rows = told["top"][place].as_array().into_iter().flatten();
        rows.map(move |row| json!({ "by": by, "used": row }))
    });
    let used_up = told["exhaustion"].as_array().into_iter().flatten();
    let used_up = used_up.filter(|limit| !limit["exhaustion_at"].is_null()).cloned();
    let (top, used_up): (Vec<Value>, Vec<Value>) = (top.collect(), used_up.collect());
    for (rows, columns) in [(&top, &TOP[..]), (&used_up, &USED_UP[..])] {
        if !rows.is_empty() {
            writeln!(io::stdout())?;
            print::rows(rows, columns, false)?;
        }
    }
    Ok(())
}

/// Calls by latency, from the first range that has any to the last.
fn histogram(buckets: &[Value]) -> io::Result<()> {
    let calls = |bucket: &Value| bucket["requests"].as_u64().unwrap_or(0);
    let total: u64 = buckets.iter().map(calls).sum();
    let most = buckets.iter().map(calls).max().unwrap_or(0).max(1);
    let first = buckets.iter().position(|bucket| calls(bucket) > 0).unwrap_or(0);
    let last = buckets.iter().rposition(|bucket| calls(bucket) > 0).unwrap_or(0);
    let mut before = 0;
    let mut rows = Vec::new();
    for bucket in buckets.iter().take(last + 1).skip(first) {
        let calls = calls(bucket);
        before += calls;
        let bound = bucket["up_to_ms"].as_u64().map_or("longer".to_owned(), |ms| ms.to_string());
        let share = before.saturating_mul(1_000) / total.max(1);
        let bar = "#".repeat(usize::try_from(calls * BAR / most).unwrap_or(0));
        let bar = if bar.is_empty() && calls > 0 { ".".to_owned() } else { bar };
        let share = format!("{}.{}", share / 10, share % 10);
        rows.push(vec![bound, calls.to_string(), share, bar]);
    }
    sheet(&["up to ms", "calls", "% so far", ""], rows, None, &mut io::stdout().lock())
}

/// The length of the longest bar.
const BAR: u64 = 40;
const TOP: [Column; 4] = [
    ("most by", "/by"),
    ("name", "/used/name"),
    ("calls", "/used/requests"),
    ("charged", "/used/charged"),
];
const USED_UP: [Column; 2] = [("limit", "/name"), ("used up", "/exhaustion_at")];
const START: Column = ("start", "/start");
const GROUPS: [Column; 6] = [
    ("account", "/group/account"),
    ("key", "/group/key"),
    ("route", "/group/route"),
    ("class", "/group/class"),
    ("model", "/group/model"),
    ("status", "/group/status"),
];
const SUMS: [Column; 7] = [
    ("requests", "/requests"),
    ("errors", "/errors"),
    ("limited", "/limited"),
    ("input", "/input_tokens"),
    ("output", "/output_tokens"),
    ("charged", "/charged"),
    ("p95 ms", "/latency_p95_ms"),
];
