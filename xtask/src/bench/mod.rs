//! `cargo xtask bench`: what Weir costs beside nginx, before the same upstream, in the same run;
//! `bench limits`: what a decision costs beside other limiters; `bench usage`: how long questions
//! about usage take.
//!
//! Competitors take turns (A B C, A B C, …), so that whatever else the machine does meets all of
//! them; ratios are medians of the pairs of each round. docs/performance.md tells how to read them.

mod table;

mod options;

mod server;

mod site;

mod line;

mod wrk;

mod contest;

mod idle;

mod start;

mod inside;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::step::{self, program};
use contest::run_contest;
use line::{Line, Load};
use options::{Binaries, Options};
use server::Core;
use site::{Folder, Site, Stream};

/// Measures what the arguments ask for.
///
/// # Errors
///
/// An unknown argument, a program that is missing, or a server that does not answer as it should.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    if let [bench @ ("limits" | "usage"), arguments @ ..] = arguments {
        return inside::run(root, bench, arguments);
    }
    let options = Options::read(arguments)?;
    for tool in ["nginx", "wrk", "taskset"] {
        if !step::succeeds(program(tool, root).arg("-v")) && !is_installed(tool) {
            bail!("{tool} is missing: apt-get install nginx wrk util-linux");
        }
    }
    let binaries = build(root, &options)?;
    let mut results = serde_json::Map::new();
    for what in &options.what {
        let result = measure(what, &binaries, &options).with_context(|| format!("bench {what}"))?;
        results.insert(what.clone(), result);
    }
    if let Some(path) = &options.json {
        let document =
            json!({ "machine": machine(), "options": format!("{options:?}"), "results": results });
        std::fs::write(path, format!("{document:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn build(root: &Path, options: &Options) -> anyhow::Result<Binaries> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let cargo = |arguments: &[&str]| step::run(program("cargo", root).arg("build").args(arguments));
    let seed = ["--quiet", "-p", "weir-engine", "--example", "seed"];
    // Without optimisation many entries take their time.
    let (more, folder) =
        if options.entries > 0 { (&["--release"][..], "release") } else { (&[][..], "debug") };
    cargo(&[&seed, more].concat())?;
    let seed = target.join(folder).join("examples/seed");
    if let Some(weir) = &options.weir {
        return Ok(Binaries { weir: weir.clone(), seed });
    }
    let profile = if options.quick { "release" } else { "dist" };
    cargo(&["--quiet", "-p", "weir", "--profile", profile])?;
    Ok(Binaries { weir: target.join(profile).join("weir"), seed })
}

/// Makes calls of every kind, for a binary that counts what it does.
///
/// # Errors
///
/// A program that is missing, or a server that does not answer as it should.
pub(crate) fn rehearse(root: &Path, weir: &Path) -> anyhow::Result<()> {
    if !is_installed("wrk") {
        bail!("wrk is missing: apt-get install wrk");
    }
    let mut options = Options::read(&[])?;
    options.weir = Some(weir.to_owned());
    let binaries = build(root, &options)?;
    let folder = Folder::new("rehearsal")?;
    let (mock, weir, keys) = site::without_nginx(&binaries, folder.path(), &options)?;
    let load = Load { connections: 64, seconds: REHEARSAL_S };
    let (plain, stream) = (site::chat(None), site::chat(Some(Stream { tokens: 50, delay_ms: 0 })));
    for (path, body, key) in [
        (site::PLAIN, &plain, &keys.free),
        (site::LIMITED, &plain, &keys.free),
        (site::CHAT, &plain, &keys.free),
        (site::CHAT, &plain, &keys.paying),
        (site::CHAT, &stream, &keys.free),
        (site::CHAT, &stream, &keys.paying),
    ] {
        wrk::wrk(
            &Line::new("rehearsal", &weir, path, body).key(key),
            load,
            Core::Any,
            folder.path(),
        )?;
    }
    drop((weir, mock));
    Ok(())
}

fn measure(what: &str, binaries: &Binaries, options: &Options) -> anyhow::Result<Value> {
    match what {
        "proxy" => proxy(binaries, options),
        "priced" => priced(binaries, options),
        "sse" => sse(binaries, options),
        "idle" => idle::run(binaries, options),
        _ => start::run(binaries, options),
    }
}

/// Small calls over 64 connections, as many as go through.
fn proxy(binaries: &Binaries, options: &Options) -> anyhow::Result<Value> {
    let site = Site::open(binaries, options)?;
    let body = site::chat(None);
    let lines = [
        Line::new("direct", site.mock(), site::CHAT, &body),
        Line::new("nginx", site.nginx(), site::CHAT, &body).reference(),
        Line::new("weir: key, 1 limit, body passed on", site.weir(), site::PLAIN, &body)
            .key(site.free_key()),
        Line::new("weir: key, 4 limits, body passed on", site.weir(), site::LIMITED, &body)
            .key(site.free_key()),
        Line::new("weir: key, 4 limits, body and usage read", site.weir(), site::CHAT, &body)
            .key(site.free_key()),
        Line::new("weir: priced, hold and durable charge", site.weir(), site::CHAT, &body)
            .key(site.paying_key()),
    ];
    let load = Load { connections: 64, seconds: options.seconds };
    run_contest("proxied calls, 64 connections", &lines, load, options)
}

/// What a durable charge adds to one call alone, and to 64 at once.
fn priced(binaries: &Binaries, options: &Options) -> anyhow::Result<Value> {
    let site = Site::open(binaries, options)?;
    let body = site::chat(None);
    let lines = [
        Line::new("nginx", site.nginx(), site::CHAT, &body).reference(),
        Line::new("weir: 4 limits", site.weir(), site::CHAT, &body).key(site.free_key()),
        Line::new("weir: priced", site.weir(), site::CHAT, &body).key(site.paying_key()),
    ];
    let one = Load { connections: 1, seconds: options.seconds };
    let alone =
        run_contest("one connection: the difference of p50 is the commit", &lines, one, options)?;
    let many = Load { connections: 64, seconds: options.seconds };
    let busy = run_contest("64 connections", &lines, many, options)?;
    Ok(json!({ "one": alone, "64": busy }))
}

/// Streams of 50 chunks: 10 ms apart, and as fast as they go.
fn sse(binaries: &Binaries, options: &Options) -> anyhow::Result<Value> {
    let site = Site::open(binaries, options)?;
    let mut results = serde_json::Map::new();
    let kinds = [
        ("paced", 200, Stream { tokens: 50, delay_ms: 10 }),
        ("unpaced", 32, Stream { tokens: 50, delay_ms: 0 }),
    ];
    for (kind, connections, stream) in kinds {
        let body = site::chat(Some(stream));
        let delay = stream.delay_ms.to_string();
        let line = |name, server, key: &str| {
            let line = Line::new(name, server, site::CHAT, &body);
            line.key(key).header("x-mock-chunk-delay-ms", &delay)
        };
        let lines = [
            line("nginx", site.nginx(), "").reference(),
            line("weir: limits", site.weir(), site.free_key()),
            line("weir: priced", site.weir(), site.paying_key()),
        ];
        let load = Load { connections, seconds: options.seconds.max(2) };
        let title = format!("{kind} streams of 50 chunks, {connections} connections");
        results.insert(kind.to_owned(), run_contest(&title, &lines, load, options)?);
    }
    Ok(results.into())
}

fn is_installed(tool: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(tool).exists())
}

fn machine() -> Value {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({ "cpu": model.trim_start_matches([' ', '\t', ':']), "cores": cores })
}

/// How long each kind of call is made in a rehearsal, in seconds.
const REHEARSAL_S: u64 = 4;
