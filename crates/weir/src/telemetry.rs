//! Logs: to standard error, by `RUST_LOG`, as JSON where `WEIR_LOG=json` asks for it. Spans: by
//! OTLP, where that is built in and the environment names a collector.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

#[cfg(feature = "otlp")]
use crate::otlp;
use crate::terminal::has_colour;

/// What must live as long as there is something to tell.
#[must_use = "spans that are not sent yet are sent when it goes"]
pub(crate) struct Telling {
    #[cfg(feature = "otlp")]
    _spans: Option<otlp::Exporting>,
}

/// Starts logging. Called once, before anything is logged; a second call changes nothing.
///
/// # Errors
///
/// The environment names a collector that nothing can be sent to.
pub(crate) fn start() -> anyhow::Result<Telling> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = has_colour(&std::io::stderr());
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let json = std::env::var("WEIR_LOG").is_ok_and(|form| form == "json");
    let logs = if json { logs.json().boxed() } else { logs.boxed() };
    #[cfg_attr(not(feature = "otlp"), expect(unused_mut, reason = "spans are one layer more"))]
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
        vec![logs.with_filter(filter).boxed()];
    #[cfg(feature = "otlp")]
    let spans = otlp::layer()?.map(|(layer, exporting)| {
        layers.push(layer.boxed());
        exporting
    });
    // An error means that logging was started already.
    let _again = tracing_subscriber::registry().with(layers).try_init();
    Ok(Telling {
        #[cfg(feature = "otlp")]
        _spans: spans,
    })
}

/// Starts logging for a command whose terminal belongs to its reader: warnings only.
pub(crate) fn start_quiet() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that logging was started already.
    let _again = logs.try_init();
}
