//! The configuration changes a thousand times under load.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::auditor::nano;
use super::kill::scratch;
use super::line::Line;
use super::plan::{Draw, Plan};
use super::rig::{Rig, Weir, within};
use super::wire::call;
use crate::step::say;

/// A round is a reload: by signal, by API, and now and then by the file alone, which takes a
/// second. No call fails and no connection is closed, limits, usage and wallet have counted every
/// call once, and the process is no larger than after a tenth of them, fifty at least.
pub(super) fn under_load(plan: &Plan) -> anyhow::Result<()> {
    let folder = scratch("reloads", plan.seed)?;
    let rig = Rig::new(&plan.binary, folder.clone(), "100000")?;
    let mut file = File::of(&folder)?;
    file.next(1)?;
    // What is freed is given back at once: what stays is in use.
    let weir = rig.serve(&["env", "MIMALLOC_PURGE_DELAY=0"])?;
    let done = Done::default();
    let mut draw = Draw::new(plan.seed);
    let warm = (plan.rounds / 10).max(50).min(plan.rounds / 2);
    phase(&rig, &weir, &mut file, &mut draw, warm, &done)?;
    let before = Size::quiet(&weir)?;
    let rest = plan.rounds.saturating_sub(warm);
    let [signals, asked, files] = phase(&rig, &weir, &mut file, &mut draw, rest, &done)?;
    let after = Size::quiet(&weir)?;
    before.check(&after, plan.rounds)?;
    let counted = done.check(&rig, &weir, file.figure)?;
    drop(weir);
    say(&format!(
        "{signals} reloads by signal, {asked} by API, {files} by the file alone, after {warm} to warm up; {counted}"
    ))?;
    say(&format!("before: {before}; after: {after}; {}", rig.verify()?))?;
    drop(rig);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// So many reloads while calls go on; how many in each way.
fn phase(
    rig: &Rig,
    weir: &Weir,
    file: &mut File,
    draw: &mut Draw,
    rounds: u64,
    done: &Done,
) -> anyhow::Result<[u64; 3]> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut callers: Vec<_> =
            (0..CALLERS).map(|_| scope.spawn(|| done.calls(rig, weir, &ended))).collect();
        callers.push(scope.spawn(|| done.strangers(rig, weir, &ended)));
        callers.push(scope.spawn(|| done.streams(rig, weir, &ended)));
        let failed = || callers.iter().any(std::thread::ScopedJoinHandle::is_finished);
        let mut reloads = || -> anyhow::Result<[u64; 3]> {
            let mut ways = [0; 3];
            for _ in 0..rounds {
                if failed() {
                    break;
                }
                let way = file.reload(weir, draw)?;
                ways[way] += 1;
            }
            Ok(ways)
        };
        let ways = reloads();
        ended.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().ok().context("a panic")??;
        }
        ways
    })
}

/// The configuration file, each time another one.
struct File {
    folder: PathBuf,
    text: String,
    /// The limit on reads that it says.
    figure: u64,
}

impl File {
    /// The experiment's own, with as many routes and plans as make a leak show.
    fn of(folder: &Path) -> anyhow::Result<Self> {
        let mut text = std::fs::read_to_string(folder.join("weir.toml"))?;
        for number in 0..PADDING {
            text.push_str(&format!(
                "\n[plans.other-{number}]\nbilling = \"none\"\nlimits = {{ read = \"{}/day\", ai = \"7/minute\" }}\n\
                 \n[[routes]]\nmatch = \"GET /other-{number}/*\"\nupstream = \"mock\"\nprice = \"free\"\n",
                number + 1
            ));
        }
        Ok(Self { folder: folder.to_owned(), text, figure: FIGURE })
    }

    /// Puts another one in its place: another limit, and in turn other upstreams, plans and routes.
    fn next(&mut self, round: u64) -> anyhow::Result<()> {
        self.figure = FIGURE + round;
        let mut text = self.text.replace(&format!("{FIGURE}/day"), &format!("{}/day", self.figure));
        if round.is_multiple_of(2) {
            text.push_str(MORE);
        }
        if round.is_multiple_of(3) {
            text =
                text.replacen("[upstreams.mock]", "[upstreams.mock]\nconnect_timeout = \"3s\"", 1);
        }
        self.put(&text)
    }

