//! `weir check`: is this file good?

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use weir_core::names::LimitNames;
use weir_core::policy::CacheMode;
use weir_core::price::Price;
use weir_core::usage::Meter;

use crate::config::diagnose::Style;
use crate::config::load::{LoadError, load};
use crate::config::settings::Settings;
use crate::config::words::{closest, path_part};

/// What `weir check` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to check.
    #[arg(long, short, value_name = "FILE", default_value = "weir.toml")]
    config: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Checks the file: 0 and one line when it is good, else 2 and every problem on standard error.
///
/// # Errors
///
/// When the result cannot be printed.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let name = args.config.display();
    let loaded = load(&args.config, &mut LimitNames::default());
    let warned = loaded.as_ref().map(warnings).unwrap_or_default();
    for warning in &warned {
        writeln!(io::stderr(), "warning: {name}: {warning}")?;
    }
    if args.json {
        let answer = match &loaded {
            Ok(settings) => json!({
                "file": name.to_string(), "ok": true, "counts": counts(settings),
                "warnings": warned,
            }),
            Err(LoadError::Rejected(rejected)) => {
                json!({ "file": name.to_string(), "ok": false, "problems": rejected.words() })
            }
            Err(error @ LoadError::Unreadable { .. }) => {
                json!({ "file": name.to_string(), "ok": false, "problems": [], "error": chain(error) })
            }
        };
        writeln!(io::stdout(), "{answer:#}")?;
    } else {
        match &loaded {
            Ok(settings) => writeln!(io::stdout(), "{name}: ok ({})", summary(settings))?,
            Err(error) => report(error)?,
        }
    }
    Ok(if loaded.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(BAD_CONFIG) })
}

/// Prints why a configuration was not taken, as standard error can show it.
///
/// # Errors
///
/// When standard error cannot be written.
pub(crate) fn report(error: &LoadError) -> io::Result<()> {
    match error {
        LoadError::Rejected(rejected) => {
            write!(io::stderr(), "{}", rejected.render(Style::of_stderr()))
        }
        LoadError::Unreadable { .. } => {
            writeln!(io::stderr(), "error: {}", chain(error))?;
            writeln!(io::stderr(), "help: `weir init` writes a configuration to begin with")
        }
    }
}

/// What is allowed and may well be meant otherwise: tokens that one side of a price forgets are
/// free, nothing calls by a method that is misspelt, no answer is kept yet, and a short secret can
/// be guessed.
fn warnings(settings: &Settings) -> Vec<String> {
    let forgets = |price: &Price| {
        let [input, output] = [Meter::InputTokens, Meter::OutputTokens].map(|it| price.charges(it));
        let (has, lacks) = match (input, output) {
            (true, false) => (Meter::InputTokens, Meter::OutputTokens),
            (false, true) => (Meter::OutputTokens, Meter::InputTokens),
            (true, true) | (false, false) => return None,
        };
        let (name, has, lacks) = (price.name(), has.name(), lacks.name());
        Some(format!(
            "prices.{}: it has {has} and no {lacks}, which are free; write {lacks} = \"0\" if that \
             is meant",
            path_part(name)
        ))
    };
    let policy = &settings.policy;
    let mut warnings: Vec<String> = policy.prices().iter().filter_map(forgets).collect();
    if let Some(key) = &settings.auth.admin_key
        && key.expose().len() < ADMIN_KEY_BYTES
    {
        warnings.push(format!(
            "auth.admin_key: it opens everything and has less than {ADMIN_KEY_BYTES} characters; \
             `openssl rand -hex 24` makes one that nobody guesses"
        ));
    }
    for route in policy.routes() {
        let pattern = route.pattern.as_str();
        let methods = pattern.split(' ').next().unwrap_or_default().split(',');
        for method in methods.filter(|method| *method != "*" && !METHODS.contains(method)) {
            if let Some(meant) = closest(method, METHODS.into_iter()) {
                warnings.push(format!(
                    "routes[{pattern}].match: `{method}` is no method of HTTP; did you mean `{meant}`?"
                ));
            }
        }
        if route.cache != CacheMode::Off {
            warnings.push(format!(
                "routes[{pattern}].cache: answers are not kept yet, so that every call goes to the \
                 upstream and counts"
            ));
        }
    }
    warnings
}

/// A dozen random bytes in hexadecimal digits.
const ADMIN_KEY_BYTES: usize = 24;
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

fn chain(error: &LoadError) -> String {
    match error {
        LoadError::Unreadable { source, .. } => format!("{error}: {source}"),
        LoadError::Rejected(_) => error.to_string(),
    }
}

fn counts(settings: &Settings) -> serde_json::Value {
    let policy = &settings.policy;
    json!({
        "plans": policy.plans().count(),
        "routes": policy.routes().len(),
        "upstreams": settings.upstreams.len(),
        "models": policy.models().len(),
        "prices": policy.prices().iter().count(),
    })
}

fn summary(settings: &Settings) -> String {
    let policy = &settings.policy;
    let counts = [
        (policy.plans().count(), "plan"),
        (policy.routes().len(), "route"),
        (settings.upstreams.len(), "upstream"),
        (policy.models().len(), "model"),
        (policy.prices().iter().count(), "price"),
    ];
    let words = counts.iter().enumerate().filter(|(index, (count, _))| *index < 2 || *count > 0);
    let words = words.map(|(_, (count, noun))| {
        let plural = if *count == 1 { "" } else { "s" };
        format!("{count} {noun}{plural}")
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The exit code for a configuration that is not taken.
pub(crate) const BAD_CONFIG: u8 = 2;
