//! Holds the command line against the admin API: there is no operation without a command.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use serde_json::Value;

use crate::cli::Cli;

/// Every operation of the admin API, and the command that asks for it.
const COMMANDS: [(&str, &str); 58] = [
    ("accounts_change", "account update"),
    ("accounts_close", "account delete"),
    ("accounts_create", "account create"),
    ("accounts_limits", "limits"),
    ("accounts_list", "account list"),
    ("accounts_show", "account show"),
    ("admin_keys_create", "admin-key create"),
    ("admin_keys_list", "admin-key list"),
    ("admin_keys_revoke", "admin-key revoke"),
    ("audit_audit", "audit"),
    ("boosts_create", "boost create"),
    ("boosts_end", "boost delete"),
    ("boosts_list", "boost list"),
    ("boosts_show", "boost show"),
    ("events_events", "events"),
    ("holds_create", "hold create"),
    ("holds_list", "hold list"),
    ("holds_settle", "hold settle"),
    ("holds_void", "hold void"),
    ("keys_change", "key update"),
    ("keys_create", "key create"),
    ("keys_list", "key list"),
    ("keys_revoke", "key revoke"),
    ("keys_rotate", "key rotate"),
    ("keys_show", "key show"),
    ("limit_increases_approve", "increase approve"),
    ("limit_increases_decline", "increase decline"),
    ("limit_increases_list", "increase list"),
    ("limit_increases_show", "increase show"),
    ("operations_backup", "backup"),
    ("operations_diff", "config diff"),
    ("operations_explain", "explain"),
    ("operations_reload", "config reload"),
    ("operations_show", "config show"),
    ("operations_verify", "ledger verify"),
    ("operations_watch", "tail"),
    ("usage_in_short", "usage"),
    ("usage_of_account", "usage"),
    ("usage_of_all", "usage"),
    ("wallets_adjust", "wallet adjust"),
    ("wallets_change", "wallet update"),
    ("wallets_decline_top_up", "wallet decline-top-up"),
    ("wallets_entries", "wallet entries"),
    ("wallets_refund", "wallet refund"),
    ("wallets_show", "wallet show"),
    ("wallets_statement", "wallet statement"),
    ("wallets_take", "usage-event send"),
    ("wallets_top_up", "wallet top-up"),
    ("webhooks_change", "webhook update"),
    ("webhooks_create", "webhook create"),
    ("webhooks_deliveries", "webhook deliveries"),
    ("webhooks_list", "webhook list"),
    ("webhooks_list_of_account", "webhook list"),
    ("webhooks_remove", "webhook delete"),
    ("webhooks_replay", "webhook replay"),
    ("webhooks_rotate", "webhook rotate"),
    ("webhooks_show", "webhook show"),
    ("webhooks_test", "webhook test"),
];

/// What has no command, and why.
const WITHOUT: [(&str, &str); 1] =
    [("wallets_stripe", "a payment provider asks for it, and signs what it sends")];

#[test]
fn every_operation_of_the_admin_api_has_a_command() {
    let document: Value =
        serde_json::from_str(include_str!("../../../docs/openapi-admin.json")).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let offered: BTreeSet<&str> =
        operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let known = COMMANDS.iter().chain(&WITHOUT);
    let reached: BTreeSet<&str> = known.map(|(operation, _)| *operation).collect();
    assert_eq!(reached, offered, "each needs a command, or the reason why it has none");
    let root = Cli::command();
    for (operation, named) in COMMANDS {
        let found = named.split_whitespace().try_fold(&root, |at: &Command, name| {
            at.find_subcommand(name).filter(|found| !found.is_hide_set())
        });
        assert!(found.is_some(), "{operation}: there is no `weir {named}`");
    }
}
