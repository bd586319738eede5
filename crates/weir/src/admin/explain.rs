//! `weir explain`: what would become of a call, and why.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, Target, exit_code};
use crate::print;

/// What `weir explain` takes.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The account's id or your own; without --key: as a new key of it would be.
    #[arg(long, required_unless_present = "key")]
    account: Option<String>,
    /// The key's id, or `-` for the key itself on standard input.
    #[arg(long, value_name = "ID|-")]
    key: Option<String>,
    /// The method: `POST`.
    method: String,
    /// The path: `/ai/chat`.
    path: String,
    /// The model that the call names.
    #[arg(long, conflicts_with = "body_file")]
    model: Option<String>,
    /// What the input counts as, in tokens.
    #[arg(long, value_name = "TOKENS")]
    input_tokens: Option<u64>,
    /// The output bound that the call names, in tokens.
    #[arg(long, value_name = "TOKENS", conflicts_with = "body_file")]
    output_tokens: Option<u64>,
    /// The file with the body of the call.
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// Where the call comes from: needed for keys that are bound to addresses.
    #[arg(long, value_name = "IP")]
    address: Option<String>,
    /// `critical`, `high`, `normal` or `low`.
    #[arg(long)]
    priority: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Runs `weir explain`.
///
/// # Errors
///
/// When the server cannot be reached, a file or standard input cannot be read, or standard output
/// is gone.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(show(args, &client))
}

fn show(args: &ExplainArgs, client: &Client) -> anyhow::Result<()> {
    let answer = client.ask("explain", &question(args, client)?)?;
    if args.target.json {
        return Ok(print::one(&answer, true)?);
    }
    let mut text = String::new();
    tell(&answer, args, &mut text);
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

fn question(args: &ExplainArgs, client: &Client) -> anyhow::Result<Value> {
    let mut question = json!({ "method": args.method, "path": args.path });
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            question[name] = value;
        }
    };
    let account = args.account.as_deref().map(|account| client.account(account)).transpose()?;
    put("account", account.map(Value::from));
    match args.key.as_deref() {
        None => {}
        Some("-") => {
            let mut secret = String::new();
            let taken = io::stdin().lock().take(SECRET_BYTES_MAX).read_to_string(&mut secret);
            taken.context("cannot read the key from standard input")?;
            put("secret", Some(secret.trim().into()));
        }
        Some(id) if id.starts_with("key_") => put("key", Some(id.into())),
        Some(_) => anyhow::bail!(
            "--key takes a key's id (key_…), or `-` and the key itself on standard input: what \
             stands in an argument can be seen by everyone on this machine"
        ),
    }
    put("model", args.model.as_deref().map(Value::from));
    put("input_tokens", args.input_tokens.map(Value::from));
    put("output_tokens", args.output_tokens.map(Value::from));
    put("address", args.address.as_deref().map(Value::from));
    put("priority", args.priority.as_deref().map(Value::from));
    let body = args.body_file.as_ref().map(|path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    });
    put("body", body.transpose()?.map(Value::from));
    Ok(question)
}

/// The explanation for people.
fn tell(answer: &Value, args: &ExplainArgs, text: &mut String) {
    let mut line = |label: &str, rest: String| {
        let told = format!("{label:<8}{rest}");
        text.push_str(told.trim_end());
        text.push('\n');
    };
    line("call", format!("{} {}", args.method, args.path));
    line("caller", caller(&answer["caller"]));
    if let Some(route) = answer.get("route").filter(|route| !route.is_null()) {
        line("route", route_line(route));
    }
    if let Some(model) = answer["model"].as_str() {
        line("model", model.to_owned());
    }
    let limits = answer["limits"].as_array().map_or(&[][..], |limits| limits);
    for (at, row) in limit_rows(limits).into_iter().enumerate() {
        line(if at == 0 { "limits" } else { "" }, row);
    }
    let left_out = answer["left_out"].as_array().map_or(&[][..], |names| names);
    for name in left_out.iter().filter_map(Value::as_str) {
        line("", format!("{name}  does not apply: the plan does not limit this class"));
    }
    let counts = |size: &&Value| size["input_tokens"] != 0 || size["output_tokens"] != 0;
    if let Some(size) = answer.get("size").filter(|size| !size.is_null()).filter(counts) {
        line("size", size_line(size));
    }
    if let Some(price) = answer.get("price").filter(|price| !price.is_null()) {
        let held = if price["charged"] == true { "" } else { "; counted, not charged" };
        let told = (word(&price["name"]), word(&price["worst_cost"]), word(&price["currency"]));
        line("price", format!("{}: at most {} {}{held}", told.0, told.1, told.2));
    }
    if let Some(wallet) = answer.get("wallet").filter(|wallet| !wallet.is_null()) {
        line("wallet", wallet_line(wallet));
    }
    line("result", result(answer));
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        line("", format!("{name}: {}", word(value)));
    }
}

