//! The command line: what can be asked of the binary, and which file answers.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::admin::{
    account, admin_key, audit, backup, boost, config, context, events, explain, export, hold,
    import, increase, key, ledger, limits, tail, top, usage, usage_event, wallet, webhook,
};
use crate::command::{check, demo, demo_upstream, doctor, init, restore, serve};
use crate::no_core;

/// Usage control for AI APIs: tiered rate limits and a prepaid wallet in front of any REST upstream.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
pub(crate) struct Cli {
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
    /// Look for what would be in the way: configuration, disk, clock, addresses, upstreams.
    Doctor(doctor::Args),
    /// Make, show, change and close accounts.
    Account(account::AccountArgs),
    /// Make, list, rotate and withdraw keys.
    Key(key::KeyArgs),
    /// Look at wallets, top them up, adjust them, take charges back; monthly statements.
    Wallet(wallet::WalletArgs),
    /// Reserve credit for work that ends later, and charge what it cost.
    Hold(hold::HoldArgs),
    /// Charge usage that was metered elsewhere.
    UsageEvent(usage_event::UsageEventArgs),
    /// Show where the limits of an account stand.
    Limits(limits::LimitsArgs),
    /// Say what would become of a call, and why; nothing is changed.
    Explain(explain::ExplainArgs),
    /// Show what was used, as a time series.
    Usage(usage::UsageArgs),
    /// Write the ledger or the usage out, for other programs.
    Export(export::ExportArgs),
    /// Print calls as they end.
    Tail(tail::TailArgs),
    /// Show what is going on, each second.
    Top(top::TopArgs),
    /// Raise a limit for a while.
    Boost(boost::BoostArgs),
    /// Decide customers' requests for higher limits.
    Increase(increase::IncreaseArgs),
    /// Make, show, change and try webhooks; listen to events.
    Webhook(webhook::WebhookArgs),
    /// Show what happened: the events of the last 30 days.
    Events(events::EventsArgs),
    /// Show who changed what.
    Audit(audit::AuditArgs),
    /// Make, list and withdraw keys of the admin API for your own people.
    AdminKey(admin_key::AdminKeyArgs),
    /// Write the whole store of a running server into one file.
    Backup(backup::BackupArgs),
    /// Make a store from a backup, and prove its books.
    Restore(restore::Args),
    /// Take over from another gateway: prices, accounts, keys, budgets.
    Import(import::ImportArgs),
    /// Keep servers by name, so that address and key need not be said each time.
    Context(context::ContextArgs),
    /// Prove the books of a running server, or of a store.
    Ledger(ledger::LedgerArgs),
    /// Show the configuration in force, what another would change, or the schema; reload.
    Config(config::ConfigArgs),
    /// Print the completions of a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Run the mock AI upstream of the demo by itself.
    #[command(hide = true)]
    DemoUpstream(demo_upstream::Args),
}

/// Parses the command line, runs the command and turns its outcome into an exit code:
/// 0 done, 1 failed, 2 bad usage, 3 refused by the server.
pub(crate) fn main() -> ExitCode {
    let command = Cli::parse().command;
    no_core::forbid(matches!(command, Command::Serve(_) | Command::Demo(_)));
    let outcome = match command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Account(args) => account::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Wallet(args) => wallet::run(&args),
        Command::Hold(args) => hold::run(&args),
        Command::UsageEvent(args) => usage_event::run(&args),
        Command::Limits(args) => limits::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Usage(args) => usage::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Boost(args) => boost::run(&args),
        Command::Increase(args) => increase::run(&args),
        Command::Webhook(args) => webhook::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::AdminKey(args) => admin_key::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Context(args) => context::run(&args),
        Command::Ledger(args) => ledger::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "weir", &mut script);
            let written = io::stdout().write_all(&script);
            written.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::DemoUpstream(args) => demo_upstream::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        // Whoever read the output has seen enough: `weir tail | head`.
        let output = error.downcast_ref::<io::Error>();
        if output.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        // Nothing is left to be done when stderr is gone too.
        let _ = writeln!(io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}
