//! `weir limits`: where the limits of an account stand.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

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
        let limits = answer.get("limits").and_then(Value::as_array);
        let mut limits = limits.cloned().unwrap_or_default();
        if !args.target.json {
            limits.iter_mut().for_each(spell_out);
        }
        print::rows(&limits, &COLUMNS, args.target.json)?;
        Ok(())
    };
    exit_code(show())
}

/// What people read more easily: lengths as in the configuration, and what is not bounded.
fn spell_out(limit: &mut Value) {
    if limit["limit"].is_null() {
        limit["limit"] = Value::from("unlimited");
    }
    if let Some(seconds) = limit["window_s"].as_u64().filter(|seconds| *seconds > 0) {
        let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
        let fits = units.into_iter().find(|(length, _)| seconds.is_multiple_of(*length));
        limit["window"] = fits.map_or(Value::Null, |(length, unit)| {
            Value::from(format!("{}{unit}", seconds / length))
        });
    }
}

const COLUMNS: [Column; 8] = [
    ("name", "/name"),
    ("per", "/per"),
    ("unit", "/unit"),
    ("limit", "/limit"),
    ("used", "/used"),
    ("remaining", "/remaining"),
    ("window", "/window"),
    ("reset", "/reset_at"),
];
