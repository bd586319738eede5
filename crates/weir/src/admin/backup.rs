//! `weir backup`: the whole store of a running server in one file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::client::{Client, Target, exit_code};
use crate::command::restore::{proven, rehearse};

/// What `weir backup` takes.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist.
    file: PathBuf,
    /// Restore it into a folder beside the file, prove the books there, and remove the folder.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs `weir backup`.
///
/// # Errors
///
/// When the server cannot be reached, the file cannot be written, or it does not restore.
pub(crate) fn run(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code(act(args, &client))
}

fn act(args: &BackupArgs, client: &Client) -> anyhow::Result<()> {
    let to = &args.file;
    anyhow::ensure!(!to.exists(), "{} exists; a backup never overwrites", to.display());
    let unfinished = beside(to);
    let kept = fetch(client, &unfinished).and_then(|bytes| {
        let report = args.verify.then(|| rehearse(&unfinished)).transpose()?;
        publish(&unfinished, to).with_context(|| format!("cannot write {}", to.display()))?;
        Ok((bytes, report))
    });
    if kept.is_err() {
        // What matters is why there is no backup.
        let _ = std::fs::remove_file(&unfinished);
    }
    let (bytes, report) = kept?;
    let mut out = io::stdout();
    if args.target.json {
        let file = to.display().to_string();
        let report = report.as_ref().map(crate::books::told);
        writeln!(out, "{:#}", json!({ "file": file, "bytes": bytes, "verified": report }))?;
        return Ok(());
    }
    writeln!(out, "wrote {} ({bytes} bytes)", to.display())?;
    if let Some(report) = report {
        writeln!(out, "it restores: {}", proven(&report))?;
    }
    Ok(())
}

fn fetch(client: &Client, to: &Path) -> anyhow::Result<u64> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut file = opened.with_context(|| format!("cannot write {}", to.display()))?;
    let bytes = client.post_into("backup", &mut file)?;
    file.sync_all().with_context(|| format!("cannot write {}", to.display()))?;
    Ok(bytes)
}

/// Gives a finished file its name, durably, and never over another.
fn publish(unfinished: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(unfinished, to)?;
    std::fs::remove_file(unfinished)?;
    let folder = to.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}
