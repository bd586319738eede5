//! `weir ledger`: proving the books, of a running server or of a folder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weir_engine::audit::verify;

use crate::books::told;
use crate::client::{Target, exit_code};

/// What `weir ledger` takes.
#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Recompute every invariant of the ledger: 0 when all hold, else 1 and the first violation.
    Verify {
        /// The folder of the store, which may be in use; without: the running server is asked.
        #[arg(long, value_name = "DIR")]
        path: Option<PathBuf>,
    },
}

/// Runs `weir ledger`.
///
/// # Errors
///
/// When the server cannot be reached, the books do not hold, or standard output is gone.
pub(crate) fn run(args: &LedgerArgs) -> anyhow::Result<ExitCode> {
    let Action::Verify { path } = &args.action;
    let json = args.target.json;
    match path {
        Some(path) => of_folder(path, json).map(|()| ExitCode::SUCCESS),
        None => {
            let client = args.target.client()?;
            let empty = json!({});
            let told = client.post_patiently("ledger/verify", &empty);
            exit_code(told.and_then(|told| show(&told, json)))
        }
    }
}

fn of_folder(path: &Path, json: bool) -> anyhow::Result<()> {
    match verify(path) {
        Ok(report) => show(&told(&report), json),
        Err(error) => {
            let error = anyhow::Error::new(error);
            if json {
                let violation = format!("{error:#}");
                writeln!(io::stdout(), "{:#}", json!({ "ok": false, "violation": violation }))?;
            }
            Err(error.context(path.display().to_string()))
        }
    }
}

fn show(told: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        writeln!(io::stdout(), "{told:#}")?;
    }
    if told["ok"] != true {
        let violation = told["violation"].as_str();
        anyhow::bail!("{}", violation.context("the server does not say what is wrong")?);
    }
    if !json {
        let (entries, accounts) = (&told["entries"], &told["accounts"]);
        let balance = told["balance"].as_str().unwrap_or_default();
        let mut out = io::stdout();
        writeln!(out, "ok: {entries} entries of {accounts} accounts, {balance} in all")?;
    }
    Ok(())
}
