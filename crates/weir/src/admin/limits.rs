//! `weir limits`: where the limits of an account stand.

use std::process::ExitCode;

use clap::Args;

use crate::client::{Target, exit_code};
use crate::print::{self, Column};

/// What `weir limits` takes.
#[derive(Debug, Args)]
pub(crate) struct LimitsArgs {
    /// The account's id or your own.
    account: String,
    #[command(flatten)]
    target: Target,
}

/// Runs `weir limits`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &LimitsArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    let show = || {
        let id = client.account(&args.account)?;
        let answer = client.read(&format!("accounts/{id}/limits"))?;
        let limits = answer.get("limits").and_then(serde_json::Value::as_array);
        print::rows(limits.map_or(&[][..], |limits| limits), &COLUMNS, args.target.json)?;
        Ok(())
    };
    exit_code(show())
}

const COLUMNS: [Column; 8] = [
    ("name", "/name"),
    ("per", "/per"),
    ("unit", "/unit"),
    ("limit", "/limit"),
    ("used", "/used"),
    ("remaining", "/remaining"),
    ("window s", "/window_s"),
    ("reset", "/reset_at"),
];
