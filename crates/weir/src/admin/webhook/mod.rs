//! `weir webhook`: receivers of events, their deliveries, and trying them out on one's own machine.

mod listen;
mod verify;

mod receive;

use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::account::put;
use crate::client::{Client, Target, exit_code};
use crate::once::Once;
use crate::print::{self, Column};

/// What `weir webhook` takes.
#[derive(Debug, Args)]
pub(crate) struct WebhookArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a webhook of your own: it gets the events of all accounts. Its secret is printed once.
    Create {
        /// Where events are posted to.
        #[arg(long)]
        url: String,
        /// A type that it gets, such as `wallet.low` or `wallet.*`; may be repeated. Without: all.
        #[arg(long = "event", value_name = "TYPE")]
        events: Vec<String>,
        /// What people call it.
        #[arg(long)]
        description: Option<String>,
        #[command(flatten)]
        once: Once,
    },
    /// List your own webhooks, or those of an account.
    List {
        /// The account's id or your own.
        #[arg(long)]
        account: Option<String>,
    },
    /// Show a webhook, without its secret.
    #[command(visible_alias = "get")]
    Show {
        /// Its id.
        webhook: String,
    },
    /// Change a webhook, switch it off, or on again.
    Update(Update),
    /// Remove a webhook; what waits for it is not delivered.
    Delete {
        /// Its id.
        webhook: String,
    },
    /// Give a webhook a new secret, which is printed once.
    Rotate {
        /// Its id.
        webhook: String,
        /// How long messages are signed with the old one, too.
        #[arg(long, default_value = "24h")]
        overlap: String,
        #[command(flatten)]
        once: Once,
    },
    /// Send a test event to a webhook.
    Test {
        /// Its id.
        webhook: String,
        #[command(flatten)]
        once: Once,
    },
    /// Deliver an event, or those of a time, again.
    Replay {
        /// The webhook's id.
        webhook: String,
        /// One event.
        #[arg(long, value_name = "ID", required_unless_present = "since", conflicts_with_all = ["since", "until", "failed_only"])]
        event: Option<String>,
        /// From when on: `2026-11-01T00:00:00Z`.
        #[arg(long)]
        since: Option<String>,
        /// Up to when; now if left out.
        #[arg(long, requires = "since")]
        until: Option<String>,
        /// Only what was given up.
        #[arg(long, requires = "since")]
        failed_only: bool,
        #[command(flatten)]
        once: Once,
    },
    /// List what was delivered to a webhook, what waits and what failed, the newest first.
    Deliveries {
        /// The webhook's id.
        webhook: String,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        most: usize,
    },
    /// Print events as they happen, and post them, signed, to a receiver that only you can reach.
    Listen(listen::ListenArgs),
    /// Receive messages on this machine and verify them; asks no server.
    Receive(receive::ReceiveArgs),
    /// Check a message against a secret; asks no server.
    Verify(verify::VerifyArgs),
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(override_usage = "weir webhook update [OPTIONS] <WEBHOOK>")]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(
    ["url", "events", "description", "enable", "disable"]
)))]
struct Update {
    /// Its id.
    webhook: String,
    /// Where events are posted to from now on.
    #[arg(long)]
    url: Option<String>,
    /// A type that it gets; may be repeated, and `*` is all.
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// What people call it.
    #[arg(long)]
    description: Option<String>,
    /// Switch it on again.
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Switch it off.
    #[arg(long)]
    disable: bool,
}

/// Runs `weir webhook`.
///
/// # Errors
///
/// When the server cannot be reached, a message does not verify, or standard output is gone.
pub(crate) fn run(args: &WebhookArgs) -> anyhow::Result<ExitCode> {
    let json = args.target.json;
    match &args.action {
        Action::Verify(message) => verify::run(message, json),
        Action::Receive(how) => receive::run(how, json),
        Action::Listen(listen) => {
            let client = args.target.client()?;
            exit_code(listen::run(listen, &client, json))
        }
        action => {
            let client = args.target.client()?;
            exit_code(act(action, &client, json))
        }
    }
}

fn act(action: &Action, client: &Client, json: bool) -> anyhow::Result<()> {
    match action {
        Action::Create { url, events, description, once } => {
            let mut body = json!({ "url": url, "events": events });
            put(&mut body, "description", description.as_deref());
            print::one(&client.post_once("webhooks", &body, once)?, json)?;
        }
        Action::List { account } => {
            let path = match account {
                Some(named) => format!("accounts/{}/webhooks", client.account(named)?),
                None => "webhooks".to_owned(),
            };
            print::rows(&client.list(&path, 1_000)?, &COLUMNS, json)?;
        }
        Action::Show { webhook } => {
            print::one(&client.read(&format!("webhooks/{webhook}"))?, json)?;
        }
        Action::Update(update) => {
            let path = format!("webhooks/{}", update.webhook);
            print::one(&client.patch(&path, &body_of(update))?, json)?;
        }
        Action::Delete { webhook } => drop(client.delete(&format!("webhooks/{webhook}"))?),
        Action::Rotate { webhook, overlap, once } => {
            let path = format!("webhooks/{webhook}/rotate-secret");
            print::one(&client.post_once(&path, &json!({ "overlap": overlap }), once)?, json)?;
        }
        Action::Test { webhook, once } => {
            let path = format!("webhooks/{webhook}/test");
            print::one(&client.post_once(&path, &json!({}), once)?, json)?;
        }
        Action::Replay { webhook, event, since, until, failed_only, once } => {
            let mut body = json!({});
            put(&mut body, "event_id", event.as_deref());
            put(&mut body, "since", since.as_deref());
            put(&mut body, "until", until.as_deref());
            if *failed_only {
                body["failed_only"] = Value::Bool(true);
            }
            print::one(
                &client.post_once(&format!("webhooks/{webhook}/replay"), &body, once)?,
                json,
            )?;
        }
        Action::Deliveries { webhook, most } => {
            let rows = client.list(&format!("webhooks/{webhook}/deliveries"), *most)?;
            print::rows(&rows, &DELIVERIES, json)?;
        }
        // These are not a question and its answer.
        Action::Listen(_) | Action::Receive(_) | Action::Verify(_) => {}
    }
    Ok(())
}

fn body_of(update: &Update) -> Value {
    let mut body = json!({});
    put(&mut body, "url", update.url.as_deref());
    put(&mut body, "description", update.description.as_deref());
    let status = if update.enable { Some("enabled") } else { update.disable.then_some("disabled") };
    put(&mut body, "status", status);
    match &*update.events {
        [] => {}
        // To the API no type at all is all of them.
        [all] if all == "*" => body["events"] = json!([]),
        some => body["events"] = json!(some),
    }
    body
}

const COLUMNS: [Column; 5] = [
    ("id", "/id"),
    ("url", "/url"),
    ("events", "/events"),
    ("status", "/status"),
    ("description", "/description"),
];
const DELIVERIES: [Column; 8] = [
    ("event", "/event_id"),
    ("type", "/type"),
    ("state", "/state"),
    ("tries", "/attempts"),
    ("last try", "/last_attempt_at"),
    ("answer", "/last_status"),
    ("error", "/last_error"),
    ("next try", "/next_attempt_at"),
];
