//! `weir increase`: decide customers' requests for higher limits.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::client::{Client, Target, exit_code};
use crate::once::Once;
use crate::print::{self, Column};

/// What `weir increase` takes.
#[derive(Debug, Args)]
pub(crate) struct IncreaseArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List requests.
    List {
        /// Those that are so.
        #[arg(long, default_value = "pending", value_parser = ["pending", "approved", "declined"])]
        status: String,
    },
    /// Show one request, with what was decided.
    Show {
        /// The request's id.
        increase: String,
    },
    /// Grant a request; the next call sees it.
    Approve {
        /// The request's id.
        increase: String,
        /// The new limit, such as `2000/hour`.
        #[arg(long)]
        limit: String,
        #[command(flatten)]
        once: Once,
    },
    /// Refuse a request.
    Decline {
        /// The request's id.
        increase: String,
        /// What the customer is told.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        once: Once,
    },
}

/// Runs `weir increase`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &IncreaseArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(act(&args.action, &client, args.target.json))
}

fn act(action: &Action, client: &Client, json: bool) -> anyhow::Result<()> {
    match action {
        Action::List { status } => {
            let path = format!("limit-increases?status={}", crate::client::escape(status));
            print::rows(&client.list(&path, 1_000)?, &COLUMNS, json)?;
        }
        Action::Show { increase } => {
            print::one(&client.read(&format!("limit-increases/{increase}"))?, json)?;
        }
        Action::Approve { increase, limit, once } => {
            let path = format!("limit-increases/{increase}/approve");
            print::one(&client.post_once(&path, &json!({ "limit": limit }), once)?, json)?;
        }
        Action::Decline { increase, reason, once } => {
            let path = format!("limit-increases/{increase}/decline");
            print::one(&client.post_once(&path, &json!({ "reason": reason }), once)?, json)?;
        }
    }
    Ok(())
}

const COLUMNS: [Column; 7] = [
    ("id", "/id"),
    ("account", "/account_id"),
    ("plan", "/plan"),
    ("limit", "/limit"),
    ("volume", "/expected_volume"),
    ("until", "/until"),
    ("use case", "/use_case"),
];
