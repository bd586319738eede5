//! `weir import litellm-prices`: LiteLLM's public price list as prices of Weir.

mod sheet;

mod merge;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use weir_core::names::LimitNames;

use self::merge::{Merged, merge};
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
    /// Where the prices are written as TOML; without: only what would change is told. A
    /// configuration that is there gets the models that it lacks; all else in it stays, comments too.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Change the figures of prices that the configuration has to those of the list, too.
    #[arg(long, requires = "write")]
    update: bool,
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
    if let Some(path) = args.write.as_deref().filter(|path| path.exists()) {
        let (merged, changes) = merge_into(path, &sheet, args.update)?;
        tell(args, &sheet, &changes, Some(&merged))?;
        return Ok(ExitCode::SUCCESS);
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
    tell(args, &sheet, &changes, None)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts the prices into a configuration that is there, in one step and only if it is valid then;
/// what changed.
fn merge_into(path: &Path, sheet: &Sheet, update: bool) -> anyhow::Result<(Merged, Value)> {
    let shown = path.display();
    let present = load(path, &mut LimitNames::default())?;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let merged = merge(&text, sheet, update).with_context(|| shown.to_string())?;
    let unwritable = || format!("cannot write {shown}");
    // A link stays one.
    let target = path.canonicalize().with_context(unwritable)?;
    let folder = target.parent().unwrap_or(Path::new("."));
    let fresh = tempfile::Builder::new().prefix(".weir-").tempfile_in(folder);
    let mut fresh = fresh.with_context(unwritable)?;
    fresh.write_all(merged.text.as_bytes()).with_context(unwritable)?;
    let after = load(fresh.path(), &mut LimitNames::default())
        .with_context(|| format!("{shown} would not be valid with these prices, and stays"))?;
    if merged.text != text {
        let file = fresh.as_file();
        let permissions = std::fs::metadata(&target).with_context(unwritable)?.permissions();
        file.set_permissions(permissions).with_context(unwritable)?;
        file.sync_all().with_context(unwritable)?;
        fresh.persist(&target).with_context(unwritable)?;
    }
    Ok((merged, Value::from(prices(&present.policy, &after.policy))))
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

fn tell(
    args: &LitellmPricesArgs,
    sheet: &Sheet,
    changes: &Value,
    merged: Option<&Merged>,
) -> anyhow::Result<()> {
    // Prices that the list does not have stay: nobody takes them away.
    let changes: Vec<Value> = changes
        .as_array()
        .into_iter()
        .flatten()
        .filter(|change| change["direction"] != "removed")
        .cloned()
        .collect();
    let mut hints = io::stderr().lock();
    let (kept, notes): (&[String], &[String]) =
        merged.map_or((&[], &[]), |merged| (&merged.kept, &merged.notes));
    let all_notes = [&sheet.notes, notes].concat();
    for note in &all_notes {
        writeln!(hints, "note: {note}")?;
    }
    if !kept.is_empty() {
        let (count, kept) = (kept.len(), kept.join(", "));
        writeln!(hints, "note: {count} prices differ from the list and stay: {kept}; --update")?;
    }
    if !sheet.others.is_empty() {
        let others: Vec<&str> = sheet.others.iter().map(String::as_str).collect();
        writeln!(hints, "note: members that are no prices are left out: {}", others.join(", "))?;
    }
    if args.target.json {
        let told = json!({
            "models": sheet.len(), "changes": changes, "notes": all_notes,
            "left_out": sheet.others, "kept": kept,
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
