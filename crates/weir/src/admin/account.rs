//! `weir account`: make, show, change and close accounts.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::{self, Client, Target, exit_code};
use crate::input::read_text;
use crate::once::Once;
use crate::print::{self, Column};

/// What `weir account` takes.
#[derive(Debug, Args)]
pub(crate) struct AccountArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an account.
    Create {
        /// What people call it.
        #[arg(long)]
        name: String,
        /// Its plan.
        #[arg(long)]
        plan: String,
        /// Your own id for it; other commands take it, too.
        #[arg(long)]
        external_id: Option<String>,
        /// Where notices go.
        #[arg(long)]
        email: Option<String>,
        /// Whatever you want to keep with it, as a JSON object.
        #[arg(long, value_name = "JSON")]
        metadata: Option<String>,
        #[command(flatten)]
        once: Once,
    },
    /// List accounts.
    List {
        /// Only those on this plan.
        #[arg(long)]
        plan: Option<String>,
        /// Only those that are so.
        #[arg(long, value_parser = ["active", "suspended"])]
        status: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        most: usize,
    },
    /// Show one account.
    Show {
        /// Its id or your own.
        account: String,
    },
    /// Change an account; the next call sees it.
    Update(Update),
    /// Close an account: its keys are gone at once, its ledger stays.
    Delete {
        /// Its id or your own.
        account: String,
    },
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(override_usage = "weir account update [OPTIONS] <ACCOUNT>")]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args([
    "name", "plan", "external_id", "email", "metadata", "suspend", "resume", "limits",
    "contract", "no_contract",
])))]
struct Update {
    /// Its id or your own.
    account: String,
    /// Another name.
    #[arg(long)]
    name: Option<String>,
    /// Another plan: what was used stays used.
    #[arg(long)]
    plan: Option<String>,
    /// Another id of your own for it; empty: none.
    #[arg(long)]
    external_id: Option<String>,
    /// Another address for notices; empty: none.
    #[arg(long)]
    email: Option<String>,
    /// What to keep with it in place of what is there, as a JSON object.
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// Refuse its calls.
    #[arg(long, conflicts_with = "resume")]
    suspend: bool,
    /// Answer its calls again.
    #[arg(long)]
    resume: bool,
    /// A limit of its own, such as `ai=1000/hour`; `ai=` takes it back. May be repeated.
    #[arg(long = "limit", value_name = "NAME=LIMIT")]
    limits: Vec<String>,
    /// The file with its contract as JSON, or `-`: multiplier, prices, commitment, credit_line, from, until.
    #[arg(long, value_name = "FILE", conflicts_with = "no_contract")]
    contract: Option<PathBuf>,
    /// End its contract.
    #[arg(long)]
    no_contract: bool,
}

/// Runs `weir account`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &AccountArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(act(&args.action, &client, args.target.json))
}

fn act(action: &Action, client: &Client, json: bool) -> anyhow::Result<()> {
    match action {
        Action::Create { name, plan, external_id, email, metadata, once } => {
            let mut body = json!({ "name": name, "plan": plan });
            put(&mut body, "external_id", external_id.as_deref());
            put(&mut body, "email", email.as_deref());
            if let Some(metadata) = metadata {
                body["metadata"] = object("--metadata", metadata)?;
            }
            print::one(&client.post_once("accounts", &body, once)?, json)?;
        }
        Action::List { plan, status, most } => {
            let wanted = [("plan", plan.as_deref()), ("status", status.as_deref())];
            let path = client::query("accounts", &wanted);
            print::rows(&client.list(&path, *most)?, &COLUMNS, json)?;
        }
        Action::Show { account } => {
            let id = client.account(account)?;
            print::one(&client.read(&format!("accounts/{id}"))?, json)?;
        }
        Action::Update(update) => {
            let body = body_of(update)?;
            let id = client.account(&update.account)?;
            print::one(&client.patch(&format!("accounts/{id}"), &body)?, json)?;
        }
        Action::Delete { account } => {
            let id = client.account(account)?;
            client.delete(&format!("accounts/{id}"))?;
        }
    }
    Ok(())
}

fn body_of(update: &Update) -> anyhow::Result<Value> {
    let mut body = json!({});
    put(&mut body, "name", update.name.as_deref());
    put(&mut body, "plan", update.plan.as_deref());
    for (name, value) in [("external_id", &update.external_id), ("email", &update.email)] {
        match value.as_deref() {
            Some("") => body[name] = Value::Null,
            value => put(&mut body, name, value),
        }
    }
    if let Some(metadata) = &update.metadata {
        body["metadata"] = object("--metadata", metadata)?;
    }
    let status = if update.suspend { Some("suspended") } else { update.resume.then_some("active") };
    put(&mut body, "status", status);
    if !update.limits.is_empty() {
        body["limits"] = limit_changes(&update.limits)?;
    }
    if let Some(path) = &update.contract {
        body["contract"] = object("the contract", &read_text(path)?)?;
    }
    if update.no_contract {
        body["contract"] = Value::Null;
    }
    Ok(body)
}

fn object(what: &str, text: &str) -> anyhow::Result<Value> {
    let value: Value = serde_json::from_str(text).with_context(|| format!("{what} is no JSON"))?;
    anyhow::ensure!(value.is_object(), "{what} must be a JSON object, such as {{\"a\": \"b\"}}");
    Ok(value)
}

/// Limits as the API takes changes of them: each one named is set, or taken back by `null`.
///
/// # Errors
///
/// When one is not of the form `NAME=LIMIT`.
pub(crate) fn limit_changes(changes: &[String]) -> anyhow::Result<Value> {
    let mut limits = Map::new();
    for change in changes {
        // Names of endpoint limits have spaces but no `=`.
        let limit = match change.split_once('=') {
            Some((name, "")) => (name, Value::Null),
            Some((name, limit)) => (name, limit_value(limit)),
            None => anyhow::bail!("`{change}` is not of the form NAME=LIMIT"),
        };
        limits.insert(limit.0.to_owned(), limit.1);
    }
    Ok(Value::Object(limits))
}

/// A limit as the API takes it: a number for concurrency, else text.
fn limit_value(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from)
}

/// Sets a member if there is a value for it.
pub(crate) fn put(body: &mut Value, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        body[name] = Value::from(value);
    }
}

const COLUMNS: [Column; 5] = [
    ("id", "/id"),
    ("name", "/name"),
    ("plan", "/plan"),
    ("status", "/status"),
    ("created", "/created_at"),
];
