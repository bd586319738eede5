//! `weir usage`: what was used, as a time series.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use crate::client::{Target, escape, exit_code};
use crate::print::{self, Column};

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
    let show = || {
        let path = match &args.account {
            Some(account) => format!("accounts/{}/usage", client.account(account)?),
            None => "usage".to_owned(),
        };
        let mut query = format!("{path}?interval={}", args.interval);
        let rest = [("from", &args.from), ("to", &args.to), ("group_by", &args.group_by)];
        for (name, value) in rest {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", escape(value)));
            }
        }
        let answer = client.read(&query)?;
        let series = answer.get("series").and_then(serde_json::Value::as_array);
        let series = series.map_or(&[][..], |series| series);
        let by = args.group_by.iter().flat_map(|names| names.split(','));
        let by = by.filter_map(|name| GROUPS.iter().find(|(known, _)| *known == name.trim()));
        let columns: Vec<Column> =
            [START].into_iter().chain(by.copied()).chain(SUMS.iter().copied()).collect();
        print::rows(series, &columns, args.target.json)?;
        if series.is_empty() && !args.target.json {
            writeln!(io::stderr(), "a call is counted about two seconds after its end")?;
        }
        Ok(())
    };
    exit_code(show())
}

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
