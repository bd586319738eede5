//! What commands read beside their arguments.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;

/// The text of a file, or of standard input where it is named `-`.
///
/// # Errors
///
/// When it cannot be read.
pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        return io::read_to_string(io::stdin()).context("cannot read standard input");
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A time as the APIs write it.
///
/// # Errors
///
/// How it must be written.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "it must be a time such as 2026-11-01T00:00:00Z".to_owned())
}
