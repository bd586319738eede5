//! `weir wallet`: look at a wallet, top it up, adjust it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::admin::account::put;
use crate::client::{Client, Target, exit_code};
use crate::print::{self, Column};

/// What `weir wallet` takes.
#[derive(Debug, Args)]
pub(crate) struct WalletArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the balance, what is held and what is available.
    Show {
        /// The account's id or your own.
        account: String,
    },
    /// Add credit.
    TopUp {
        /// The account's id or your own.
        account: String,
        /// How much, such as `25.00`.
        amount: String,
        /// Words to remember it by.
        #[arg(long)]
        note: Option<String>,
        /// Given, not paid for.
        #[arg(long)]
        promo: bool,
        /// From when on it can no longer be used: `2027-01-31T00:00:00Z`.
        #[arg(long)]
        expires_at: Option<String>,
        /// 0 burns first, 100 last.
        #[arg(long)]
        priority: Option<u8>,
    },
    /// Change the balance by hand.
    Adjust {
        /// The account's id or your own.
        account: String,
        /// How much, with its sign: `-5.00`.
        #[arg(allow_hyphen_values = true)]
        amount: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// List what changed the balance, newest first.
    Entries {
        /// The account's id or your own.
        account: String,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        most: usize,
    },
}

/// Runs `weir wallet`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &WalletArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(act(&args.action, &client, args.target.json))
}

fn act(action: &Action, client: &Client, json: bool) -> anyhow::Result<()> {
    match action {
        Action::Show { account } => {
            let id = client.account(account)?;
            print::one(&client.read(&format!("accounts/{id}/wallet"))?, json)?;
        }
        Action::TopUp { account, amount, note, promo, expires_at, priority } => {
            let id = client.account(account)?;
            let mut body = json!({ "amount": amount });
            put(&mut body, "note", note.as_deref());
            put(&mut body, "expires_at", expires_at.as_deref());
            put(&mut body, "category", promo.then_some("promo"));
            if let Some(priority) = priority {
                body["priority"] = json!(priority);
            }
            print::one(&client.post(&format!("accounts/{id}/wallet/top-ups"), &body)?, json)?;
        }
        Action::Adjust { account, amount, reason } => {
            let id = client.account(account)?;
            let body = json!({ "amount": amount, "reason": reason });
            print::one(&client.post(&format!("accounts/{id}/wallet/adjustments"), &body)?, json)?;
        }
        Action::Entries { account, most } => {
            let id = client.account(account)?;
            let entries = client.list(&format!("accounts/{id}/wallet/entries"), *most)?;
            print::rows(&entries, &COLUMNS, json)?;
        }
    }
    Ok(())
}

const COLUMNS: [Column; 6] = [
    ("at", "/at"),
    ("kind", "/kind"),
    ("amount", "/amount"),
    ("balance", "/balance"),
    ("reference", "/reference"),
    ("note", "/note"),
];
