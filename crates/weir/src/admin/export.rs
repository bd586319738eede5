//! `weir export`: the ledger or the usage of accounts, for other programs.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;
use weir_api::table::cell;

use crate::client::{Client, Target, exit_code, query};

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
        /// Only this account, by its id or your own; without: all.
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
        /// What to tell apart: `account`, `key`, `route`, `class`, `model`, `status`, with commas.
        #[arg(long, default_value = "route,model")]
        group_by: String,
        /// A column more for each range of latencies: how many calls fell into it.
        #[arg(long)]
        histogram: bool,
    },
}

/// Runs `weir export`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(act(&args.what, &client, &args.format))
}

fn act(what: &What, client: &Client, format: &str) -> anyhow::Result<()> {
    match what {
        What::Ledger { account } => {
            let accounts = match account {
                Some(named) => vec![client.account(named)?],
                None => ids(&client.list("accounts", usize::MAX)?),
            };
            let sheet = Sheet::new(&LEDGER, format == "csv")?;
            for id in accounts {
                client.each(&format!("accounts/{id}/wallet/entries"), |mut entry| {
                    entry["account_id"] = Value::from(id.as_str());
                    sheet.row(&entry)?;
                    Ok(ControlFlow::Continue(()))
                })?;
            }
        }
        What::Usage { account, from, to, interval, group_by, histogram } => {
            let path = match account {
                Some(named) => format!("accounts/{}/usage", client.account(named)?),
                None => "usage".to_owned(),
            };
            let wanted = [
                ("interval", Some(interval.as_str())),
                ("group_by", Some(group_by)),
                ("from", from.as_deref()),
                ("to", to.as_deref()),
                ("histogram", histogram.then_some("true")),
                ("format", Some(format)),
            ];
            client.read_into(&query(&path, &wanted), &mut io::stdout().lock())?;
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

    fn row(&self, row: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.csv {
            return writeln!(out, "{row}");
        }
        let cells = self.columns.iter().map(|column| cell(row.get(*column)));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join(","))
    }
}

fn ids(accounts: &[Value]) -> Vec<String> {
    let id = |account: &Value| account.get("id").and_then(Value::as_str).map(str::to_owned);
    accounts.iter().filter_map(id).collect()
}

const LEDGER: [&str; 9] =
    ["account_id", "id", "at", "kind", "amount", "balance", "reference", "note", "call"];
