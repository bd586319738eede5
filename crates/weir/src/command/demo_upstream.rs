//! `weir demo-upstream`: the mock AI upstream by itself, for tests and load.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::upstream::{self, Options};

/// Arguments of `weir demo-upstream`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Threads that serve, each with an event loop of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
}

/// Serves until SIGINT or SIGTERM. The first line on stdout is `listening on ADDRESS`.
///
/// # Errors
///
/// When the port is taken, or the serving threads cannot be started.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let address = (Ipv4Addr::LOCALHOST, args.port);
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {}:{}", address.0, address.1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the address is told: whoever reads it may signal at once.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let handle = upstream::spawn(listener, Options { threads: usize::from(args.threads) })
            .context("cannot start the mock upstream")?;
        let mut stdout = io::stdout();
        writeln!(stdout, "listening on {}", handle.address())?;
        stdout.flush()?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        handle.stop();
        Ok(ExitCode::SUCCESS)
    })
}
