//! The part on the command line.

use clap::{Arg, Args, Command};

use super::table::{code, codes, table};
use crate::client::Target;
use crate::once::Once;

/// Every command with its arguments.
pub(super) fn section(mut root: Command) -> String {
    root.build();
    let of_server = Target::augment_args(Command::new("server"));
    let known: Vec<&str> = of_server.get_arguments().map(|arg| arg.get_id().as_str()).collect();
    let mut text = String::from(HEAD);
    text.push_str(&table(&COLUMNS, &of_server.get_arguments().map(row).collect::<Vec<_>>()));
    text.push_str(ONCE);
    let once = Once::augment_args(Command::new("once"));
    text.push_str(&table(&COLUMNS, &once.get_arguments().map(row).collect::<Vec<_>>()));
    for command in root.get_subcommands() {
        describe(command, "weir", &known, &mut text);
    }
    text
}

fn describe(command: &Command, parent: &str, of_server: &[&str], text: &mut String) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let name = format!("{parent} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let arguments: Vec<&Arg> = command.get_arguments().collect();
    let asks_server = arguments.iter().any(|arg| arg.get_id() == "admin_url");
    let takes_key = arguments.iter().any(|arg| arg.get_id() == KEY);
    let own = arguments.into_iter().filter(|arg| {
        let id = arg.get_id().as_str();
        let elsewhere = matches!(id, "help" | KEY) || (asks_server && of_server.contains(&id));
        !elsewhere && !arg.is_hide_set()
    });
    let rows: Vec<_> = own.map(row).collect();
    let also = match (asks_server, takes_key) {
        (true, true) => " Takes the options of a server and `--idempotency-key`.",
        (true, false) => " Takes the options of a server.",
        (false, _) => "",
    };
    text.push_str(&format!("\n### {name}\n\n{about}.{also}\n"));
    text.push_str(&table(&COLUMNS, &rows));
    for within in command.get_subcommands() {
        describe(within, &name, of_server, text);
    }
}

fn row(arg: &Arg) -> Vec<String> {
    let value = arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
    let value = value.filter(|_| arg.get_action().takes_values());
    let shown = match (arg.get_long(), value) {
        (Some(long), Some(value)) => format!("--{long} <{value}>"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => format!("<{}>", value.unwrap_or_else(|| arg.get_id().to_string())),
    };
    let values = arg.get_possible_values();
    let values = values.iter().map(|value| value.get_name().to_owned());
    let values = if arg.get_action().takes_values() { codes(values) } else { String::new() };
    let defaults = arg.get_default_values().iter();
    let defaults = defaults.map(|value| value.to_string_lossy().into_owned());
    let default = if arg.is_required_set() {
        "required".to_owned()
    } else if arg.get_action().takes_values() {
        codes(defaults)
    } else {
        String::new()
    };
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if let Some(variable) = arg.get_env() {
        help.push_str(&format!(" Else from `{}`.", variable.to_string_lossy()));
    }
    vec![code(&shown), values, default, help]
}

const COLUMNS: [&str; 4] = ["argument", "values", "default", "meaning"];
const KEY: &str = "idempotency_key";
const ONCE: &str = "
Commands that make one change send it with an `Idempotency-Key` of its own and, where the connection breaks off before the
answer, once more with the same key: it takes effect once. Where no answer comes even then, the error says that it may or may
not have taken effect, and names the key by which the same command says it again:
";
const HEAD: &str = "
## Command line

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 bad usage or configuration,
3 refused by the server. `--help` explains each command. Commands that ask a server take these options:
";
