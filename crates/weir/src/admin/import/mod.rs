//! `weir import`: taking over from another gateway.

mod decimal;

mod litellm;
mod litellm_prices;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// What `weir import` takes.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// Take over from a LiteLLM proxy: models and prices become a configuration; teams, users,
    /// hashed keys and budgets become accounts, keys and wallets. Customers keep their keys.
    Litellm(litellm::LitellmArgs),
    /// Take prices from LiteLLM's public list: shows what would change, and writes them as TOML.
    LitellmPrices(litellm_prices::LitellmPricesArgs),
}

/// Runs `weir import`.
///
/// # Errors
///
/// When something cannot be read or written, or the server cannot be reached.
pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    match &args.from {
        From::Litellm(args) => litellm::run(args),
        From::LitellmPrices(args) => litellm_prices::run(args),
    }
}
