//! `weir export`: the ledger or the usage of accounts, for other programs.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client::{Client, Target, escape, exit_code};

/// What `weir export` takes.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(subcommand)]
    what: What,
    /// How rows are written.
    #[arg(long, global = true, default_value = "csv", value_parser = ["csv", "jsonl"])]
    format: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every change of a balance, newest first in each account.
    Ledger {
        /// Only this account, by its id or your own; without: all.
        #[arg(long)]
        account: Option<String>,
    },
    /// What was used, by step and group.
    Usage {
        /// Only this account, by its id or your own; without: all together.
        #[arg(long)]
        account: Option<String>,
        /// From when on: `2026-11-01T00:00:00Z`.
        #[arg(long)]
        from: Option<String>,
        /// Until when.
        #[arg(long)]
        to: Option<String>,
        /// The length of a step.
        #[arg(long, default_value = "day", value_parser = ["minute", "hour", "day"])]
        interval: String,
        /// What to tell apart, with commas.
        #[arg(long, default_value = "route,model")]
        group_by: String,
    },
}

/// Runs `weir export`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(act(&args.what, &client, args.format == "csv"))
}

fn act(what: &What, client: &Client, csv: bool) -> anyhow::Result<()> {
    match what {
        What::Ledger { account } => {
            let accounts = match account {
                Some(named) => vec![client.account(named)?],
                None => ids(&client.list("accounts", usize::MAX)?),
            };
            let mut sheet = Sheet::new(&LEDGER, csv)?;
            for id in accounts {
                for mut entry in
                    client.list(&format!("accounts/{id}/wallet/entries"), usize::MAX)?
                {
                    entry["account_id"] = Value::from(id.as_str());
                    sheet.row(&entry)?;
                }
            }
        }
        What::Usage { account, from, to, interval, group_by } => {
            let path = match account {
                Some(named) => format!("accounts/{}/usage", client.account(named)?),
                None => "usage".to_owned(),
            };
            let mut query = format!("{path}?interval={interval}&group_by={}", escape(group_by));
            for (name, value) in [("from", from), ("to", to)] {
                if let Some(value) = value {
                    query.push_str(&format!("&{name}={}", escape(value)));
                }
            }
            let answer = client.read(&query)?;
            let mut sheet = Sheet::new(&USAGE, csv)?;
            for step in answer.get("series").and_then(Value::as_array).into_iter().flatten() {
                sheet.row(step)?;
            }
        }
    }
    Ok(())
}

/// Rows on standard output.
struct Sheet {
    columns: &'static [&'static str],
    csv: bool,
}

impl Sheet {
    fn new(columns: &'static [&'static str], csv: bool) -> io::Result<Self> {
        if csv {
            writeln!(io::stdout(), "{}", columns.join(","))?;
        }
        Ok(Self { columns, csv })
    }

    fn row(&mut self, row: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.csv {
            return writeln!(out, "{row}");
        }
        let cells = self.columns.iter().map(|column| quoted(row.get(*column)));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join(","))
    }
}

/// A cell as RFC 4180 wants it.
fn quoted(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

fn ids(accounts: &[Value]) -> Vec<String> {
    let id = |account: &Value| account.get("id").and_then(Value::as_str).map(str::to_owned);
    accounts.iter().filter_map(id).collect()
}

const LEDGER: [&str; 9] =
    ["account_id", "id", "at", "kind", "amount", "balance", "reference", "note", "call"];
const USAGE: [&str; 10] = [
    "start",
    "group",
    "requests",
    "errors",
    "limited",
    "input_tokens",
    "output_tokens",
    "charged",
    "latency_p50_ms",
    "latency_p95_ms",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let cell = |text: &str| quoted(Some(&Value::from(text)));
        assert_eq!(cell("plain"), "plain");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(quoted(Some(&Value::from(5))), "5");
        assert_eq!(quoted(None), "");
    }
}
