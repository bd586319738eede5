//! `weir serve`: the server, until a signal ends it.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use weir_core::names::LimitNames;

use super::check::{BAD_CONFIG, report};
use crate::config::load::{LoadError, load};
use crate::node::Node;
use crate::reload::Source;
use crate::sockets::Given;
use crate::telemetry;

/// What `weir serve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration.
    #[arg(long, short, value_name = "FILE", default_value = "weir.toml")]
    config: PathBuf,
}

/// Serves until SIGTERM or SIGINT, then drains: 0. A wrong configuration: 2.
///
/// # Errors
///
/// What is in the way of starting.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut names = LimitNames::default();
    let source = Source::look(&args.config);
    let settings = match load(&args.config, &mut names) {
        Ok(settings) => settings,
        Err(error) => {
            // A log is read by others than who may read the file: no line of it is shown there.
            match &error {
                LoadError::Rejected(rejected) if !std::io::stderr().is_terminal() => {
                    for line in rejected.spoken().lines() {
                        writeln!(std::io::stderr(), "error: {line}")?;
                    }
                }
                _ => report(&error)?,
            }
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let given = Given::take().context("the sockets that were handed over cannot be used")?;
    let _telling = telemetry::start()?;
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot wait for signals")?;
        let node = Node::start(settings, names, Some(source), given).await?;
        announce(&node)?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => node.reload().await,
            }
        }
        tracing::info!("draining: calls in flight may end");
        let drained = node.stop().await;
        if drained.cut + drained.detached > 0 {
            let (cut, detached) = (drained.cut, drained.detached);
            tracing::warn!(cut, detached, "calls were cut at the end of the drain");
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The runtime of the control plane; the data plane has its own.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("weir-control")
        .enable_all()
        .build()
        .context("cannot start the runtime of the control plane")
}

fn announce(node: &Node) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "data plane  http://{}", node.data)?;
    writeln!(out, "admin API   http://{}", node.admin)?;
    if let Some(secret) = &node.fresh_admin_key {
        writeln!(out, "admin key   {secret}   (shown once; keep it, or set auth.admin_key)")?;
    }
    out.flush()?;
    Ok(())
}
