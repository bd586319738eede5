//! Steps of a verb: announced, timed, and stopped at the first that fails.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

/// Announces a step, does it, and tells how long it took.
///
/// # Errors
///
/// What the step failed with, under its name.
pub(crate) fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    say(&format!("== {name}"))?;
    let began = now();
    let outcome = work();
    let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
    say(&format!("== {name}: {verdict} after {:.1} s", began.elapsed().as_secs_f32()))?;
    outcome.with_context(|| name.to_owned())
}

/// Prints a line at once, in order with what the steps' programs print.
///
/// # Errors
///
/// When stdout is gone.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// A program in a folder, without stdin: automation never asks.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs a program to its end.
///
/// # Errors
///
/// When it cannot be started or does not exit with 0.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Whether a program can be started and exits with 0; what it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

#[allow(clippy::disallowed_methods, reason = "steps are timed for whoever watches them")]
fn now() -> Instant {
    Instant::now()
}
