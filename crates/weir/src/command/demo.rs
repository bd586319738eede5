//! `weir demo`: the whole product on one machine, with a mock AI upstream and accounts to try.

use std::io::Write;
use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use weir_core::money::Nano;
use weir_core::names::LimitNames;
use weir_engine::accounts::NewAccount;
use weir_engine::credit::NewCredit;
use weir_engine::engine::Engine;
use weir_engine::keys::NewKey;

use super::serve::runtime;
use crate::config::load::parse;
use crate::config::read::World;
use crate::node::Node;
use crate::sockets::Given;
use crate::telemetry;
use crate::traffic;
use crate::upstream;

/// What `weir demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The port for customers; the admin API takes the next one. 0 lets the system choose both.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// No light traffic beside yours.
    #[arg(long)]
    quiet: bool,
}

/// One account to try.
struct Trial {
    plan: &'static str,
    credit: Option<Nano>,
    secret: String,
}

/// Runs until a signal ends it; everything is in a temporary folder that goes with it.
///
/// # Errors
///
/// What is in the way of starting.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    telemetry::start_quiet();
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir()?;
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot bind the mock upstream")?;
        let upstream = upstream::spawn(listener, upstream::Options { threads: 1 })
            .context("cannot start the mock upstream")?;
        let admin_port = if args.port == 0 { 0 } else { args.port.saturating_add(1) };
        let admin_key = weir_engine::secret::draw_admin("weir")?.secret;
        let config = DEMO_CONFIG
            .replace("LISTEN", &format!("127.0.0.1:{}", args.port))
            .replace("ADMIN", &format!("127.0.0.1:{admin_port}"))
            .replace("UPSTREAM", &format!("http://{}", upstream.address()))
            .replace("KEY", &admin_key);
        let mut names = LimitNames::default();
        let world = World { variable: &|_| None, folder: folder.path().to_owned() };
        let settings = parse("demo.toml", config.as_bytes(), &world, &mut names)
            .map_err(|why| anyhow::anyhow!("the demo's own configuration is wrong: {why}"))?;
        let node = Node::start(settings, names, None, Given::default()).await?;
        let trials = open_accounts(&node.engine).await?;
        print(&node, &trials, &admin_key)?;
        let visitor = trials.iter().find(|trial| trial.plan == VISITED);
        let traffic = visitor
            .filter(|_| !args.quiet)
            .map(|trial| tokio::spawn(traffic::flow(node.data, trial.secret.clone())));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if let Some(traffic) = traffic {
            traffic.abort();
        }
        node.stop().await;
        upstream.stop();
        Ok(ExitCode::SUCCESS)
    })
}

async fn open_accounts(engine: &Engine) -> anyhow::Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for (plan, credit) in ACCOUNTS {
        let name = format!("Demo {plan}");
        let new = NewAccount { name, plan: (*plan).to_owned(), ..NewAccount::default() };
        let account = engine.create_account(new).await?;
        let credit = credit.map(|text| text.parse::<Nano>()).transpose()?;
        if let Some(credit) = credit {
            engine.post_credit(&account, &NewCredit::paid(credit, "demo")).await?;
        }
        let kind = "read_write".to_owned();
        let key = NewKey { name: "demo".to_owned(), kind, ..NewKey::default() };
        let made = engine.create_key(account.id, key).await?;
        trials.push(Trial { plan, credit, secret: made.secret.unwrap_or_default() });
    }
    Ok(trials)
}

fn print(node: &Node, trials: &[Trial], admin_key: &str) -> anyhow::Result<()> {
    let (data, admin) = (node.data, node.admin);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Weir demo: a mock AI platform behind Weir, everything in a temporary folder.\n"
    )?;
    writeln!(out, "  customers call   http://{data}")?;
    writeln!(out, "  operator calls   http://{admin}   key {admin_key}\n")?;
    for trial in trials {
        let credit = trial.credit.map(|credit| format!("   {credit} USD")).unwrap_or_default();
        writeln!(out, "  {:<11} {}{credit}", trial.plan, trial.secret)?;
    }
    let secret = |plan: &str| {
        trials.iter().find(|trial| trial.plan == plan).map_or("", |trial| trial.secret.as_str())
    };
    let (free, payg) = (secret("free"), secret("payg"));
    let chat =
        r#"{"model":"llama-3-8b","max_tokens":20,"messages":[{"role":"user","content":"Hello!"}]}"#;
    let stream = r#"{"model":"llama-3-8b","max_tokens":20,"stream":true,"messages":[{"role":"user","content":"Hello!"}]}"#;
    let lines = [
        (
            "A call on the free plan, with its limits in the headers",
            format!("curl -fsSi http://{data}/accounts/me -H 'Authorization: Bearer {free}'"),
        ),
        (
            "A chat, paid from the wallet: see X-Weir-Charge and X-Wallet-Available",
            format!(
                "curl -fsSi http://{data}/v1/chat/completions -H 'Authorization: Bearer {payg}' -H 'Content-Type: application/json' -d '{chat}'"
            ),
        ),
        (
            "The same as a stream, its cost in the last usage chunk",
            format!(
                "curl -fsSN http://{data}/v1/chat/completions -H 'Authorization: Bearer {payg}' -H 'Content-Type: application/json' -H 'X-Weir-Usage: 1' -d '{stream}'"
            ),
        ),
        (
            "What the limits are and what is left",
            format!("curl -fsS http://{data}/weir/v1/limits -H 'Authorization: Bearer {free}'"),
        ),
        (
            "What the wallet holds",
            format!("curl -fsS http://{data}/weir/v1/wallet -H 'Authorization: Bearer {payg}'"),
        ),
        (
            "A call without a key: what a refusal looks like",
            format!("curl -sS http://{data}/v1/models"),
        ),
        (
            "All accounts, as the operator",
            format!(
                "curl -fsS http://{admin}/admin/v1/accounts -H 'Authorization: Bearer {admin_key}'"
            ),
        ),
    ];
    for (about, line) in lines {
        writeln!(out, "\n# {about}\n{line}")?;
    }
    writeln!(out, "\nCtrl-C ends it.")?;
    out.flush()?;
    Ok(())
}

const VISITED: &str = "enterprise";
const ACCOUNTS: &[(&str, Option<&str>)] = &[
    ("free", None),
    ("pro", None),
    ("enterprise", None),
    ("payg", Some("25.00")),
    ("empty", Some("0.000001")),
];
const DEMO_CONFIG: &str = include_str!("demo.toml");
