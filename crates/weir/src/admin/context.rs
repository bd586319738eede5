//! `weir context`: servers by name, so that address and key need not be said each time.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::client::admin_url;
use crate::context::{Contexts, Known};
use crate::print::{self, Column};

/// What `weir context` takes.
#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Keep a server under a name. Its admin key is read from WEIR_ADMIN_KEY or standard input.
    Add {
        /// The name.
        name: String,
        /// Where its admin API is.
        #[arg(long, value_name = "URL", value_parser = admin_url)]
        admin_url: String,
        /// Keep the path of this file instead of the key itself.
        #[arg(long, value_name = "FILE")]
        admin_key_file: Option<PathBuf>,
        /// Use it from now on.
        #[arg(long = "use")]
        use_it: bool,
    },
    /// Take a server for the commands that follow.
    Use {
        /// Its name.
        name: String,
    },
    /// List what is kept; no key is shown.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget a server.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Runs `weir context`.
///
/// # Errors
///
/// When the file of contexts cannot be read or written, or there is no such context.
pub(crate) fn run(args: &ContextArgs) -> anyhow::Result<ExitCode> {
    let mut all = Contexts::read()?;
    match &args.action {
        Action::Add { name, admin_url, admin_key_file, use_it } => {
            let key = admin_key_file.is_none().then(read_key).transpose()?;
            let file = admin_key_file.as_ref().map(std::path::absolute).transpose()?;
            let known =
                Known { admin_url: admin_url.clone(), admin_key: key, admin_key_file: file };
            let first = all.contexts.is_empty();
            let replaced = all.contexts.insert(name.clone(), known).is_some();
            if *use_it || first {
                all.current = Some(name.clone());
            }
            let path = all.write()?;
            let how = if replaced { "replaced" } else { "added" };
            writeln!(io::stdout(), "{how} {name}")?;
            writeln!(io::stderr(), "kept in {}, for you alone", path.display())?;
        }
        Action::Use { name } => {
            all.chosen(Some(name))?;
            all.current = Some(name.clone());
            all.write()?;
            writeln!(io::stdout(), "using {name}")?;
        }
        Action::List { json } => {
            let row = |(name, known): (&String, &Known)| {
                let current = all.current.as_ref() == Some(name);
                let key = match (&known.admin_key_file, &known.admin_key) {
                    (Some(path), _) => path.display().to_string(),
                    (None, Some(_)) => "kept here".to_owned(),
                    (None, None) => "none".to_owned(),
                };
                json!({
                    "name": name, "admin_url": known.admin_url, "key": key,
                    "current": current, "mark": if current { "*" } else { "" },
                })
            };
            let rows: Vec<_> = all.contexts.iter().map(row).collect();
            print::rows(&rows, &COLUMNS, *json)?;
        }
        Action::Remove { name } => {
            all.chosen(Some(name))?;
            all.contexts.remove(name);
            all.current = all.current.take().filter(|current| current != name);
            all.write()?;
            writeln!(io::stdout(), "removed {name}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read_key() -> anyhow::Result<String> {
    let key = match std::env::var("WEIR_ADMIN_KEY") {
        Ok(key) => key,
        Err(_) => {
            if io::stdin().is_terminal() {
                writeln!(io::stderr(), "the admin key, then Enter and Ctrl-D (it is shown here):")?;
            }
            let mut text = String::new();
            io::stdin().take(KEY_BYTES_MAX).read_to_string(&mut text)?;
            text
        }
    };
    let key = key.trim().to_owned();
    let sound = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    anyhow::ensure!(
        sound,
        "there is no admin key: set WEIR_ADMIN_KEY or give it on standard input"
    );
    Ok(key)
}

const KEY_BYTES_MAX: u64 = 4_096;
const COLUMNS: [Column; 4] =
    [("", "/mark"), ("name", "/name"), ("admin api", "/admin_url"), ("key", "/key")];
