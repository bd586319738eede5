//! What a decision on limits costs in process beside a bare map and `governor`.

use std::path::Path;

use anyhow::Context;

use crate::step::{self, program};

/// Builds the bench of the engine and runs it with the arguments; `--quick` as elsewhere.
///
/// # Errors
///
/// An argument that it does not know, or a call that was refused.
pub(super) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let quick = arguments.contains(&"--quick");
    let profile = if quick { "release" } else { "dist" };
    let options = arguments.iter().filter(|argument| **argument != "--quick");
    let mut cargo = program("cargo", root);
    cargo.args(["bench", "--quiet", "-p", "weir-engine", "--bench", "limits", "--profile"]);
    step::run(cargo.args([profile, "--"]).args(options)).context("bench limits")
}
