//! `weir import litellm`: models, teams, users and keys of a LiteLLM proxy.

mod models;
mod people;

mod apply;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use self::people::People;
use crate::client::{Target, exit_code};

/// What `weir import litellm` takes.
#[derive(Debug, Args)]
pub(crate) struct LitellmArgs {
    /// The proxy's configuration (YAML); its models and prices are taken.
    config: PathBuf,
    /// Where the configuration for Weir is written; without: only what it would say is told.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// An export of the proxy's database: a JSON object of tables, each a list of rows.
    #[arg(long, value_name = "FILE")]
    db_export: Option<PathBuf>,
    /// Make the accounts, keys and top-ups on the running server; without: only tell.
    #[arg(long, requires = "db_export")]
    apply: bool,
    #[command(flatten)]
    target: Target,
}

/// Tells what would be taken over and, where it is asked to, writes and makes it.
///
/// # Errors
///
/// When a file cannot be read or written, or the server cannot be reached.
pub(crate) fn run(args: &LitellmArgs) -> anyhow::Result<ExitCode> {
    let shown = args.config.display();
    let text =
        std::fs::read_to_string(&args.config).with_context(|| format!("cannot read {shown}"))?;
    // The parser's own words name the place; they show no values.
    let proxy: Value =
        yaml_serde::from_str(&text).with_context(|| format!("{shown} is not YAML"))?;
    let models = models::read(&proxy);
    let people = args.db_export.as_ref().map(|path| {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let tables = serde_json::from_str(&text).with_context(|| format!("{shown} is not JSON"))?;
        people::read(&tables).with_context(|| format!("{shown} is no export"))
    });
    let people = people.transpose()?;
    if let Some(path) = &args.write {
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).open(path);
        let mut file = opened.with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(models.file().as_bytes())?;
    }
    tell(args, &models, people.as_ref())?;
    let Some(people) = people.filter(|_| args.apply) else { return Ok(ExitCode::SUCCESS) };
    let client = args.target.client()?;
    exit_code(apply::apply(&people, &client, args.target.json))
}

fn tell(
    args: &LitellmArgs,
    models: &models::Models,
    people: Option<&People>,
) -> anyhow::Result<()> {
    let notes = models.notes.iter().chain(people.into_iter().flat_map(|people| &people.notes));
    let mut hints = io::stderr().lock();
    for note in notes {
        writeln!(hints, "note: {note}")?;
    }
    let mut out = io::stdout().lock();
    if args.target.json {
        let people = people.map(People::told);
        // What is made is told by whoever makes it.
        if !args.apply {
            let told = serde_json::json!({ "models": models.told(), "accounts": people });
            writeln!(out, "{told:#}")?;
        }
    } else {
        models.print(&mut out)?;
        if let Some(people) = people {
            writeln!(out)?;
            people.print(&mut out)?;
        }
    }
    match (&args.write, args.apply) {
        (Some(path), _) => {
            let path = path.display();
            writeln!(hints, "wrote {path}; next: weir check --config {path}")?;
        }
        (None, false) => writeln!(hints, "nothing was written or made: --write FILE, --apply")?,
        (None, true) => {}
    }
    Ok(())
}
