//! `weir top`: calls as they end, summed up.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use weir_core::money::Nano;
use weir_engine::clock::instant;

use super::tail::Ended;
use crate::client::{Target, exit_code};
use crate::print::cell;
use crate::sheet::sheet;
use crate::terminal::{height, width};

/// What `weir top` takes.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// What to sum up by.
    #[arg(long, default_value = "account", value_parser = ["account", "key", "route", "model", "status"])]
    by: String,
    /// Over the last so many seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    target: Target,
}

/// Shows what is going on, each second, until the server or the reader is gone.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &TopArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code((|| {
        let (tell, told) = std::sync::mpsc::channel();
        let calls = client.follow("calls")?;
        std::thread::spawn(move || {
            for line in calls.lines().map_while(Result::ok) {
                if Ended::read(&line).is_some_and(|ended| tell.send(ended).is_err()) {
                    return;
                }
            }
        });
        let span = Duration::from_secs(args.seconds);
        let mut recent: VecDeque<(std::time::Instant, Ended)> = VecDeque::new();
        let mut drawn = instant();
        loop {
            match told.recv_timeout(Duration::from_millis(250)) {
                Ok(ended) => recent.push_back((instant(), ended)),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("the server has ended");
                }
            }
            while recent.front().is_some_and(|(at, _)| at.elapsed() > span) {
                recent.pop_front();
            }
            if drawn.elapsed() >= Duration::from_secs(1) {
                drawn = instant();
                let rows = summed(recent.iter().map(|(_, ended)| ended), &args.by);
                show(args, recent.len(), &rows)?;
            }
        }
    })())
}

#[derive(Default)]
struct Sum {
    calls: u64,
    limited: u64,
    failed: u64,
    tokens: u64,
    charged: Nano,
    latencies: Vec<u64>,
}

/// The calls by one of their members, the most first.
fn summed<'a>(calls: impl Iterator<Item = &'a Ended>, by: &str) -> Vec<Value> {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for ended in calls {
        let name = match by {
            "key" => ended.key_id.clone(),
            "route" => ended.route.clone(),
            "model" => ended.model.clone(),
            "status" => ended.status.to_string(),
            _ => ended.account_id.clone(),
        };
        let sum = sums.entry(name).or_default();
        sum.calls += 1;
        sum.limited += u64::from(ended.limited);
        sum.failed += u64::from(ended.status >= 500);
        sum.tokens += ended.input_tokens + ended.output_tokens;
        sum.charged = sum.charged.saturating_add(ended.charged.parse().unwrap_or_default());
        sum.latencies.push(ended.latency_ms);
    }
    let mut rows: Vec<(String, Sum)> = sums.into_iter().collect();
    rows.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.calls));
    let row = |(name, mut sum): (String, Sum)| {
        sum.latencies.sort_unstable();
        json!({
            "name": name, "calls": sum.calls, "limited": sum.limited, "failed": sum.failed,
            "tokens": sum.tokens, "charged": sum.charged.to_string(),
            "latency_p95_ms": sum.latencies.get(sum.latencies.len() * 95 / 100),
        })
    };
    rows.into_iter().map(row).collect()
}

/// One picture: as many rows as there is room for, or a line of JSON with all of them.
fn show(args: &TopArgs, calls: usize, rows: &[Value]) -> io::Result<()> {
    let stdout = io::stdout();
    let mut out = stdout.lock();
    if args.target.json {
        let told = json!({
            "seconds": args.seconds, "calls": calls, "by": args.by, "rows": rows,
        });
        writeln!(out, "{told}")?;
        return out.flush();
    }
    if stdout.is_terminal() {
        write!(out, "\u{1b}[2J\u{1b}[H")?;
    }
    let plural = if calls == 1 { "" } else { "s" };
    writeln!(out, "{calls} call{plural} in the last {} s", args.seconds)?;
    // The first line, the headings, and the line that the cursor is left in.
    let room = height(&stdout).map_or(ROWS_MAX, |lines| lines.saturating_sub(3).max(1));
    let mut columns = COLUMNS;
    columns[0].0 = &args.by;
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let shown = rows.iter().take(room);
    let cells = |row: &Value| columns.iter().map(|(_, place)| cell(row.pointer(place))).collect();
    sheet(&headings, shown.map(cells).collect(), width(&stdout), &mut out)?;
    out.flush()
}

const ROWS_MAX: usize = 30;
const COLUMNS: [(&str, &str); 7] = [
    ("", "/name"),
    ("calls", "/calls"),
    ("limited", "/limited"),
    ("failed", "/failed"),
    ("tokens", "/tokens"),
    ("charged", "/charged"),
    ("p95 ms", "/latency_p95_ms"),
];
