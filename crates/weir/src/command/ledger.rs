//! `weir ledger`: what can be done with the books offline.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use weir_engine::audit::verify;
use weir_store::verify::Report;

/// What `weir ledger` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Recompute every invariant of the ledger: 0 when all hold, else 1 and the first violation.
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// The folder of the store; it may be in use.
    #[arg(long, value_name = "DIR")]
    path: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the action.
///
/// # Errors
///
/// When the result cannot be printed.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Action::Verify(args) = &args.action;
    let mut out = io::stdout();
    match verify(&args.path) {
        Ok(report) => {
            if args.json {
                writeln!(out, "{:#}", told(&report))?;
            } else {
                let (entries, accounts) = (report.entries, report.accounts);
                let balance = money(report.balance);
                writeln!(out, "ok: {entries} entries of {accounts} accounts, {balance} in all")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let error = anyhow::Error::new(error);
            if args.json {
                writeln!(out, "{:#}", json!({ "ok": false, "violation": format!("{error:#}") }))?;
            }
            writeln!(io::stderr(), "error: {}: {error:#}", args.path.display())?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What was proven, as JSON.
pub(crate) fn told(report: &Report) -> Value {
    json!({
        "ok": true, "entries": report.entries, "accounts": report.accounts,
        "snapshots": report.snapshots, "last_entry": report.last_seq.to_string(),
        "balance": money(report.balance),
    })
}

/// The sum of all balances as decimal text; it may be more than one wallet can hold.
pub(crate) fn money(nano: i128) -> String {
    let (whole, rest) = (nano.unsigned_abs() / NANO, nano.unsigned_abs() % NANO);
    let sign = if nano < 0 { "-" } else { "" };
    let fraction = format!("{rest:09}");
    let fraction = fraction.trim_end_matches('0');
    format!("{sign}{whole}.{fraction:0<2}")
}

const NANO: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::money;

    #[test]
    fn sums_beyond_one_wallet_are_written_out() {
        assert_eq!(money(0), "0.00");
        assert_eq!(money(-1_500_000_000), "-1.50");
        assert_eq!(money(i128::from(i64::MAX) * 10 + 1), "92233720368.547758071");
    }
}