fn caller(caller: &Value) -> String {
    if caller.is_null() {
        return "a key that is not known".to_owned();
    }
    let key = match caller["key_id"].as_str() {
        Some(id) => format!("{id} ({})", word(&caller["key_type"])),
        None => format!("a new {} key", word(&caller["key_type"])),
    };
    format!("{key} of {}, plan {}", word(&caller["account_id"]), word(&caller["plan"]))
}

fn route_line(route: &Value) -> String {
    let mut text = format!("{}, class {}", word(&route["match"]), word(&route["class"]));
    if let Some(scope) = route["scope"].as_str() {
        text.push_str(&format!(", scope {scope}"));
    }
    if route["weight"] != 1 {
        text.push_str(&format!(", counts as {} requests", route["weight"]));
    }
    text.push_str(&match route["price"].as_str() {
        Some("free") => ", free".to_owned(),
        Some("model") => ", priced by the model".to_owned(),
        price => format!(", price {}", price.unwrap_or("-")),
    });
    if let Some(upstream) = route["upstream"].as_str() {
        text.push_str(&format!(", upstream {upstream}"));
    }
    text
}

/// A line for each limit, in columns.
fn limit_rows(limits: &[Value]) -> Vec<String> {
    let rows = limits.iter().map(|limit| {
        let mut name = word(&limit["name"]);
        if limit["shadow"] == true {
            name.push_str(" (shadow)");
        }
        let used = match limit["limit"].is_null() {
            true => "unlimited".to_owned(),
            false => {
                format!("{} of {} {}", word(&limit["used"]), word(&limit["limit"]), per(limit))
            }
        };
        [name, used, format!("takes {}", word(&limit["takes"])), says(limit), origin(limit)]
    });
    let rows: Vec<[String; 5]> = rows.collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let padded = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(padded).collect()
}

/// The unit and window of a limit: `requests per 3600 s`.
fn per(limit: &Value) -> String {
    let unit = word(&limit["unit"]);
    match limit["window_s"].as_i64() {
        None | Some(0) => "at once".to_owned(),
        Some(window) => format!("{unit} per {window} s"),
    }
}

fn says(limit: &Value) -> String {
    match (limit["verdict"].as_str(), limit["wait_ms"].as_i64()) {
        (Some("waits"), Some(ms)) => format!("passes in {} s", (ms + 999) / 1_000),
        (Some("never"), _) => "can never pass".to_owned(),
        (verdict, _) => verdict.unwrap_or("-").to_owned(),
    }
}

/// Where a limit comes from, and what changed it on the way.
fn origin(limit: &Value) -> String {
    let configured = match &limit["configured"] {
        Value::Null => String::new(),
        amount => format!(" {}", word(amount)),
    };
    let mut text = match limit["source"].as_str() {
        Some("route") => format!("route{configured} × {}", word(&limit["endpoint_multiplier"])),
        Some("account") => format!("account's own{configured}"),
        Some("key") => format!("key's own{configured}"),
        Some("key_type") => format!("plan, for keys of this type{configured}"),
        _ => format!("plan{configured}"),
    };
    for boost in limit["boosts"].as_array().into_iter().flatten() {
        let what = match &boost["multiplier"] {
            Value::Null => format!("set to {}", word(&boost["value"])),
            times => format!("× {}", word(times)),
        };
        text.push_str(&format!(", {what} by {}", word(&boost["id"])));
    }
    text
}

fn size_line(size: &Value) -> String {
    let from = match size["output_from"].as_str() {
        Some("request") => "by the request",
        Some("model") => "by the model's max_output_tokens",
        Some("route") => "by the route's hold_output_tokens",
        Some("wallet") => "by what the wallet covers",
        _ => "it produces none",
    };
    let stream = if size["stream"] == true { ", renewed as the stream flows" } else { "" };
    let answers = match size["answers"].as_u64() {
        Some(0 | 1) | None => String::new(),
        Some(answers) => format!(", {answers} answers"),
    };
    let (input, output) = (word(&size["input_tokens"]), word(&size["output_tokens"]));
    format!("{input} input tokens as estimated, {output} output tokens ({from}{stream}){answers}")
}

fn wallet_line(wallet: &Value) -> String {
    let mut text = format!(
        "{} available (balance {}, held {})",
        word(&wallet["available"]),
        word(&wallet["balance"]),
        word(&wallet["held"])
    );
    if let (Some(hold), Some(after)) =
        (wallet["would_hold"].as_str(), wallet["available_after"].as_str())
    {
        text.push_str(&format!("; would hold {hold}, leaving {after}"));
    }
    text
}

fn result(answer: &Value) -> String {
    let reason = word(&answer["reason"]);
    match answer["status"].as_u64() {
        None => reason,
        Some(status) => format!("{status} {}: {reason}", word(&answer["code"])),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// More than any key has.
const SECRET_BYTES_MAX: u64 = 4_096;
