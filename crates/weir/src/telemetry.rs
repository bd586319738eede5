//! Logs: to standard error, by `RUST_LOG`, as JSON where `WEIR_LOG=json` asks for it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. Called once, before anything is logged; a second call changes nothing.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour);
    let json = std::env::var("WEIR_LOG").is_ok_and(|form| form == "json");
    // An error means that logging was started already.
    let _again = if json { logs.json().try_init() } else { logs.try_init() };
}

/// Starts logging for a command whose terminal belongs to its reader: warnings only.
pub(crate) fn start_quiet() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that logging was started already.
    let _again = logs.try_init();
}
