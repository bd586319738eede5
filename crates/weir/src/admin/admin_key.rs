//! `weir admin-key`: keys of the admin API for your own people, by role.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::client::{Client, Target, exit_code};
use crate::once::Once;
use crate::print::{self, Column};

/// What `weir admin-key` takes.
#[derive(Debug, Args)]
pub(crate) struct AdminKeyArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an admin key; its secret is printed once.
    Create {
        /// Whose it is.
        #[arg(long)]
        name: String,
        /// What its holder may do: look, change accounts and money, or everything.
        #[arg(long, value_parser = ["viewer", "operator", "owner"])]
        role: String,
        #[command(flatten)]
        once: Once,
    },
    /// List the admin keys; the owner's own of the configuration is not among them.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        most: usize,
    },
    /// Withdraw an admin key at once.
    Revoke {
        /// The key's id.
        key: String,
    },
}

/// Runs `weir admin-key`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &AdminKeyArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(act(&args.action, &client, args.target.json))
}

fn act(action: &Action, client: &Client, json: bool) -> anyhow::Result<()> {
    match action {
        Action::Create { name, role, once } => {
            let body = json!({ "name": name, "role": role });
            print::one(&client.post_once("admin-keys", &body, once)?, json)?;
        }
        Action::List { most } => {
            print::rows(&client.list("admin-keys", *most)?, &COLUMNS, json)?;
        }
        Action::Revoke { key } => drop(client.delete(&format!("admin-keys/{key}"))?),
    }
    Ok(())
}

const COLUMNS: [Column; 5] = [
    ("id", "/id"),
    ("name", "/name"),
    ("role", "/role"),
    ("hint", "/hint"),
    ("created", "/created_at"),
];
