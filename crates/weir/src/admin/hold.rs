//! `weir hold`: credit reserved for work that ends later.

use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::client::{Client, Target, exit_code};
use crate::once::Once;
use crate::print::{self, Column};

/// What `weir hold` takes.
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Reserve credit for a job or other work that ends later.
    Create {
        /// The account's id or your own.
        account: String,
        /// How much, such as `12.50`.
        #[arg(allow_negative_numbers = true)]
        amount: String,
        /// When it ends by itself: `30s` to `366d`.
        #[arg(long)]
        expires_in: String,
        /// What it is for; it stands beside the charge.
        #[arg(long, default_value = "")]
        reference: String,
        #[command(flatten)]
        once: Once,
    },
    /// List the durable holds of an account, the oldest first.
    List {
        /// The account's id or your own.
        account: String,
        /// Only those that are still open.
        #[arg(long)]
        open: bool,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        most: usize,
    },
    /// Charge what the work really cost, once; asking again changes nothing.
    Settle {
        /// The hold's id.
        hold: String,
        /// How much: less or more than was held, or `0`.
        #[arg(allow_negative_numbers = true)]
        amount: String,
        #[command(flatten)]
        once: Once,
    },
    /// Give back what a hold reserves; nothing is charged.
    Void {
        /// The hold's id.
        hold: String,
        #[command(flatten)]
        once: Once,
    },
}

/// Runs `weir hold`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &HoldArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(act(&args.action, &client, args.target.json))
}

fn act(action: &Action, client: &Client, json: bool) -> anyhow::Result<()> {
    match action {
        Action::Create { account, amount, expires_in, reference, once } => {
            let id = client.account(account)?;
            let body =
                json!({ "amount": amount, "expires_in": expires_in, "reference": reference });
            print::one(&client.post_once(&format!("accounts/{id}/holds"), &body, once)?, json)?;
        }
        Action::List { account, open, most } => {
            let path = format!("accounts/{}/holds", client.account(account)?);
            let mut holds = Vec::new();
            client.each(&path, |hold| {
                if holds.len() >= *most {
                    return Ok(ControlFlow::Break(()));
                }
                if !open || hold["status"] == "open" {
                    holds.push(hold);
                }
                Ok(ControlFlow::Continue(()))
            })?;
            print::rows(&holds, &COLUMNS, json)?;
        }
        Action::Settle { hold, amount, once } => {
            let body = json!({ "amount": amount });
            print::one(&client.post_once(&format!("holds/{hold}/settle"), &body, once)?, json)?;
        }
        Action::Void { hold, once } => {
            print::one(&client.post_once(&format!("holds/{hold}/void"), &json!({}), once)?, json)?;
        }
    }
    Ok(())
}

const COLUMNS: [Column; 7] = [
    ("id", "/id"),
    ("status", "/status"),
    ("amount", "/amount"),
    ("charge", "/charge"),
    ("created", "/created_at"),
    ("expires", "/expires_at"),
    ("reference", "/reference"),
];
