//! `weir audit`: who changed what.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::client::{Client, Target, exit_code};
use crate::input::time;
use crate::pattern::is_wanted;
use crate::print::{self, Column};

/// What `weir audit` takes.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only what concerns this account, by its id or your own.
    #[arg(long)]
    account: Option<String>,
    /// Only what was done by this actor: `admin` or the id of a key.
    #[arg(long)]
    actor: Option<String>,
    /// Only this action, such as `key.revoked` or `wallet.*`; may be repeated.
    #[arg(long = "action", value_name = "ACTION")]
    actions: Vec<String>,
    /// From when on: `2026-11-01T00:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Until when.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    most: usize,
    #[command(flatten)]
    target: Target,
}

/// Runs `weir audit`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code((|| {
        let mut changes = found(args, &client)?;
        if !args.target.json {
            for change in &mut changes {
                change["changed"] = Value::from(told(&change["before"], &change["after"]));
            }
        }
        print::rows(&changes, &COLUMNS, args.target.json)?;
        Ok(())
    })())
}

/// The changes that are asked for, the newest first.
fn found(args: &AuditArgs, client: &Client) -> anyhow::Result<Vec<Value>> {
    let path = match &args.account {
        Some(named) => format!("audit?account_id={}", client.account(named)?),
        None => "audit".to_owned(),
    };
    let mut found = Vec::new();
    client.each(&path, |change| {
        let at = change["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let at = at.context("the server's answer does not say when something was changed")?;
        // The newest come first: what follows is older still.
        if found.len() >= args.most || args.since.is_some_and(|since| at < since) {
            return Ok(ControlFlow::Break(()));
        }
        let by = args.actor.as_deref().is_none_or(|actor| change["actor"] == actor);
        let action = change["action"].as_str().unwrap_or_default();
        let wanted = is_wanted(&args.actions, action);
        if by && wanted && args.until.is_none_or(|until| at < until) {
            found.push(change);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// What was changed from what to what; of what was made or removed, all that it had.
fn told(before: &Value, after: &Value) -> String {
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (old, new) = (members(before), members(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let one = |name: &&String| {
        let (old, new) = (print::cell(old.get(*name)), print::cell(new.get(*name)));
        match (before.is_null(), after.is_null()) {
            (true, _) => format!("{name} {new}"),
            (_, true) => format!("{name} {old}"),
            _ => format!("{name} {old} → {new}"),
        }
    };
    names.iter().map(one).collect::<Vec<_>>().join(", ")
}

const COLUMNS: [Column; 6] = [
    ("at", "/at"),
    ("actor", "/actor"),
    ("action", "/action"),
    ("subject", "/subject"),
    ("request", "/request_id"),
    ("changed", "/changed"),
];
