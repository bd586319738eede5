//! kill -9: at random under load, and at every fsync of a scripted history.

use crate::step::say;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;

use super::auditor::Auditor;
use super::plan::Plan;
use super::rig::Rig;

/// Kills at a random moment under 16 clients, again and again on one store; audits each time.
pub(super) fn at_random(binary: &Path, plan: Plan) -> anyhow::Result<()> {
    let folder = scratch("kill9", plan.seed)?;
    let rig = Rig::new(binary, folder.clone(), "1000000")?;
    let auditor = Auditor::default();
    let mut random = plan.seed | 1;
    let count = AtomicU64::new(0);
    for round in 1..=plan.rounds {
        random = next(random);
        let pause = Duration::from_millis(50 + random % 700);
        let killed = rig.serve(&[])?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (stop, count, auditor, rig, killed) = (&stop, &count, &auditor, &rig, &killed);
            for _ in 0..CLIENTS {
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let number = count.fetch_add(1, Ordering::Relaxed);
                        auditor.pay(rig, killed, format!("c{number}"));
                    }
                });
            }
            std::thread::sleep(pause);
            killed.process.power_cut();
            stop.store(true, Ordering::Relaxed);
        });
        drop(killed);
        let weir = rig.serve(&[])?;
        let found = auditor.audit(&rig, &weir)?;
        drop(weir);
        let books = rig.verify()?;
        say(&format!("round {round}: killed after {pause:?}; {found}; {books}"))?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Kills at the first fsync of any thread, then at the second, … until the script runs to its end.
pub(super) fn at_every_sync(binary: &Path, plan: Plan) -> anyhow::Result<()> {
    let mut ended = false;
    let mut point = 0;
    while !ended && point < plan.rounds.max(1) * 10 {
        point += 1;
        let folder = scratch("syscalls", plan.seed + point)?;
        let rig = Rig::new(binary, folder.clone(), "100")?;
        let auditor = Auditor::default();
        let inject = format!("inject=fsync,fdatasync:signal=KILL:when={point}");
        let under = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            &inject,
        ];
        let mut told = 0;
        if let Ok(weir) = rig.serve(&under) {
            told = (0..SCRIPT)
                .filter(|call| auditor.pay(&rig, &weir, format!("s{call}")) == 200)
                .count();
            ended = told == SCRIPT;
        }
        rig.verify()?;
        let weir = rig.serve(&[])?;
        let found = auditor.audit(&rig, &weir)?;
        ensure!(rig.pay(&weir, "after").status == 200, "it does not serve after the restart");
        say(&format!("sync {point}: {told} of {SCRIPT} acknowledged before the kill; {found}"))?;
        drop((weir, rig));
        std::fs::remove_dir_all(folder)?;
    }
    ensure!(ended, "the script did not run to its end: more --rounds are needed");
    Ok(())
}

/// A folder of its own in the folder for temporary files.
pub(super) fn scratch(name: &str, seed: u64) -> anyhow::Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("weir-{name}-{seed}-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn next(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}

const CLIENTS: usize = 16;
const SCRIPT: usize = 12;
