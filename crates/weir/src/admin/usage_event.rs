//! `weir usage-event`: usage that was metered elsewhere, priced and charged once.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Deserializer, Map, Value, json};

use crate::client::{Client, RefusedByServer, Target, exit_code};
use crate::input::read_text;
use crate::print::{self, Column};

/// What `weir usage-event` takes.
#[derive(Debug, Args)]
pub(crate) struct UsageEventArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Charge one piece of work; the same source and id again are charged once.
    Tell(Tell),
    /// Charge the CloudEvents of a file: JSON, one or an array of them, or one on each line.
    Send {
        /// The file, or `-` for standard input.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("by").required(true).args(["price", "model"])))]
struct Tell {
    /// Who pays: the account's id or your own.
    account: String,
    /// Who metered it, such as `trainer/7`.
    #[arg(long)]
    source: String,
    /// Its id; with the source it is unique for ever.
    #[arg(long)]
    id: String,
    /// What kind of event it is.
    #[arg(long = "type", default_value = "usage.metered")]
    kind: String,
    /// The price that it is charged by.
    #[arg(long)]
    price: Option<String>,
    /// The model whose price it is charged by.
    #[arg(long)]
    model: Option<String>,
    /// How much of a meter, such as `second=3600.5` or `output_tokens=1200`; may be repeated.
    #[arg(long = "used", value_name = "METER=AMOUNT", required = true)]
    used: Vec<String>,
}

/// Runs `weir usage-event`.
///
/// # Errors
///
/// When the file cannot be read, the server cannot be reached, an event of a batch is refused, or
/// standard output is gone.
pub(crate) fn run(args: &UsageEventArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    let events = match &args.action {
        Action::Tell(told) => vec![to_raw_value(&event_of(told)?)?],
        Action::Send { file } => read(file)?,
    };
    exit_code(send(&client, &events, args.target.json))
}

fn event_of(told: &Tell) -> anyhow::Result<Value> {
    let mut usage = Map::new();
    for used in &told.used {
        let (meter, amount) = used
            .split_once('=')
            .with_context(|| format!("`{used}` is not of the form METER=AMOUNT"))?;
        let amount = amount.parse::<u64>().map_or_else(|_| Value::from(amount), Value::from);
        let before = usage.insert(meter.to_owned(), amount);
        anyhow::ensure!(before.is_none(), "`{meter}` is said twice");
    }
    let mut data = json!({ "usage": usage });
    for (name, value) in [("price", &told.price), ("model", &told.model)] {
        if let Some(value) = value {
            data[name] = Value::from(value.as_str());
        }
    }
    Ok(json!({
        "specversion": "1.0", "id": told.id, "source": told.source, "type": told.kind,
        "subject": told.account, "data": data,
    }))
}

/// Every event of a file, as it is written there: what is said twice is the server's to refuse.
fn read(path: &Path) -> anyhow::Result<Vec<Box<RawValue>>> {
    let text = read_text(path)?;
    let shown = path.display();
    let mut events = Vec::new();
    for value in Deserializer::from_str(&text).into_iter::<Box<RawValue>>() {
        let value = value.with_context(|| format!("{shown} is no JSON"))?;
        match value.get().starts_with('[') {
            true => events.extend(serde_json::from_str::<Vec<Box<RawValue>>>(value.get())?),
            false => events.push(value),
        }
    }
    anyhow::ensure!(!events.is_empty(), "there is no event in {shown}");
    Ok(events)
}

/// Sends all events and shows what became of each.
fn send(client: &Client, events: &[Box<RawValue>], json: bool) -> anyhow::Result<()> {
    let mut outcomes = Vec::with_capacity(events.len());
    for batch in events.chunks(BATCH_MAX) {
        let mut taken = client.post_of_many("usage-events", &batch).inspect_err(|_| {
            let (taken, all) = (outcomes.len(), events.len());
            let advice = "send all of them again: each is charged once";
            // What is in the way comes after this; nothing is lost if nobody reads it.
            let _ = writeln!(io::stderr(), "{taken} of {all} events are taken; {advice}");
        })?;
        match taken["data"].take() {
            Value::Array(data) => outcomes.extend(data),
            _ => anyhow::bail!("the server's answer is no list"),
        }
    }
    print::rows(&outcomes, &COLUMNS, json)?;
    match outcomes.iter().filter(|outcome| outcome["status"] == "refused").count() {
        0 => Ok(()),
        refused => {
            let message = format!("{refused} of {} events are refused", events.len());
            Err(RefusedByServer::new(message).into())
        }
    }
}

const BATCH_MAX: usize = 500;
const COLUMNS: [Column; 6] = [
    ("source", "/source"),
    ("id", "/id"),
    ("status", "/status"),
    ("charge", "/charge"),
    ("entry", "/entry_id"),
    ("why", "/error/message"),
];
