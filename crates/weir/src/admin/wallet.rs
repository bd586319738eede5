//! `weir wallet`: look at a wallet, top it up, adjust it, take charges back, change its terms.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::account::put;
use crate::client::{Client, Target, escape, exit_code};
use crate::once::Once;
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
        #[arg(allow_negative_numbers = true)]
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
        /// The automatic top-up that it answers, as the event that asked for it names it.
        #[arg(long)]
        reference: Option<String>,
        #[command(flatten)]
        once: Once,
    },
    /// Take a charge back, wholly or in part.
    Refund {
        /// The account's id or your own.
        account: String,
        /// The id of the charge's entry.
        entry: String,
        /// How much of it; without: all that is left.
        #[arg(long)]
        amount: Option<String>,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        once: Once,
    },
    /// Change its terms: credit line, alerts, automatic top-ups.
    Update(Update),
    /// Say that an automatic top-up which was asked for is not made; the next request waits.
    DeclineTopUp {
        /// The account's id or your own.
        account: String,
        /// The top-up, as the event that asked for it names it.
        #[arg(long)]
        reference: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        once: Once,
    },
    /// Show what happened to it in a month.
    Statement {
        /// The account's id or your own.
        account: String,
        /// The month, in UTC: `2026-11`.
        month: String,
        /// Write CSV.
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Change the balance by hand.
    Adjust {
        /// The account's id or your own.
        account: String,
        /// How much, with its sign: `-5.00`.
        #[arg(allow_negative_numbers = true)]
        amount: String,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        once: Once,
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

#[derive(Debug, Args)]
#[group(skip)]
#[command(override_usage = "weir wallet update [OPTIONS] <ACCOUNT>")]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args([
    "credit_line", "no_credit_line", "alerts", "plan_alerts", "top_up_below", "no_auto_top_up",
])))]
struct Update {
    /// The account's id or your own.
    account: String,
    /// How far the balance may fall below zero.
    #[arg(long, value_name = "AMOUNT", conflicts_with = "no_credit_line")]
    credit_line: Option<String>,
    /// It may not fall below zero.
    #[arg(long)]
    no_credit_line: bool,
    /// When its owner is told that it is low: `5.00`, `20%` of the last top-up, `24h` of runway; may be
    /// repeated: these and no others.
    #[arg(long = "alert", value_name = "LEVEL", conflicts_with = "plan_alerts")]
    alerts: Vec<String>,
    /// Alerts as the plan says.
    #[arg(long)]
    plan_alerts: bool,
    /// Ask for a top-up when less than this is available.
    #[arg(long, value_name = "AMOUNT", requires = "top_up_by", conflicts_with = "no_auto_top_up")]
    top_up_below: Option<String>,
    /// How much to ask for.
    #[arg(long, value_name = "AMOUNT", requires = "top_up_below")]
    top_up_by: Option<String>,
    /// Ask for no more than this in a month.
    #[arg(long, value_name = "AMOUNT", requires = "top_up_below")]
    top_up_monthly_max: Option<String>,
    /// Ask for no top-ups.
    #[arg(long)]
    no_auto_top_up: bool,
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
        Action::TopUp { account, amount, note, promo, expires_at, priority, reference, once } => {
            let id = client.account(account)?;
            let mut body = json!({ "amount": amount });
            put(&mut body, "note", note.as_deref());
            put(&mut body, "expires_at", expires_at.as_deref());
            put(&mut body, "category", promo.then_some("promo"));
            put(&mut body, "reference", reference.as_deref());
            if let Some(priority) = priority {
                body["priority"] = json!(priority);
            }
            print::one(
                &client.post_once(&format!("accounts/{id}/wallet/top-ups"), &body, once)?,
                json,
            )?;
        }
        Action::Adjust { account, amount, reason, once } => {
            let id = client.account(account)?;
            let body = json!({ "amount": amount, "reason": reason });
            print::one(
                &client.post_once(&format!("accounts/{id}/wallet/adjustments"), &body, once)?,
                json,
            )?;
        }
        Action::Refund { account, entry, amount, reason, once } => {
            let id = client.account(account)?;
            let mut body = json!({ "entry_id": entry, "reason": reason });
            put(&mut body, "amount", amount.as_deref());
            print::one(
                &client.post_once(&format!("accounts/{id}/wallet/refunds"), &body, once)?,
                json,
            )?;
        }
        Action::Update(update) => {
            let path = format!("accounts/{}/wallet", client.account(&update.account)?);
            print::one(&client.patch(&path, &changes(update))?, json)?;
        }
        Action::DeclineTopUp { account, reference, reason, once } => {
            let id = client.account(account)?;
            let mut body = json!({ "reference": reference });
            put(&mut body, "reason", reason.as_deref());
            let path = format!("accounts/{id}/wallet/auto-top-up/decline");
            print::one(&client.post_once(&path, &body, once)?, json)?;
        }
        Action::Statement { account, month, csv } => {
            let id = client.account(account)?;
            let path = format!("accounts/{id}/statements/{}", escape(month));
            if *csv {
                client.read_into(&format!("{path}?format=csv"), &mut io::stdout().lock())?;
            } else {
                statement(client.read(&path)?, json)?;
            }
        }
        Action::Entries { account, most } => {
            let id = client.account(account)?;
            let entries = client.list(&format!("accounts/{id}/wallet/entries"), *most)?;
            print::rows(&entries, &COLUMNS, json)?;
        }
    }
    Ok(())
}

/// What the API is told: members that are not said stay, `null` takes one away.
fn changes(update: &Update) -> Value {
    let mut body = json!({});
    put(&mut body, "credit_line", update.credit_line.as_deref());
    if !update.alerts.is_empty() {
        body["alerts"] = json!(update.alerts);
    }
    if let Some(threshold) = &update.top_up_below {
        let auto = &mut body["auto_top_up"];
        *auto = json!({ "threshold": threshold });
        put(auto, "amount", update.top_up_by.as_deref());
        put(auto, "monthly_max", update.top_up_monthly_max.as_deref());
    }
    for (name, none) in [
        ("credit_line", update.no_credit_line),
        ("alerts", update.plan_alerts),
        ("auto_top_up", update.no_auto_top_up),
    ] {
        if none {
            body[name] = Value::Null;
        }
    }
    body
}

/// Prints a statement: opening, sums and closing, then what was charged line by line.
fn statement(mut told: Value, json: bool) -> io::Result<()> {
    let lines = if json { Value::Null } else { told["lines"].take() };
    print::one(&told, json)?;
    match lines {
        Value::Array(lines) if !lines.is_empty() => {
            writeln!(io::stdout())?;
            print::rows(&lines, &LINES, false)
        }
        _ => Ok(()),
    }
}

const LINES: [Column; 5] = [
    ("price", "/price"),
    ("model", "/model"),
    ("charges", "/charges"),
    ("amount", "/amount"),
    ("usage", "/usage"),
];
const COLUMNS: [Column; 7] = [
    ("id", "/id"),
    ("at", "/at"),
    ("kind", "/kind"),
    ("amount", "/amount"),
    ("balance", "/balance"),
    ("reference", "/reference"),
    ("note", "/note"),
];
