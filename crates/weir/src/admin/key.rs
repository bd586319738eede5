//! `weir key`: make, list, rotate and withdraw keys.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::admin::account::{limit_value, put};
use crate::client::{Client, Target, exit_code};
use crate::print::{self, Column};

/// What `weir key` takes.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key; its secret is printed once.
    Create(Create),
    /// List the keys of an account.
    List {
        /// The account's id or your own.
        account: String,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        most: usize,
    },
    /// Make a key that takes the place of another; its secret is printed once.
    Rotate {
        /// The key's id.
        key: String,
        /// How long the old one stays valid: `24h`.
        #[arg(long, default_value = "24h")]
        overlap: String,
    },
    /// Withdraw a key at once.
    Revoke {
        /// The key's id.
        key: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// The account's id or your own.
    account: String,
    /// What people call it.
    #[arg(long)]
    name: String,
    /// What it may do.
    #[arg(long = "type", default_value = "read_write", value_parser = ["read", "read_write", "service"])]
    kind: String,
    /// A scope that it may use; may be repeated. Without: all.
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// A model, or a beginning and `*`, that it may name; may be repeated. Without: all.
    #[arg(long = "model")]
    models: Vec<String>,
    /// An address or block that it may be used from; may be repeated. Without: all.
    #[arg(long = "allowed-ip")]
    allowed_ips: Vec<String>,
    /// A limit of its own, such as `read=50/hour`; may be repeated.
    #[arg(long = "limit", value_name = "NAME=LIMIT")]
    limits: Vec<String>,
    /// What it may spend: `10.00`, `10.00/day`, `10.00/month`.
    #[arg(long, value_name = "AMOUNT[/PERIOD]")]
    spend_cap: Option<String>,
    /// When it stops being valid: `2027-01-31T00:00:00Z`.
    #[arg(long)]
    expires_at: Option<String>,
}

/// Runs `weir key`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &KeyArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(act(&args.action, &client, args.target.json))
}

fn act(action: &Action, client: &Client, json: bool) -> anyhow::Result<()> {
    match action {
        Action::Create(new) => {
            let id = client.account(&new.account)?;
            print::one(&client.post(&format!("accounts/{id}/keys"), &body_of(new)?)?, json)?;
        }
        Action::List { account, most } => {
            let id = client.account(account)?;
            let keys = client.list(&format!("accounts/{id}/keys"), *most)?;
            print::rows(&keys, &COLUMNS, json)?;
        }
        Action::Rotate { key, overlap } => {
            let body = json!({ "overlap": overlap });
            print::one(&client.post(&format!("keys/{key}/rotate"), &body)?, json)?;
        }
        Action::Revoke { key } => drop(client.delete(&format!("keys/{key}"))?),
    }
    Ok(())
}

fn body_of(new: &Create) -> anyhow::Result<Value> {
    let mut body = json!({ "name": new.name, "type": new.kind });
    let lists =
        [("scopes", &new.scopes), ("models", &new.models), ("allowed_ips", &new.allowed_ips)];
    for (name, list) in lists {
        if !list.is_empty() {
            body[name] = json!(list);
        }
    }
    if !new.limits.is_empty() {
        let mut limits = Map::new();
        for limit in &new.limits {
            let Some((name, limit)) = limit.split_once('=') else {
                anyhow::bail!("`{limit}` is not of the form NAME=LIMIT");
            };
            limits.insert(name.to_owned(), limit_value(limit));
        }
        body["limits"] = Value::Object(limits);
    }
    if let Some(cap) = &new.spend_cap {
        body["spend_cap"] = match cap.split_once('/') {
            Some((amount, period)) => json!({ "amount": amount, "period": period }),
            None => json!({ "amount": cap }),
        };
    }
    put(&mut body, "expires_at", new.expires_at.as_deref());
    Ok(body)
}

const COLUMNS: [Column; 7] = [
    ("id", "/id"),
    ("name", "/name"),
    ("type", "/type"),
    ("hint", "/hint"),
    ("status", "/status"),
    ("last used", "/last_used_at"),
    ("expires", "/expires_at"),
];