    fn put(&self, text: &str) -> anyhow::Result<()> {
        let fresh = self.folder.join("fresh");
        std::fs::write(&fresh, text)?;
        Ok(std::fs::rename(fresh, self.folder.join("weir.toml"))?)
    }

    /// Has another one taken; in which way.
    fn reload(&mut self, weir: &Weir, draw: &mut Draw) -> anyhow::Result<usize> {
        let way = match draw.below(20) {
            0 => FILE,
            1..=9 => SIGNAL,
            _ => API,
        };
        self.next(self.figure - FIGURE + 1)?;
        match way {
            SIGNAL => {
                let id = weir.process.id().to_string();
                ensure!(Command::new("kill").args(["-HUP", &id]).status()?.success(), "no kill");
            }
            API => drop(weir.operator("POST", "config/reload", "")?),
            _ => {}
        }
        let wanted = format!("{}/day", self.figure);
        within(Duration::from_secs(60), "the new configuration is in force", || {
            let shown = weir.operator("GET", "config", "");
            shown.is_ok_and(|shown| shown.json()["plans"]["payg"]["limits"]["read"] == wanted)
        })?;
        Ok(way)
    }
}

/// Calls that came back as they should.
#[derive(Default)]
struct Done {
    reads: AtomicU64,
    /// Priced calls and streams, at 0.01 each.
    paid: AtomicU64,
}

