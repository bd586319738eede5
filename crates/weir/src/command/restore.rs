//! `weir restore`: a store from a backup, proven before anything may start on it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use weir_engine::audit::verify;
use weir_store::backup::restore;
use weir_store::verify::Report;

use crate::books::told;

/// What `weir restore` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The backup.
    file: PathBuf,
    /// The folder of the new store: empty, or not there yet.
    #[arg(long, value_name = "DIR")]
    path: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Restores, proves the books of what was restored, and tells what is in it.
///
/// # Errors
///
/// When the folder is not empty, the file is no sound backup, or its books do not hold; the
/// folder is then as empty as before.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = &args.path;
    let shown = folder.display();
    let was_there = folder.exists();
    if was_there {
        let mut inside =
            std::fs::read_dir(folder).with_context(|| format!("cannot read {shown}"))?;
        let empty = inside.next().is_none();
        anyhow::ensure!(
            empty,
            "{shown} is not empty; a store is only restored into an empty folder"
        );
    }
    let restored = restored(&args.file, folder);
    if restored.is_err() {
        clear(folder, was_there).with_context(|| format!("cannot clear {shown} again"))?;
    }
    let report = restored?;
    let mut out = io::stdout();
    if args.json {
        writeln!(out, "{:#}", told(&report))?;
    } else {
        writeln!(out, "restored to {shown}: {}", proven(&report))?;
        writeln!(io::stderr(), "next: [store] path = \"{shown}\", then weir serve")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Restores a backup into a folder beside it, proves the books there and removes the folder.
///
/// # Errors
///
/// When it does not restore or its books do not hold.
pub(crate) fn rehearse(file: &Path) -> anyhow::Result<Report> {
    let beside = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let folder = tempfile::Builder::new()
        .prefix(".weir-restore-")
        .tempdir_in(beside)
        .with_context(|| format!("cannot make a folder in {}", beside.display()))?;
    restored(file, folder.path())
}

/// What was proven, for people.
pub(crate) fn proven(report: &Report) -> String {
    let (entries, accounts) = (report.entries, report.accounts);
    format!(
        "{entries} entries of {accounts} accounts, {} in all; the books hold",
        report.balance_text()
    )
}

fn restored(file: &Path, folder: &Path) -> anyhow::Result<Report> {
    restore(file, folder).with_context(|| format!("cannot restore {}", file.display()))?;
    verify(folder).with_context(|| format!("the books of {} do not hold", file.display()))
}

fn clear(folder: &Path, was_there: bool) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for inside in std::fs::read_dir(folder)? {
        std::fs::remove_file(inside?.path())?;
    }
    if was_there { Ok(()) } else { std::fs::remove_dir(folder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_cleared_as_it_was_found() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("store");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("ledger.db"), "x").unwrap();
        clear(&folder, true).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        clear(&folder, false).unwrap();
        assert!(!folder.exists());
    }
}
