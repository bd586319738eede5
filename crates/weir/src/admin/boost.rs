//! `weir boost`: raise a limit for a while.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::{Client, Target, exit_code};
use crate::once::Once;
use crate::print::{self, Column};

/// What `weir boost` takes.
#[derive(Debug, Args)]
pub(crate) struct BoostArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Raise a limit from one time until another.
    Create {
        /// The account's id or your own.
        account: String,
        /// A limit's name, a class, or `*` for every limit.
        #[arg(long)]
        limit: String,
        /// Multiply it by this.
        #[arg(long, conflicts_with = "value", required_unless_present = "value")]
        multiplier: Option<f64>,
        /// Set it to this.
        #[arg(long)]
        value: Option<u64>,
        /// From when on: `2026-12-01T00:00:00Z`; without: now.
        #[arg(long)]
        from: Option<String>,
        /// Until when.
        #[arg(long)]
        until: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        once: Once,
    },
    /// List the boosts of an account.
    List {
        /// The account's id or your own.
        account: String,
    },
    /// Show one boost.
    Show {
        /// The boost's id.
        boost: String,
    },
    /// End a boost now.
    Delete {
        /// The boost's id.
        boost: String,
    },
}

/// Runs `weir boost`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &BoostArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(act(&args.action, &client, args.target.json))
}

fn act(action: &Action, client: &Client, json: bool) -> anyhow::Result<()> {
    match action {
        Action::Create { account, limit, multiplier, value, from, until, reason, once } => {
            let id = client.account(account)?;
            let mut body = json!({ "limit": limit, "until": until, "reason": reason });
            if let Some(multiplier) = multiplier {
                body["multiplier"] = json!(multiplier);
            }
            if let Some(value) = value {
                body["value"] = json!(value);
            }
            if let Some(from) = from {
                body["from"] = Value::from(from.as_str());
            }
            print::one(&client.post_once(&format!("accounts/{id}/boosts"), &body, once)?, json)?;
        }
        Action::List { account } => {
            let id = client.account(account)?;
            let boosts = client.list(&format!("accounts/{id}/boosts"), 1_000)?;
            print::rows(&boosts, &COLUMNS, json)?;
        }
        Action::Show { boost } => {
            print::one(&client.read(&format!("boosts/{boost}"))?, json)?;
        }
        Action::Delete { boost } => drop(client.delete(&format!("boosts/{boost}"))?),
    }
    Ok(())
}

const COLUMNS: [Column; 7] = [
    ("id", "/id"),
    ("limit", "/limit"),
    ("multiplier", "/multiplier"),
    ("value", "/value"),
    ("from", "/from"),
    ("until", "/until"),
    ("reason", "/reason"),
];
