//! `weir tail`: calls as they end, one by one.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use crate::client::{Target, exit_code};
use crate::terminal::{harmless, has_colour};

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

/// A call as the server tells it when it ends.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ended {
    pub(super) at: String,
    pub(super) account_id: String,
    pub(super) key_id: String,
    pub(super) route: String,
    pub(super) model: String,
    pub(super) status: u16,
    pub(super) limited: bool,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) charged: String,
    pub(super) latency_ms: u64,
}

impl Ended {
    /// What a line of the stream tells; `None`: something else.
    pub(super) fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix("data: ")?).ok()
    }
}

/// Prints calls as they end, until the server or the reader is gone.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &TailArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code((|| {
        let account = args.account.as_deref().map(|named| client.account(named)).transpose()?;
        let colour = has_colour(&io::stdout());
        for line in client.follow("calls")?.lines() {
            let line = line?;
            let Some(ended) = Ended::read(&line) else { continue };
            let wanted = account.as_ref().is_none_or(|id| *id == ended.account_id)
                && (!args.failed || ended.status >= 400);
            if !wanted {
                continue;
            }
            let mut out = io::stdout().lock();
            if args.target.json {
                writeln!(out, "{}", line.trim_start_matches("data: "))?;
            } else {
                writeln!(out, "{}", line_of(&ended, colour))?;
            }
            out.flush()?;
        }
        anyhow::bail!("the server has ended")
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
    // What a call names is its caller's own.
    let model = harmless(&ended.model);
    let model = if model.is_empty() { model } else { format!("  {model}") };
    let limited = if ended.limited { "  refused" } else { "" };
    format!(
        "{time}  {on}{}{off}  {:>6} ms  {}  {}{model}{tokens}{charged}{limited}",
        ended.status, ended.latency_ms, ended.account_id, ended.route
    )
}
