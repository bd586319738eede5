//! `cargo xtask dist`: the binary as it is shipped, optimised by a profile of itself at work.
//!
//! Built twice with profile `dist`: first with counters, which a minute of calls of every kind
//! fills, then by what they counted. Each build has a target folder of its own, for a change of
//! flags would throw the other's dependencies away.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::bench;
use crate::step::{program, run as run_program, say, step};

/// Builds `target/dist/weir`.
///
/// # Errors
///
/// Whatever a build, the calls or the merging of the counters fail with.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let host = host()?;
    let (raw, profile) = (target.join("pgo/raw"), target.join("pgo/weir.profdata"));
    if raw.exists() {
        std::fs::remove_dir_all(&raw)?;
    }
    std::fs::create_dir_all(&raw)?;
    let counting = target.join("pgo/counting");
    step("build with counters", || {
        build(root, &counting, &host, &format!("-Cprofile-generate={}", raw.display()))
    })?;
    step("calls of every kind", || bench::rehearse(root, &binary(&counting, &host)))?;
    step("merge the counters", || {
        let tool = profdata(root, &host)?;
        run_program(program(tool, root).arg("merge").arg("-o").arg(&profile).arg(&raw))
    })?;
    let optimised = target.join("pgo/optimised");
    step("build by the profile", || {
        build(root, &optimised, &host, &format!("-Cprofile-use={}", profile.display()))
    })?;
    let shipped = target.join("dist/weir");
    std::fs::create_dir_all(target.join("dist"))?;
    std::fs::copy(binary(&optimised, &host), &shipped)?;
    say(&format!("{}", shipped.display()))
}

/// With the target named, flags are for the program alone, not for build scripts and macros.
fn build(root: &Path, target: &Path, host: &str, flags: &str) -> anyhow::Result<()> {
    let arguments =
        ["build", "--locked", "--profile", "dist", "--package", "weir", "--target", host];
    let mut command = program("cargo", root);
    command.args(arguments).env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", flags);
    run_program(&mut command)
}

fn binary(target: &Path, host: &str) -> PathBuf {
    target.join(host).join("dist/weir")
}

/// The machine's target triple.
fn host() -> anyhow::Result<String> {
    let text = told_by(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}

/// The tool that belongs to the compiler; the component it is in is installed if need be.
fn profdata(root: &Path, host: &str) -> anyhow::Result<PathBuf> {
    let sysroot = told_by(Command::new("rustc").args(["--print", "sysroot"]))?;
    let tool = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/llvm-profdata");
    if !tool.exists() {
        run_program(program("rustup", root).args(["component", "add", "llvm-tools"]))?;
    }
    Ok(tool)
}

fn told_by(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}
