//! `weir init`: a commented configuration to begin with.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::config::preset::Preset;

/// What `weir init` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to begin with.
    #[arg(long, value_enum, default_value_t = Preset::Tiered)]
    preset: Preset,
    /// Overwrite the file if it exists.
    #[arg(long)]
    force: bool,
    /// Where to write; `-` is standard output.
    #[arg(value_name = "FILE", default_value = "weir.toml")]
    file: PathBuf,
}

/// Writes the preset; an existing file is only overwritten with `--force`.
///
/// # Errors
///
/// When the file exists or cannot be written.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let text = args.preset.text();
    if args.file.as_os_str() == "-" {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.file.display();
    let mut options = OpenOptions::new();
    options.write(true);
    match args.force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let mut file = match options.open(&args.file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            anyhow::bail!("{name} exists; --force overwrites it, or name another file");
        }
        opened => opened.with_context(|| format!("cannot write {name}"))?,
    };
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {name}"))?;
    writeln!(io::stdout(), "wrote {name}")?;
    writeln!(io::stderr(), "next: weir check --config {name} && weir serve --config {name}")?;
    Ok(ExitCode::SUCCESS)
}
