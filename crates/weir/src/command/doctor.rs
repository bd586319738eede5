//! `weir doctor`: what would be in the way of serving, looked at from the outside.

use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use serde_json::json;
use ureq::Agent;
use weir_core::names::LimitNames;
use weir_engine::audit::verify;
use weir_engine::clock::{Clock, instant};
use weir_gate::settings::UpstreamSettings;
use weir_store::store::Options;

use crate::command::check::{BAD_CONFIG, report};
use crate::config::load::load;
use crate::config::settings::Settings;
use crate::terminal::has_colour;

/// What `weir doctor` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration.
    #[arg(long, short, value_name = "FILE", default_value = "weir.toml")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Ok,
    Warn,
    Fail,
}

/// What was found in one place.
#[derive(Debug)]
struct Finding {
    what: &'static str,
    state: State,
    told: String,
    /// What to do about it.
    advice: Option<String>,
}

/// Looks at configuration, disk, clock, limits of the system, addresses and upstreams: 0 if
/// nothing is in the way (warnings aside), 1 if something is, 2 if the configuration is wrong.
///
/// # Errors
///
/// When the findings cannot be printed.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = match load(&args.config, &mut LimitNames::default()) {
        Ok(settings) => settings,
        Err(error) => {
            report(&error)?;
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let store = &settings.store.path;
    let mut findings = vec![
        config(&args.config, &settings),
        admin_key(&settings),
        folder(store),
        space(store),
        sync_time(store),
        books(store),
        clock(store),
        open_files(settings.server.front.connections_max),
        address("listen", settings.server.front.listen, &health(&settings)),
        address("admin_listen", settings.server.admin_listen, "/readyz"),
    ];
    findings.extend(settings.upstreams.iter().flat_map(upstream));
    print(&findings, args.json)?;
    let failed = findings.iter().any(|finding| finding.state == State::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Finding {
    fn ok(what: &'static str, told: impl Into<String>) -> Self {
        Self { what, state: State::Ok, told: told.into(), advice: None }
    }

    fn warn(what: &'static str, told: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, state: State::Warn, told: told.into(), advice: Some(advice.into()) }
    }

    fn fail(what: &'static str, told: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, state: State::Fail, told: told.into(), advice: Some(advice.into()) }
    }
}

fn config(path: &Path, settings: &Settings) -> Finding {
    let shown = path.display();
    let policy = &settings.policy;
    let told =
        format!("{shown}: {} plans, {} routes", policy.plans().count(), policy.routes().len());
    let open = std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0);
    if open && settings.auth.admin_key.is_some() {
        let advice = format!("if a secret stands in it: chmod 640 {shown}, or use ${{NAME}}");
        return Finding::warn("config", format!("{told}; everybody may read it"), advice);
    }
    Finding::ok("config", told)
}

fn admin_key(settings: &Settings) -> Finding {
    match &settings.auth.admin_key {
        Some(key) if key.expose().len() < KEY_BYTES_MIN => Finding::warn(
            "admin key",
            format!("it has fewer than {KEY_BYTES_MIN} characters"),
            "make a random one: openssl rand -hex 32",
        ),
        Some(_) => Finding::ok("admin key", "set"),
        None => Finding::ok("admin key", "not set: the first start makes one and prints it once"),
    }
}

fn folder(path: &Path) -> Finding {
    let shown = path.display();
    let Ok(metadata) = std::fs::metadata(path) else {
        let parent = existing(path);
        return match tempfile::tempfile_in(parent) {
            Ok(_) => Finding::ok("store", format!("{shown} is not there yet and can be made")),
            Err(error) => Finding::fail(
                "store",
                format!("{shown} cannot be made: {error}"),
                format!("let the user of the process write to {}", parent.display()),
            ),
        };
    };
    if let Err(error) = tempfile::tempfile_in(path) {
        let advice = "run weir doctor as the user of the process, or give it the folder";
        return Finding::fail("store", format!("{shown} cannot be written: {error}"), advice);
    }
    if metadata.mode() & 0o077 != 0 {
        let advice = format!("chmod 700 {shown}");
        return Finding::warn("store", format!("others may look into {shown}"), advice);
    }
    Finding::ok("store", format!("{shown} can be written, by its owner alone"))
}

fn space(path: &Path) -> Finding {
    let least = Options::default().ballast_bytes;
    let free = match statvfs(existing(path)) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => return Finding::fail("disk", error.to_string(), "look at the volume"),
    };
    let told = format!("{} MiB free", free >> 20);
    let advice = "make space: without it priced calls get 503";
    match free {
        free if free < least * 4 => Finding::fail("disk", told, advice),
        free if free < FREE_BYTES_FAIR => Finding::warn("disk", told, advice),
        _ => Finding::ok("disk", told),
    }
}

