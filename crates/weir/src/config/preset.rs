//! The configurations that come with the binary, and what editors know them by.

use clap::ValueEnum;

/// The JSON Schema (2020-12) of the file; tests hold it to the reader.
pub(crate) const SCHEMA: &str = include_str!("../../../../docs/weir.schema.json");

/// A configuration to begin with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Preset {
    /// Free, Pro and Enterprise: request limits by operation class and endpoint.
    Tiered,
    /// No limits: a prepaid balance is the only control.
    Wallet,
    /// Limits and wallet together.
    Hybrid,
}

impl Preset {
    /// The configuration.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Tiered => include_str!("../../../../examples/tiered.toml"),
            Self::Wallet => include_str!("../../../../examples/wallet.toml"),
            Self::Hybrid => include_str!("../../../../examples/hybrid.toml"),
        }
    }
}
