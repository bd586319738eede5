//! `cargo xtask test`: everything that must hold before a change is merged.

use std::path::Path;

use crate::faults;
use crate::sdk;
use crate::step::{self, program, say, step};
use crate::tidy;

/// How much is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All, with the vendors' SDKs, nginx and what makes faults, which are installed where missing.
    Everything,
    /// Only what needs nothing but the Rust toolchain; what is left out says so.
    WithoutSdks,
}

/// Format, house rules, lints, prerequisites, tests, a selection of the faults; the cheap ones first.
///
/// # Errors
///
/// The first step that fails; later ones are not begun.
pub(crate) fn run(root: &Path, extent: Extent) -> anyhow::Result<()> {
    step("format", || step::run(program("cargo", root).args(["fmt", "--all", "--check"])))?;
    step("house rules", || tidy::run(root))?;
    step("lints", || {
        let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        step::run(program("cargo", root).args(lints))
    })?;
    let mut tests = program("cargo", root);
    tests.args(["test", "--workspace", "--locked"]);
    match extent {
        Extent::Everything => {
            step("packages of the machine", || sdk::install_packages(root))?;
            step("Python SDK", || sdk::install_python(root))?;
            step("JavaScript SDK", || sdk::install_javascript(root))?;
            tests.env(sdk::PLACE_VARIABLE, sdk::place(root));
        }
        Extent::WithoutSdks => say("== SDKs and nginx: left out (--quick)")?,
    }
    step("tests", || step::run(&mut tests))?;
    step("lints and tests of spans", || {
        let with = ["--package", "weir", "--features", "otlp", "--locked"];
        let mut lints = program("cargo", root);
        lints.arg("clippy").args(with).args(["--all-targets", "--", "-D", "warnings"]);
        step::run(&mut lints)?;
        let mut tests = program("cargo", root);
        tests.arg("test").args(with).args(["--bin", "weir", "--test", "it", "otlp"]);
        step::run(&mut tests)
    })?;
    match extent {
        Extent::Everything => step("faults", || faults::run(root, &["selection"]))?,
        Extent::WithoutSdks => say("== faults: left out (--quick)")?,
    }
    say("== all passed")
}
