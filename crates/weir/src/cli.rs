//! The command line: what can be asked of the binary, and which file answers.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command::{check, demo, demo_upstream, init, serve};

/// Usage control for AI APIs: tiered rate limits and a prepaid wallet in front of any REST upstream.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole product with a mock AI upstream and accounts to try.
    Demo(demo::Args),
    /// Run the server.
    Serve(serve::Args),
    /// Write a commented configuration to begin with.
    Init(init::Args),
    /// Check a configuration: 0 when it is good, else 2 and every problem with its place.
    Check(check::Args),
    /// Run the mock AI upstream of the demo by itself.
    #[command(hide = true)]
    DemoUpstream(demo_upstream::Args),
}

/// Parses the command line, runs the command and turns its outcome into an exit code:
/// 0 done, 1 failed, 2 bad usage.
pub(crate) fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args),
        Command::DemoUpstream(args) => demo_upstream::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        // Nothing is left to be done when stderr is gone too.
        let _ = writeln!(io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}
