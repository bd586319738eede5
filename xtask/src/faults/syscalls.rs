//! A scripted history with a fault at every single sync and write of the store.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

use super::auditor::Auditor;
use super::kill::scratch;
use super::plan::{Draw, Plan};
use super::rig::Rig;
use crate::step::say;

/// One fault at one kind of system call.
struct Series {
    calls: &'static str,
    effect: &'static str,
}

/// Goes through all series, point by point. `rounds` of zero is every point to the script's end;
/// otherwise so many points are drawn for each series.
pub(super) fn at_every_call(plan: &Plan) -> anyhow::Result<()> {
    let mut draw = Draw::new(plan.seed);
    for series in &SERIES {
        if plan.rounds == 0 {
            let mut point = plan.from;
            while reached(plan, series, point)? {
                point += 1;
            }
            let Series { calls, effect } = series;
            say(&format!("{calls} {effect}: the script makes {} of them per thread", point - 1))?;
            continue;
        }
        for _ in 0..plan.rounds {
            reached(plan, series, 1 + draw.below(POINTS_DRAWN))?;
        }
    }
    Ok(())
}

/// Runs the script with the fault at that call of each thread; whether any thread came so far.
fn reached(plan: &Plan, series: &Series, point: u64) -> anyhow::Result<bool> {
    let Series { calls, effect } = series;
    let folder = scratch("syscalls", plan.seed + point)?;
    let rig = Rig::new(&plan.binary, folder.clone(), "100")?;
    let auditor = Auditor::default();
    let log = folder.join("strace");
    let (trace, inject) =
        (format!("trace={calls}"), format!("inject={calls}:{effect}:when={point}"));
    let mut under = vec!["strace", "-f", "-qq", "-o", log.to_str().unwrap_or_default()];
    under.extend(["-e", &trace, "-e", &inject]);
    let files: Vec<_> = FILES.iter().map(|name| folder.join("store").join(name)).collect();
    for file in files.iter().filter_map(|file| file.to_str()) {
        under.extend(["-P", file]);
    }
    let (mut told, mut struck) = (0, true);
    if let Ok(weir) = rig.serve(&under) {
        for number in 0..SCRIPT {
            told += u64::from(auditor.pay(&rig, &weir, format!("s{number}")) == 200);
        }
        // What is written behind follows within a second.
        std::thread::sleep(Duration::from_millis(700));
        let alive = rig.look(&weir).status != 0;
        struck = !alive || injected(&log)?;
    }
    rig.verify()?;
    let weir = rig.serve(&[])?;
    let found = auditor.audit(&rig, &weir)?;
    ensure!(rig.pay(&weir, "after").status == 200, "it does not serve after the restart");
    let verdict = if struck { "" } else { " (not reached)" };
    say(&format!("{calls} {effect} {point}{verdict}: {told} of {SCRIPT} acknowledged; {found}"))?;
    drop((weir, rig));
    std::fs::remove_dir_all(folder)?;
    Ok(struck)
}

fn injected(log: &Path) -> anyhow::Result<bool> {
    Ok(std::fs::read_to_string(log)?.contains("INJECTED"))
}

const SERIES: [Series; 6] = [
    Series { calls: "fsync,fdatasync", effect: "signal=KILL" },
    Series { calls: "fsync,fdatasync", effect: "error=EIO" },
    Series { calls: "write,pwrite64,ftruncate", effect: "signal=KILL" },
    Series { calls: "write,pwrite64,ftruncate", effect: "error=EIO" },
    Series { calls: "write,pwrite64,ftruncate", effect: "error=ENOSPC" },
    Series { calls: "fsync,fdatasync", effect: "error=ENOSPC" },
];
/// What may fail; sockets and pipes are written to by the same calls and are not meant.
const FILES: [&str; 10] = [
    "",
    "ledger.db",
    "ledger.db-wal",
    "ledger.db-shm",
    "usage.db",
    "usage.db-wal",
    "index.db",
    "index.db-wal",
    "ballast",
    "lock",
];
const SCRIPT: u64 = 12;
const POINTS_DRAWN: u64 = 40;
