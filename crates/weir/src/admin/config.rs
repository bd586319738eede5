//! `weir config`: what is in force, what another file would change, reload.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client::{Target, exit_code};
use crate::config::preset::SCHEMA;
use crate::print::{self, Column};

/// What `weir config` takes.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the configuration in force, without its secrets.
    Show,
    /// Show what a file would change on the running server.
    Diff {
        /// The new configuration.
        file: PathBuf,
    },
    /// Let the server read its file again.
    Reload,
    /// Print the JSON Schema of the file, for editors.
    Schema,
}

/// Runs `weir config`.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let json = args.target.json;
    exit_code(match &args.action {
        Action::Schema => io::stdout().write_all(SCHEMA.as_bytes()).map_err(Into::into),
        Action::Show => args.target.client()?.read("config").and_then(|config| pretty(&config)),
        Action::Diff { file } => {
            let client = args.target.client()?;
            std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))
                .and_then(|text| client.post_text("config/diff", &text))
                .and_then(|changes| show(&changes, json))
        }
        Action::Reload => {
            let body = Value::Object(serde_json::Map::new());
            let client = args.target.client()?;
            client.post_of_many("config/reload", &body).and_then(|changes| show(&changes, json))
        }
    })
}

fn show(changes: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return pretty(changes);
    }
    let rows = |name: &str| changes[name].as_array().cloned().unwrap_or_default();
    let (limits, prices) = (rows("limits"), rows("prices"));
    if !limits.is_empty() {
        print::rows(&limits, &LIMITS, false)?;
    }
    if !prices.is_empty() {
        print::rows(&prices, &PRICES, false)?;
    }
    let mut out = io::stdout().lock();
    if nothing(changes) {
        writeln!(out, "nothing changes")?;
    }
    for (what, title) in [("plans", "plans"), ("routes", "routes"), ("upstreams", "upstreams")] {
        for how in ["added", "removed", "changed"] {
            for name in changes[what][how].as_array().into_iter().flatten() {
                writeln!(out, "{title} {how}: {}", name.as_str().unwrap_or_default())?;
            }
        }
    }
    for (name, title) in [
        ("settings", "changes at once"),
        ("needs_restart", "waits for a restart"),
        ("plans_missing", "cannot be applied, plan in use"),
    ] {
        for value in rows(name) {
            writeln!(out, "{title}: {}", value.as_str().unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Whether all lists of changes are empty.
fn nothing(changes: &Value) -> bool {
    match changes {
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.values().all(nothing),
        _ => true,
    }
}

fn pretty(value: &Value) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{value:#}")?;
    Ok(())
}

const LIMITS: [Column; 6] = [
    ("plan", "/plan"),
    ("limit", "/limit"),
    ("", "/direction"),
    ("from", "/from"),
    ("to", "/to"),
    ("accounts", "/accounts"),
];
const PRICES: [Column; 5] = [
    ("price", "/price"),
    ("meter", "/meter"),
    ("", "/direction"),
    ("from", "/from"),
    ("to", "/to"),
];
