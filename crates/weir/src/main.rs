//! The weir command: usage control for AI APIs.
//!
//! The `mod` lines stand bottom-up: a file imports only from files above its own line.

mod no_core;

mod terminal;

#[cfg(feature = "otlp")]
mod otlp;

mod telemetry;

mod config;

mod upstream;

mod traffic;

mod side;

mod metrics;

mod explainer;
mod setup;

mod difference;

mod reload;

mod sockets;

mod node;

mod books;

mod command;

mod context;
mod once;

mod client;
mod input;
mod pattern;
mod sheet;

mod print;

mod admin;

mod cli;

#[cfg(test)]
mod reach;
#[cfg(test)]
mod reference;

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
