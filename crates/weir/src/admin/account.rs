//! `weir account`: make, show, change and close accounts.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::{Client, Target, exit_code};
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
    },
    /// List accounts.
    List {
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
    Update {
        /// Its id or your own.
        account: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// Another plan: what was used stays used.
        #[arg(long)]
        plan: Option<String>,
        /// Another address for notices.
        #[arg(long)]
        email: Option<String>,
        /// Refuse its calls.
        #[arg(long, conflicts_with = "resume")]
        suspend: bool,
        /// Answer its calls again.
        #[arg(long)]
        resume: bool,
        /// A limit of its own, such as `ai=1000/hour`; `ai=` takes it back. May be repeated.
        #[arg(long = "limit", value_name = "NAME=LIMIT")]
        limits: Vec<String>,
    },
    /// Close an account: its keys are gone at once, its ledger stays.
    Delete {
        /// Its id or your own.
        account: String,
    },
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
        Action::Create { name, plan, external_id, email } => {
            let mut body = json!({ "name": name, "plan": plan });
            put(&mut body, "external_id", external_id.as_deref());
            put(&mut body, "email", email.as_deref());
            print::one(&client.post("accounts", &body)?, json)?;
        }
        Action::List { most } => print::rows(&client.list("accounts", *most)?, &COLUMNS, json)?,
        Action::Show { account } => {
            let id = client.account(account)?;
            print::one(&client.read(&format!("accounts/{id}"))?, json)?;
        }
        Action::Update { account, name, plan, email, suspend, resume, limits } => {
            let id = client.account(account)?;
            let mut body = json!({});
            put(&mut body, "name", name.as_deref());
            put(&mut body, "plan", plan.as_deref());
            put(&mut body, "email", email.as_deref());
            let status = if *suspend { Some("suspended") } else { resume.then_some("active") };
            put(&mut body, "status", status);
            if !limits.is_empty() {
                body["limits"] = own_limits(client, &id, limits)?;
            }
            print::one(&client.patch(&format!("accounts/{id}"), &body)?, json)?;
        }
        Action::Delete { account } => {
            let id = client.account(account)?;
            client.delete(&format!("accounts/{id}"))?;
        }
    }
    Ok(())
}

/// The account's own limits with these changes.
fn own_limits(client: &Client, id: &str, changes: &[String]) -> anyhow::Result<Value> {
    let account = client.read(&format!("accounts/{id}"))?;
    let mut limits = match account.get("limits") {
        Some(Value::Object(limits)) => limits.clone(),
        _ => Map::new(),
    };
    for change in changes {
        // Names of endpoint limits have spaces but no `=`.
        match change.split_once('=') {
            Some((name, "")) => drop(limits.remove(name)),
            Some((name, limit)) => drop(limits.insert(name.to_owned(), limit_value(limit))),
            None => anyhow::bail!("`{change}` is not of the form NAME=LIMIT"),
        }
    }
    Ok(Value::Object(limits))
}

/// A limit as the API takes it: a number for concurrency, else text.
pub(crate) fn limit_value(text: &str) -> Value {
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
