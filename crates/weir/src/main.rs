//! The weir command: usage control for AI APIs.
//!
//! The `mod` lines stand bottom-up: a file imports only from files above its own line.

#[allow(dead_code, reason = "`weir serve` reads what `weir check` does not")]
mod config;

mod upstream;

mod command;

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