/// How long a charge waits for the disk at least.
fn sync_time(path: &Path) -> Finding {
    let measure = || -> io::Result<Duration> {
        let mut file = tempfile::tempfile_in(existing(path))?;
        let mut times = Vec::new();
        for _ in 0..SYNCS {
            file.write_all(&[0; 4_096])?;
            let began = instant();
            file.sync_data()?;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        Ok(times[SYNCS / 2])
    };
    let advice = "put the store on a local SSD: every charge waits for this once";
    match measure() {
        Err(error) => Finding::fail("fsync", error.to_string(), "look at the volume"),
        Ok(time) => {
            let told = format!("{:.1} ms", time.as_secs_f64() * 1e3);
            if time > SYNC_FAIR {
                Finding::warn("fsync", told, advice)
            } else {
                Finding::ok("fsync", told)
            }
        }
    }
}

fn books(path: &Path) -> Finding {
    let Ok(ledger) = std::fs::metadata(path.join("ledger.db")) else {
        return Finding::ok("books", "there are none yet");
    };
    if ledger.len() > BOOKS_BYTES_MAX {
        let told = format!("{} MiB, not read here", ledger.len() >> 20);
        return Finding::ok(
            "books",
            format!("{told}: weir ledger verify --path {}", path.display()),
        );
    }
    match verify(path) {
        Ok(report) => {
            let (entries, balance) = (report.entries, report.balance_text());
            Finding::ok("books", format!("{entries} entries, {balance} in all; they hold"))
        }
        Err(error) => {
            let advice = "docs/runbook.md: stop, keep the folder, restore the last backup";
            Finding::fail("books", format!("{:#}", anyhow::Error::new(error)), advice)
        }
    }
}

fn clock(path: &Path) -> Finding {
    let now_s = Clock::running().now().micros() / 1_000_000;
    let last_s = std::fs::metadata(path.join("ledger.db")).map_or(0, |ledger| ledger.mtime());
    let advice = "set the clock and keep it set: timedatectl set-ntp true";
    if now_s < BUILT_AFTER_S {
        return Finding::fail("clock", "it shows a time before this program was written", advice);
    }
    if last_s > now_s + 5 {
        let told = format!("the store was last written {} s in the future", last_s - now_s);
        return Finding::fail("clock", told, advice);
    }
    let at = jiff::Timestamp::from_second(now_s).map(|at| at.to_string()).unwrap_or_default();
    Finding::ok("clock", at)
}

fn open_files(connections_max: usize) -> Finding {
    // A call may take a connection on either side; the rest is the store's and the listeners'.
    let wanted = u64::try_from(connections_max).unwrap_or(u64::MAX).saturating_mul(2) + 256;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < wanted => Finding::warn(
            "open files",
            format!("{limit} for {connections_max} connections, which may need {wanted}"),
            format!("LimitNOFILE={wanted} in the unit, or ulimit -n {wanted}"),
        ),
        Some(limit) => Finding::ok("open files", format!("{limit}")),
        None => Finding::ok("open files", "unlimited"),
    }
}

fn health(settings: &Settings) -> String {
    format!("{}/healthz", settings.server.api_prefix)
}

/// Whether an address is free, or Weir is there already.
fn address(what: &'static str, address: SocketAddr, page: &str) -> Finding {
    if address.port() == 0 {
        return Finding::ok(what, format!("{address}: the system chooses a port"));
    }
    let Err(error) = TcpListener::bind(address) else {
        return Finding::ok(what, format!("{address} is free"));
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        let advice = "an address of this machine; below 1024: CAP_NET_BIND_SERVICE";
        return Finding::fail(what, format!("{address}: {error}"), advice);
    }
    let host = match address.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
        ip if ip.is_unspecified() => "[::1]".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    match agent().get(format!("http://{host}:{}{page}", address.port())).call() {
        Ok(answer) if answer.status() == 200 => {
            Finding::ok(what, format!("Weir serves on {address}"))
        }
        Ok(answer) if page == "/readyz" && answer.status() == 503 => Finding::fail(
            what,
            format!("Weir serves on {address} but is not ready"),
            format!("curl http://{address}/readyz says why"),
        ),
        _ => Finding::fail(
            what,
            format!("{address} is in use by another program, or Weir speaks TLS there"),
            format!("ss -ltnp 'sport = :{}' says by whom", address.port()),
        ),
    }
}

/// Whether each address of an upstream answers; what it answers does not matter.
fn upstream(upstream: &UpstreamSettings) -> Vec<Finding> {
    let ask = |url: &http::Uri| {
        let (name, what) = (&upstream.name, "upstream");
        // Nothing secret is sent: whether the path to it and its certificate are good is all.
        match agent().head(url.to_string()).call() {
            Ok(_) => Finding::ok(what, format!("{name}: {url} answers")),
            Err(error) => {
                let advice = match &error {
                    ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
                        "its certificate must be for this name and of a known authority"
                    }
                    _ => "start it, or correct urls; calls to it get 502",
                };
                Finding::warn(what, format!("{name}: {url}: {error}"), advice)
            }
        }
    };
    upstream.urls.iter().map(ask).collect()
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(ANSWER_TIMEOUT));
    config.build().into()
}

/// The nearest folder on the way to a path that is there.
fn existing(path: &Path) -> &Path {
    let found = path.ancestors().find(|folder| File::open(folder).is_ok());
    found.filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

fn print(findings: &[Finding], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let told = findings.iter().map(|finding| {
            json!({
                "what": finding.what, "state": finding.state.word(), "told": finding.told,
                "advice": finding.advice,
            })
        });
        return writeln!(out, "{:#}", told.collect::<serde_json::Value>());
    }
    let colour = has_colour(&out);
    for finding in findings {
        let (on, off) = if colour { (finding.state.colour(), "\u{1b}[0m") } else { ("", "") };
        let (word, what, told) = (finding.state.word(), finding.what, &finding.told);
        writeln!(out, "{on}{word:<4}{off}  {what:<12}  {told}")?;
        if let Some(advice) = &finding.advice {
            writeln!(out, "{:20}-> {advice}", "")?;
        }
    }
    Ok(())
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "\u{1b}[32m",
            Self::Warn => "\u{1b}[33m",
            Self::Fail => "\u{1b}[31m",
        }
    }
}

const KEY_BYTES_MIN: usize = 20;
const FREE_BYTES_FAIR: u64 = 1 << 30;
const SYNCS: usize = 15;
const SYNC_FAIR: Duration = Duration::from_millis(10);
const BOOKS_BYTES_MAX: u64 = 64 << 20;
/// 1 November 2026.
const BUILT_AFTER_S: i64 = 1_793_491_200;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
