//! kill -9 at random under load, and what is left of a full balance afterwards.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;

use super::auditor::Auditor;
use super::plan::{Draw, Plan};
use super::rig::{Rig, Weir};
use super::wire::{call, now};
use crate::step::say;

/// Kills at a random moment under calls and streams, again and again on one store; audits each time.
pub(super) fn at_random(plan: &Plan) -> anyhow::Result<()> {
    let folder = scratch("kill", plan.seed)?;
    let rig = Rig::new(&plan.binary, folder.clone(), "100000000")?;
    let auditor = Auditor::default();
    let mut draw = Draw::new(plan.seed);
    for round in plan.from..plan.from + plan.rounds {
        let pause = Duration::from_millis(50 + draw.below(2_400));
        let killed = rig.serve(&[])?;
        let at = under_load(&rig, &killed, &auditor, round, || {
            std::thread::sleep(pause);
            let at = now();
            killed.process.power_cut();
            at
        });
        drop(killed);
        let weir = rig.serve(&[])?;
        let found = auditor.audit_after(&rig, &weir, Some(at))?;
        drop(weir);
        let books = rig.verify()?;
        say(&format!("round {round}: killed after {pause:?}; since the first: {found}; {books}"))?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Calls and streams while `work` is done.
fn under_load<T>(
    rig: &Rig,
    weir: &Weir,
    auditor: &Auditor,
    round: u64,
    work: impl FnOnce() -> T,
) -> T {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (stop, count) = (&stop, &count);
        for client in 0..CLIENTS {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    match client {
                        0..CALLERS => {
                            auditor.pay(rig, weir, format!("r{round}c{number}"));
                            // The books are what is tried here, not how many calls they take.
                            std::thread::sleep(Duration::from_millis(2));
                        }
                        // Every other stream runs to its end within a round.
                        _ => {
                            let tokens = if number.is_multiple_of(2) { 15 } else { 1_000 };
                            let id = format!("r{round}s{number}");
                            auditor.stream(rig, weir, id, (tokens, 20));
                        }
                    }
                }
            });
        }
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    })
}

/// A balance for so many calls and many more at once: exactly so many reach the upstream.
pub(super) fn overspend(plan: &Plan) -> anyhow::Result<()> {
    for round in plan.from..plan.from + plan.rounds {
        let folder = scratch("overspend", plan.seed + round)?;
        let rig = Rig::new(&plan.binary, folder.clone(), "5.00")?;
        let weir = rig.serve(&[])?;
        let (passed, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for client in 0..CONNECTIONS {
                let (rig, weir, passed, refused) = (&rig, &weir, &passed, &refused);
                scope.spawn(move || {
                    for number in 0..4 {
                        let counted = match rig.pay(weir, &format!("c{client}n{number}")).status {
                            200..300 => passed,
                            402 => refused,
                            _ => continue,
                        };
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let (passed, refused) = (passed.into_inner(), refused.into_inner());
        let stats = call(rig.upstream, "GET /__mock/stats", &[], "").json();
        let reached = &stats["by_path"]["/clusters/a"];
        let sent = CONNECTIONS * 4;
        ensure!(passed == 500 && *reached == 500, "{passed} of 500 passed, {reached} reached");
        ensure!(refused == sent - 500, "{refused} of {} were refused by 402", sent - 500);
        let left = rig.wallet(&weir)?;
        ensure!(left["balance"] == "0.00" && left["held"] == "0.00", "{left}");
        drop(weir);
        let books = rig.verify()?;
        say(&format!(
            "round {round}: {sent} calls from {CONNECTIONS} connections, 500 reached; {books}"
        ))?;
        drop(rig);
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// A folder of its own in the folder for temporary files.
pub(super) fn scratch(name: &str, seed: u64) -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("weir-{name}-{seed}-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder.canonicalize()?)
}

const CLIENTS: u64 = 12;
const CALLERS: u64 = 8;
const CONNECTIONS: u64 = 256;
