//! `weir events`: what happened in the last 30 days.

use std::collections::VecDeque;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::client::{Client, Target, escape, exit_code};
use crate::pattern::is_wanted;
use crate::print::{self, Column};

/// What `weir events` takes.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only events of this type, such as `wallet.low` or `wallet.*`; may be repeated.
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// Only events of this account, by its id or your own.
    #[arg(long)]
    account: Option<String>,
    /// Only those after this one.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// At most so many, the newest of them.
    #[arg(long, default_value_t = 100)]
    most: usize,
    #[command(flatten)]
    target: Target,
}

/// Runs `weir events`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code((|| {
        let mut events = Vec::from(found(args, &client)?);
        if !args.target.json {
            // It has a column of its own.
            for data in events.iter_mut().filter_map(|event| event["data"].as_object_mut()) {
                data.remove("account_id");
            }
        }
        print::rows(&events, &COLUMNS, args.target.json)?;
        Ok(())
    })())
}

/// The events that are asked for, oldest first. The server tells them in this order alone.
fn found(args: &EventsArgs, client: &Client) -> anyhow::Result<VecDeque<Value>> {
    let account = args.account.as_deref().map(|named| client.account(named)).transpose()?;
    let mut found = VecDeque::new();
    let mut after = args.after.clone();
    loop {
        let from = after.as_deref().map(|id| format!("&after={}", escape(id))).unwrap_or_default();
        let mut answer = client.read(&format!("events?limit={PAGE}{from}"))?;
        let page = match answer["data"].take() {
            Value::Array(page) if !page.is_empty() => page,
            _ => return Ok(found),
        };
        let wanted = page.into_iter().filter(|event| {
            let kind = event["type"].as_str().unwrap_or_default();
            is_wanted(&args.events, kind)
                && account.as_deref().is_none_or(|id| event["account_id"] == id)
        });
        for event in wanted {
            found.push_back(event);
            if found.len() > args.most {
                found.pop_front();
            }
        }
        after = answer["next_cursor"].as_str().map(str::to_owned);
        if after.is_none() {
            return Ok(found);
        }
    }
}

const PAGE: usize = 200;
const COLUMNS: [Column; 5] = [
    ("at", "/timestamp"),
    ("type", "/type"),
    ("account", "/account_id"),
    ("id", "/id"),
    ("facts", "/data"),
];
