//! `weir key`: make, list, rotate and withdraw keys.

use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::account::{limit_changes, put};
use crate::client::{Client, Target, exit_code};
use crate::once::Once;
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
    /// Show one key, without its secret.
    Show {
        /// The key's id.
        key: String,
    },
    /// Change a key; the next call sees it.
    Update(Update),
    /// Make a key that takes the place of another; its secret is printed once.
    Rotate {
        /// The key's id.
        key: String,
        /// How long the old one stays valid: `24h`.
        #[arg(long, default_value = "24h")]
        overlap: String,
        #[command(flatten)]
        once: Once,
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
    #[arg(long = "type", value_name = "TYPE", default_value = "read_write", value_parser = ["read", "read_write", "service"])]
    kind: String,
    /// A scope that it may use; may be repeated. Without: all.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A model, or a beginning and `*`, that it may name; may be repeated. Without: all.
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// An address or block that it may be used from; may be repeated. Without: all.
    #[arg(long = "allowed-ip", value_name = "IP")]
    allowed_ips: Vec<String>,
    /// A limit of its own, such as `read=50/hour`; may be repeated.
    #[arg(long = "limit", value_name = "NAME=LIMIT")]
    limits: Vec<String>,
    /// What it may spend: `10.00`, `10.00/day`, `10.00/month`.
    #[arg(long, value_name = "AMOUNT[/PERIOD]")]
    spend_cap: Option<String>,
    /// When it stops being valid: `2027-01-31T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// The most urgent priority that it may use.
    #[arg(long, value_parser = URGENCIES)]
    urgency: Option<String>,
    /// The SHA-256 of a secret that the customer already holds, in hexadecimal; none is made then.
    #[arg(long, value_name = "HEX")]
    secret_sha256: Option<String>,
    #[command(flatten)]
    once: Once,
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(override_usage = "weir key update [OPTIONS] <KEY>")]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args([
    "name", "scopes", "all_scopes", "models", "all_models", "allowed_ips", "any_ip", "limits",
    "spend_cap", "no_spend_cap", "expires_at", "no_expiry", "urgency",
])))]
struct Update {
    /// The key's id.
    key: String,
    /// What people call it.
    #[arg(long)]
    name: Option<String>,
    /// A scope that it may use; may be repeated: these and no others.
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "all_scopes")]
    scopes: Vec<String>,
    /// It may use every scope.
    #[arg(long)]
    all_scopes: bool,
    /// A model, or a beginning and `*`, that it may name; may be repeated: these and no others.
    #[arg(long = "model", value_name = "MODEL", conflicts_with = "all_models")]
    models: Vec<String>,
    /// It may name every model.
    #[arg(long)]
    all_models: bool,
    /// An address or block that it may be used from; may be repeated: these and no others.
    #[arg(long = "allowed-ip", value_name = "IP", conflicts_with = "any_ip")]
    allowed_ips: Vec<String>,
    /// It may be used from anywhere.
    #[arg(long)]
    any_ip: bool,
    /// A limit of its own, such as `read=50/hour`; `read=` takes it back. May be repeated.
    #[arg(long = "limit", value_name = "NAME=LIMIT")]
    limits: Vec<String>,
    /// What it may spend: `10.00`, `10.00/day`, `10.00/month`.
    #[arg(long, value_name = "AMOUNT[/PERIOD]", conflicts_with = "no_spend_cap")]
    spend_cap: Option<String>,
    /// It may spend what the account has.
    #[arg(long)]
    no_spend_cap: bool,
    /// When it stops being valid: `2027-01-31T00:00:00Z`.
    #[arg(long, value_name = "TIME", conflicts_with = "no_expiry")]
    expires_at: Option<String>,
    /// It stays valid until it is withdrawn.
    #[arg(long)]
    no_expiry: bool,
    /// The most urgent priority that it may use.
    #[arg(long, value_parser = URGENCIES)]
    urgency: Option<String>,
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
            let path = format!("accounts/{id}/keys");
            print::one(&client.post_once(&path, &body_of(new)?, &new.once)?, json)?;
        }
        Action::List { account, most } => {
            let id = client.account(account)?;
            let keys = client.list(&format!("accounts/{id}/keys"), *most)?;
            print::rows(&keys, &COLUMNS, json)?;
        }
        Action::Show { key } => print::one(&client.read(&format!("keys/{key}"))?, json)?,
        Action::Update(update) => {
            let path = format!("keys/{}", update.key);
            print::one(&client.patch(&path, &changes(update)?)?, json)?;
        }
        Action::Rotate { key, overlap, once } => {
            let body = json!({ "overlap": overlap });
            print::one(&client.post_once(&format!("keys/{key}/rotate"), &body, once)?, json)?;
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
        body["limits"] = limit_changes(&new.limits)?;
    }
    if let Some(cap) = &new.spend_cap {
        body["spend_cap"] = cap_of(cap);
    }
    put(&mut body, "expires_at", new.expires_at.as_deref());
    put(&mut body, "urgency", new.urgency.as_deref());
    put(&mut body, "secret_sha256", new.secret_sha256.as_deref());
    Ok(body)
}

/// What the API is told: members that are not said stay, `null` takes a bound away.
fn changes(update: &Update) -> anyhow::Result<Value> {
    let mut body = json!({});
    put(&mut body, "name", update.name.as_deref());
    let lists = [
        ("scopes", &update.scopes, update.all_scopes),
        ("models", &update.models, update.all_models),
        ("allowed_ips", &update.allowed_ips, update.any_ip),
    ];
    for (name, list, none) in lists {
        if none {
            body[name] = Value::Null;
        } else if !list.is_empty() {
            body[name] = json!(list);
        }
    }
    if !update.limits.is_empty() {
        body["limits"] = limit_changes(&update.limits)?;
    }
    if let Some(cap) = &update.spend_cap {
        body["spend_cap"] = cap_of(cap);
    }
    put(&mut body, "expires_at", update.expires_at.as_deref());
    put(&mut body, "urgency", update.urgency.as_deref());
    for (name, none) in [("spend_cap", update.no_spend_cap), ("expires_at", update.no_expiry)] {
        if none {
            body[name] = Value::Null;
        }
    }
    Ok(body)
}

fn cap_of(text: &str) -> Value {
    match text.split_once('/') {
        Some((amount, period)) => json!({ "amount": amount, "period": period }),
        None => json!({ "amount": text }),
    }
}

const URGENCIES: [&str; 4] = ["critical", "high", "normal", "low"];
const COLUMNS: [Column; 7] = [
    ("id", "/id"),
    ("name", "/name"),
    ("type", "/type"),
    ("hint", "/hint"),
    ("status", "/status"),
    ("last used", "/last_used_at"),
    ("expires", "/expires_at"),
];
