//! `weir webhook verify`: whether a message is by the holder of a secret.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use weir_api::hook::sign::Signed;
use weir_engine::clock::Clock;

/// What `weir webhook verify` takes.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The message's body, byte for byte; `-` is standard input.
    body: PathBuf,
    /// A file with the message's headers, one `Name: value` a line.
    #[arg(long, value_name = "FILE")]
    headers: PathBuf,
    /// The file that holds the secret; without it, it is read from WEIR_WEBHOOK_SECRET.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Take a message of any age; receivers must not.
    #[arg(long)]
    any_age: bool,
}

/// Verifies a message: 0 if it is genuine, else 1 and why not.
///
/// # Errors
///
/// When something cannot be read, or standard output is gone.
pub(crate) fn run(args: &VerifyArgs, json: bool) -> anyhow::Result<ExitCode> {
    let secret = read_secret(args.secret_file.as_deref())?;
    let headers = std::fs::read_to_string(&args.headers)
        .with_context(|| format!("cannot read {}", args.headers.display()))?;
    let header = |name: &'static str| {
        let lines = headers.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(this, _)| this.trim().eq_ignore_ascii_case(name));
        found
            .next()
            .map(|(_, value)| value.trim())
            .with_context(|| format!("{} has no header {name}", args.headers.display()))
    };
    let body = read_body(&args.body)?;
    let timestamp = header("webhook-timestamp")?;
    let signed = Signed { id: header("webhook-id")?, timestamp, body: &body };
    let now_s = Clock::running().now().micros() / 1_000_000;
    let at_s = if args.any_age { timestamp.parse().unwrap_or(now_s) } else { now_s };
    let verified = signed.verify(secret.trim(), header("webhook-signature")?, at_s);
    let mut out = io::stdout();
    match verified {
        Ok(()) if json => writeln!(out, "{:#}", json!({ "ok": true, "id": signed.id }))?,
        Ok(()) => writeln!(out, "ok: {} is signed with this secret", signed.id)?,
        Err(why) => {
            if json {
                let told = json!({ "ok": false, "id": signed.id, "why": why.to_string() });
                writeln!(out, "{told:#}")?;
            }
            writeln!(io::stderr(), "error: {why}")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The secret from a file or, without one, from the environment.
///
/// # Errors
///
/// When there is none.
pub(super) fn read_secret(file: Option<&Path>) -> anyhow::Result<String> {
    match file {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the secret from {}", path.display())),
        None => std::env::var("WEIR_WEBHOOK_SECRET").context(
            "there is no secret: set WEIR_WEBHOOK_SECRET, or name a file with --secret-file",
        ),
    }
}

fn read_body(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut body = Vec::new();
        io::stdin().read_to_end(&mut body)?;
        return Ok(body);
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
