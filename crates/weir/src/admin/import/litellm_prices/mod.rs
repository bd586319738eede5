//! `weir import litellm-prices`: LiteLLM's public price list as prices of Weir.

mod sheet;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use weir_core::names::LimitNames;

use self::sheet::Sheet;
use crate::client::{Target, exit_code};
use crate::config::load::{load, parse};
use crate::config::read::World;
use crate::config::settings::Settings;
use crate::difference::prices;
use crate::print::{self, Column};

/// What `weir import litellm-prices` takes.
#[derive(Debug, Args)]
pub(crate) struct LitellmPricesArgs {
    /// The list (JSON), as LiteLLM publishes it: model_prices_and_context_window.json.
    file: PathBuf,
    /// Only models of that name; a `*` at the end stands for anything. Repeat it for several.
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Compare with this configuration; without: with what the server has in force.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the prices are written as TOML; without: only what would change is told.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// Tells what the list would change and, where it is asked to, writes its prices.
///
/// # Errors
///
/// When a file cannot be read or written, or the server cannot be reached.
pub(crate) fn run(args: &LitellmPricesArgs) -> anyhow::Result<ExitCode> {
    let shown = args.file.display().to_string();
    let text =
        std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {shown}"))?;
    let sheet =
        sheet::read(&text, |name| wanted(&args.model, name)).with_context(|| shown.clone())?;
    if sheet.len() == 0 {
        bail!("{shown} has no price that can be taken over\n{}", sheet.notes.join("\n"));
    }
    let source = args.file.file_name().unwrap_or_default().to_string_lossy();
    let file = sheet.file(&source);
    let settings = checked(&file)?;
    let changes = match &args.config {
        Some(path) => {
            let present = load(path, &mut LimitNames::default())?;
            Value::from(prices(&present.policy, &settings.policy))
        }
        None => {
            let asked =
                args.target.client().and_then(|client| client.post_text("config/diff", &file));
            match asked {
                Ok(changes) => changes["prices"].clone(),
                Err(error) => return exit_code(Err(error.context(NO_PRESENT))),
            }
        }
    };
    if let Some(path) = &args.write {
        write_new(path, &file)?;
    }
    tell(args, &sheet, &changes)?;
    Ok(ExitCode::SUCCESS)
}

fn wanted(patterns: &[String], name: &str) -> bool {
    let fits = |pattern: &String| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    patterns.is_empty() || patterns.iter().any(fits)
}

/// What is written must pass `weir check`.
fn checked(file: &str) -> anyhow::Result<Settings> {
    let world = World { variable: &|_| None, folder: PathBuf::from(".") };
    let checked = parse("the prices", file.as_bytes(), &world, &mut LimitNames::default());
    checked.map_err(|rejected| anyhow::anyhow!("the list makes no configuration:\n{rejected}"))
}

fn write_new(path: &Path, file: &str) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    let mut opened = opened.with_context(|| format!("cannot write {}", path.display()))?;
    opened.write_all(file.as_bytes())?;
    Ok(())
}

fn tell(args: &LitellmPricesArgs, sheet: &Sheet, changes: &Value) -> anyhow::Result<()> {
    // Prices that the list does not have stay: nobody takes them away.
    let changes: Vec<Value> = changes
        .as_array()
        .into_iter()
        .flatten()
        .filter(|change| change["direction"] != "removed")
        .cloned()
        .collect();
    let mut hints = io::stderr().lock();
    for note in &sheet.notes {
        writeln!(hints, "note: {note}")?;
    }
    if !sheet.others.is_empty() {
        let others: Vec<&str> = sheet.others.iter().map(String::as_str).collect();
        writeln!(hints, "note: members that are no prices are left out: {}", others.join(", "))?;
    }
    if args.target.json {
        let told = json!({
            "models": sheet.len(), "changes": changes, "notes": sheet.notes, "left_out": sheet.others,
        });
        writeln!(io::stdout(), "{told:#}")?;
    } else {
        let count = sheet.len();
        if changes.is_empty() {
            writeln!(io::stdout(), "{count} models; no price changes")?;
        } else {
            print::rows(&changes, &CHANGES, false)?;
        }
    }
    match &args.write {
        Some(path) => {
            let path = path.display();
            writeln!(hints, "wrote {path}; next: weir check --config {path}")?;
        }
        None => writeln!(hints, "nothing was written: --write FILE")?,
    }
    Ok(())
}

const NO_PRESENT: &str =
    "nothing to compare with: name a configuration (--config FILE), or a server";
const CHANGES: [Column; 5] = [
    ("price", "/price"),
    ("meter", "/meter"),
    ("", "/direction"),
    ("from", "/from"),
    ("to", "/to"),
];