impl Done {
    /// Reads, and now and then a priced call, on one connection, which nobody closes.
    fn calls(&self, rig: &Rig, weir: &Weir, ended: &AtomicBool) -> anyhow::Result<()> {
        let mut line = Line::open(weir.data)?;
        while !ended.load(Ordering::Relaxed) {
            line.call("PUT /clusters/a", &rig.bearer).context("a call on a kept connection")?;
            self.paid.fetch_add(1, Ordering::Relaxed);
            for _ in 0..READS_PER_CHARGE {
                line.call("GET /clusters/x", &rig.bearer).context("a read on a kept connection")?;
                self.reads.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Reads on a connection of their own each.
    fn strangers(&self, rig: &Rig, weir: &Weir, ended: &AtomicBool) -> anyhow::Result<()> {
        while !ended.load(Ordering::Relaxed) {
            let reply = rig.look(weir);
            ensure!(reply.status == 200 && reply.complete, "a read on its own: {reply:?}");
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Streams that last longer than a reload.
    fn streams(&self, rig: &Rig, weir: &Weir, ended: &AtomicBool) -> anyhow::Result<()> {
        while !ended.load(Ordering::Relaxed) {
            let watched = rig.stream(weir, "stream", 10, 20);
            ensure!(watched.status == 200 && watched.done.is_some(), "a stream: {watched:?}");
            self.paid.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Compares with what limits, usage and wallet say.
    fn check(&self, rig: &Rig, weir: &Weir, figure: u64) -> anyhow::Result<String> {
        let (reads, paid) = (self.reads.load(Ordering::Relaxed), self.paid.load(Ordering::Relaxed));
        let reply = rig.look(weir);
        let left: u64 = reply.header("x-ratelimit-remaining").context("no limit")?.parse()?;
        let used = figure.checked_sub(left).context("more is left than there is")?;
        ensure!(used == reads + 1, "{used} reads counted, {} made", reads + 1);
        let balance = rig.wallet(weir)?;
        let spent = 100_000_000_000_000 - nano(balance["balance"].as_str().context("no balance")?)?;
        ensure!(spent == paid * 10_000_000, "{paid} priced calls came to {spent} nano");
        ensure!(balance["held"] == "0.00", "{balance}");
        let path = format!("accounts/{}/usage", rig.account);
        let mut totals = serde_json::Value::Null;
        let same = |totals: &serde_json::Value| totals["requests"] == reads + 1 + paid;
        within(Duration::from_secs(30), "usage has every call", || {
            let shown = weir.operator("GET", &path, "");
            totals = shown.map_or_else(|_| totals.clone(), |shown| shown.json()["totals"].clone());
            same(&totals)
        })
        .with_context(|| format!("{} calls; {totals}", reads + 1 + paid))?;
        let charged = nano(totals["charged"].as_str().context("no charge")?)?;
        let clean = totals["errors"] == 0 && totals["limited"] == 0 && charged == spent;
        ensure!(clean, "{spent} nano spent; {totals}");
        let metrics = call(weir.admin, "GET /metrics", &[], "");
        let told = metrics.sum("weir_requests_total{");
        ensure!(told == reads + 1 + paid, "{told} calls in the metrics, {} made", reads + 1 + paid);
        Ok(format!("{reads} reads and {paid} priced calls, each counted once"))
    }
}

/// How large the process is.
struct Size {
    resident_kb: u64,
    files: usize,
    threads: u64,
}

impl Size {
    /// When no customer is connected any more.
    fn quiet(weir: &Weir) -> anyhow::Result<Self> {
        let id = weir.process.id();
        let files =
            || Ok::<_, std::io::Error>(std::fs::read_dir(format!("/proc/{id}/fd"))?.count());
        let (mut last, mut same) = (0, 0);
        within(Duration::from_secs(60), "connections are closed", || {
            let now = files().unwrap_or(0);
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same >= 50
        })?;
        let number = |name: &str| -> anyhow::Result<u64> {
            let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).context("no line")?;
            Ok(line.trim_matches([':', '\t', ' ', 'k', 'B']).parse()?)
        };
        // Memory that one thread frees for another goes back when that one works again.
        let mut resident_kb = u64::MAX;
        for _ in 0..QUIET_LOOKS {
            drop(call(weir.data, "GET /weir/v1/limits", &[], ""));
            drop(call(weir.admin, "GET /healthz", &[], ""));
            resident_kb = resident_kb.min(number("VmRSS")?);
        }
        Ok(Self { resident_kb, files: files()?, threads: number("Threads")? })
    }

    fn check(&self, after: &Self, rounds: u64) -> anyhow::Result<()> {
        ensure!(after.files <= self.files + FILES_MORE_MAX, "open files: {self}, then {after}");
        ensure!(after.threads <= self.threads + THREADS_MORE_MAX, "threads: {self}, then {after}");
        let most = self.resident_kb + RESIDENT_MORE_MAX_KB + rounds * RELOAD_MORE_MAX_KB;
        ensure!(after.resident_kb <= most, "memory: {self}, then {after}");
        Ok(())
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resident_kb, files, threads } = self;
        write!(f, "{resident_kb} KB resident, {files} open files, {threads} threads")
    }
}

const SIGNAL: usize = 0;
const API: usize = 1;
const FILE: usize = 2;
const CALLERS: u64 = 4;
const PADDING: u64 = 100;
const FIGURE: u64 = 1_000_000_000;
/// What upstream connections are kept differs from time to time.
const FILES_MORE_MAX: usize = 24;
const THREADS_MORE_MAX: u64 = 8;
/// How often memory is looked at when it is quiet; the least counts.
const QUIET_LOOKS: usize = 200;
const RESIDENT_MORE_MAX_KB: u64 = 6 * 1024;
/// A configuration of this size that is never freed takes some 240 KB.
const RELOAD_MORE_MAX_KB: u64 = 12;
/// Each charge is an entry, and the store's caches (64, 32 and 16 MB) fill with entries: as many
/// as a fast machine makes would hide a leak behind them.
const READS_PER_CHARGE: u64 = 100;
const MORE: &str = r#"
[upstreams.more]
urls = ["http://127.0.0.1:9"]
[plans.more]
limits = { ai = "5/minute" }
[[routes]]
match = "GET /more/*"
upstream = "more"
class = "ai"
price = "free"
"#;
