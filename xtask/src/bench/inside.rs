//! Benches of the engine in process: what a decision on limits costs beside a bare map and
//! `governor`, and how long questions about usage take.

use std::path::Path;

use anyhow::Context;

use crate::step::{self, program};

/// Builds a bench of the engine and runs it with the arguments; `--quick` as elsewhere.
///
/// # Errors
///
/// An argument that it does not know, or what it fails with.
pub(super) fn run(root: &Path, bench: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let quick = arguments.contains(&"--quick");
    let profile = if quick { "release" } else { "dist" };
    let options = arguments.iter().filter(|argument| **argument != "--quick");
    let mut cargo = program("cargo", root);
    cargo.args(["bench", "--quiet", "-p", "weir-engine", "--bench", bench, "--profile"]);
    let cargo = cargo.args([profile, "--"]).args(options);
    step::run(cargo).with_context(|| format!("bench {bench}"))
}
