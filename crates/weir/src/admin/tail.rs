//! `weir tail` and `weir top`: calls as they end, one by one or summed up.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use weir_core::money::Nano;
use weir_engine::clock::instant;

use crate::client::{Target, exit_code};
use crate::print::sheet;

/// What `weir tail` takes.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Only calls of this account, by its id or your own.
    #[arg(long)]
    account: Option<String>,
    /// Only calls that were refused or failed.
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    target: Target,
}

/// What `weir top` takes.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// What to sum up by.
    #[arg(long, default_value = "account", value_parser = ["account", "key", "route", "model", "status"])]
    by: String,
    /// Over the last so many seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Debug, Deserialize)]
struct Ended {
    at: String,
    account_id: String,
    key_id: String,
    route: String,
    model: String,
    status: u16,
    limited: bool,
    input_tokens: u64,
    output_tokens: u64,
    charged: String,
    latency_ms: u64,
}

/// Prints calls as they end, until the server or the reader is gone.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run_tail(args: &TailArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code((|| {
        let account = args.account.as_deref().map(|named| client.account(named)).transpose()?;
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        for line in client.follow("calls")?.lines() {
            let line = line?;
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let Ok(ended) = serde_json::from_str::<Ended>(data) else { continue };
            let wanted = account.as_ref().is_none_or(|id| *id == ended.account_id)
                && (!args.failed || ended.status >= 400);
            if !wanted {
                continue;
            }
            let mut out = io::stdout().lock();
            if args.target.json {
                writeln!(out, "{data}")?;
            } else {
                writeln!(out, "{}", line_of(&ended, colour))?;
            }
            out.flush()?;
        }
        Ok(())
    })())
}

/// Shows what is going on, each second, until the server or the reader is gone.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run_top(args: &TopArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code((|| {
        let (tell, told) = std::sync::mpsc::channel();
        let calls = client.follow("calls")?;
        std::thread::spawn(move || {
            for line in calls.lines().map_while(Result::ok) {
                let ended =
                    line.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok());
                if ended.is_some_and(|ended: Ended| tell.send(ended).is_err()) {
                    return;
                }
            }
        });
        let span = Duration::from_secs(args.seconds.max(1));
        let mut recent: VecDeque<(std::time::Instant, Ended)> = VecDeque::new();
        let mut drawn = instant();
        loop {
            match told.recv_timeout(Duration::from_millis(250)) {
                Ok(ended) => recent.push_back((instant(), ended)),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("the server is gone");
                }
            }
            while recent.front().is_some_and(|(at, _)| at.elapsed() > span) {
                recent.pop_front();
            }
            if drawn.elapsed() >= Duration::from_secs(1) {
                drawn = instant();
                draw(&recent, &args.by, span)?;
            }
        }
    })())
}

fn line_of(ended: &Ended, colour: bool) -> String {
    let outcome = match (ended.status, ended.limited) {
        (_, true) => "\u{1b}[33m",
        (500.., _) => "\u{1b}[31m",
        (400.., _) => "\u{1b}[35m",
        _ => "\u{1b}[32m",
    };
    let (on, off) = if colour { (outcome, "\u{1b}[0m") } else { ("", "") };
    let time = ended.at.split('T').nth(1).unwrap_or(&ended.at);
    let time = time.get(..12).unwrap_or(time);
    let tokens = match (ended.input_tokens, ended.output_tokens) {
        (0, 0) => String::new(),
        (input, output) => format!("  {input}+{output} tokens"),
    };
    let charged =
        if ended.charged == "0.00" { String::new() } else { format!("  {}", ended.charged) };
    let model = if ended.model.is_empty() { String::new() } else { format!("  {}", ended.model) };
    let limited = if ended.limited { "  refused" } else { "" };
    format!(
        "{time}  {on}{}{off}  {:>6} ms  {}  {}{model}{tokens}{charged}{limited}",
        ended.status, ended.latency_ms, ended.account_id, ended.route
    )
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

fn draw(
    recent: &VecDeque<(std::time::Instant, Ended)>,
    by: &str,
    span: Duration,
) -> anyhow::Result<()> {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    let status: Vec<String> = recent.iter().map(|(_, ended)| ended.status.to_string()).collect();
    for ((_, ended), status) in recent.iter().zip(&status) {
        let name = match by {
            "key" => &ended.key_id,
            "route" => &ended.route,
            "model" => &ended.model,
            "status" => status,
            _ => &ended.account_id,
        };
        let sum = sums.entry(name).or_default();
        sum.calls += 1;
        sum.limited += u64::from(ended.limited);
        sum.failed += u64::from(ended.status >= 500);
        sum.tokens += ended.input_tokens + ended.output_tokens;
        sum.charged = sum.charged.saturating_add(ended.charged.parse().unwrap_or_default());
        sum.latencies.push(ended.latency_ms);
    }
    let mut rows: Vec<(&str, Sum)> = sums.into_iter().collect();
    rows.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.calls));
    let cells = |(name, mut sum): (&str, Sum)| {
        sum.latencies.sort_unstable();
        let p95 = sum.latencies.get(sum.latencies.len() * 95 / 100).copied().unwrap_or(0);
        vec![
            if name.is_empty() { "-" } else { name }.to_owned(),
            sum.calls.to_string(),
            sum.limited.to_string(),
            sum.failed.to_string(),
            sum.tokens.to_string(),
            sum.charged.to_string(),
            p95.to_string(),
        ]
    };
    let rows = rows.into_iter().take(ROWS_MAX).map(cells).collect();
    let mut out = io::stdout().lock();
    if io::stdout().is_terminal() {
        write!(out, "\u{1b}[2J\u{1b}[H")?;
    }
    let plural = if recent.len() == 1 { "" } else { "s" };
    writeln!(out, "{} call{plural} in the last {} s", recent.len(), span.as_secs())?;
    let headings = [by, "calls", "limited", "failed", "tokens", "charged", "p95 ms"];
    sheet(&headings, rows, &mut out)?;
    out.flush()?;
    Ok(())
}

const ROWS_MAX: usize = 30;
