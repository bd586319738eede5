//! A disk whose syncs fail, are slow, and a disk that is full.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::auditor::Auditor;
use super::kill::scratch;
use super::plan::Plan;
use super::rig::{Rig, Weir, within};
use super::wire::{call, now};
use crate::step::say;

/// Every fsync fails from some moment on: nothing is acknowledged any more, calls that cost
/// nothing go on, and after a restart the books are right.
pub(super) fn failing_sync(plan: &Plan) -> anyhow::Result<()> {
    let folder = scratch("eio", plan.seed)?;
    let rig = Rig::new(&plan.binary, folder.clone(), "100")?;
    let auditor = Auditor::default();
    let mut weir = rig.serve(&[])?;
    for call in 0..20 {
        ensure!(auditor.pay(&rig, &weir, format!("before{call}")) == 200, "a call fails");
    }
    let mut strace = attach(&weir, "error=EIO")?;
    let mut number = 0;
    within(Duration::from_secs(20), "a priced call is refused", || {
        number += 1;
        auditor.pay(&rig, &weir, format!("during{number}")) == 503
    })?;
    for call in 0..10 {
        let status = auditor.pay(&rig, &weir, format!("fenced{call}"));
        ensure!(status == 503, "a priced call was answered {status} behind the fence");
    }
    ensure!(rig.look(&weir).status < 500, "a call that costs nothing is refused");
    let ready = call(weir.admin, "GET /readyz", &[], "").status;
    ensure!(ready == 503, "/readyz says {ready}");
    weir.process.kill();
    let _ended = strace.wait();
    let weir = rig.serve(&[])?;
    let found = auditor.audit(&rig, &weir)?;
    ensure!(rig.pay(&weir, "after").status == 200, "it does not serve after the restart");
    drop(weir);
    say(&format!("fenced after {number} calls; /readyz {ready}; {found}; {}", rig.verify()?))?;
    drop(rig);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Every fsync takes long: the terminal event of a stream and the end of a whole answer come only
/// after it, what comes before them does not wait.
pub(super) fn slow_sync(plan: &Plan) -> anyhow::Result<()> {
    let folder = scratch("slow-sync", plan.seed)?;
    let rig = Rig::new(&plan.binary, folder.clone(), "100")?;
    let auditor = Auditor::default();
    let mut weir = rig.serve(&[])?;
    let mut strace = attach(&weir, &format!("delay_enter={}", SLOW.as_micros()))?;
    let mut number = 0;
    let timed = |id: String| {
        let began = now();
        let status = auditor.pay(&rig, &weir, id);
        (status, began.elapsed())
    };
    within(Duration::from_secs(20), "the syncs are slow", || {
        number += 1;
        timed(format!("first{number}")).1 >= SLOW
    })?;
    for round in 0..plan.rounds {
        let (status, whole) = timed(format!("whole{round}"));
        ensure!(status == 200 && whole >= SLOW, "{status} after {whole:?}, before its sync");
        let began = now();
        let stream = auditor.stream(&rig, &weir, format!("stream{round}"), (10, 5));
        let done = stream.done.context("the stream has no end")?;
        let last = stream.output.last().context("the stream has no output")?;
        let (output, waited) = (last.duration_since(began), done.duration_since(*last));
        ensure!(waited >= SLOW, "[DONE] came {waited:?} after the output, before the sync");
        let free = now();
        ensure!(rig.look(&weir).status < 500, "a call that costs nothing is refused");
        let free = free.elapsed();
        ensure!(output < SLOW && free < SLOW, "the output took {output:?}, a free call {free:?}");
        say(&format!(
            "each sync takes {SLOW:?}: a whole answer {whole:?}; a stream's output {output:?}, \
             its [DONE] {waited:?} later; a call that costs nothing {free:?}"
        ))?;
    }
    weir.process.kill();
    let _ended = strace.wait();
    let weir = rig.serve(&[])?;
    let found = auditor.audit(&rig, &weir)?;
    drop(weir);
    say(&format!("{found}; {}", rig.verify()?))?;
    drop(rig);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Injects into every sync of a process from now on.
fn attach(weir: &Weir, effect: &str) -> anyhow::Result<Child> {
    let inject = format!("inject=fsync,fdatasync:{effect}");
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-p", &weir.process.id().to_string()])
        .args(["-e", "trace=fsync,fdatasync", "-e", &inject])
        .stdin(Stdio::null())
        .spawn()
        .context("strace is missing")
}

/// A small disk fills up: calls in flight are settled, new priced ones are refused while those that
/// cost nothing and reads go on; with space it heals without a restart, and the books are right.
pub(super) fn full(plan: &Plan) -> anyhow::Result<()> {
    let folder = scratch("disk", plan.seed)?;
    let store = folder.join("store");
    std::fs::create_dir_all(&store)?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=48m", "weir-faults"])
        .arg(&store)
        .status()?;
    ensure!(mounted.success(), "a tmpfs cannot be mounted: this needs root");
    let outcome = (plan.from..plan.from + plan.rounds).try_for_each(|round| {
        let emptied =
            std::fs::read_dir(&store)?.try_for_each(|file| std::fs::remove_file(file?.path()));
        emptied?;
        on_small_disk(plan, &folder, round)
    });
    let unmounted = Command::new("umount").arg(&store).status()?;
    outcome?;
    ensure!(unmounted.success(), "the tmpfs cannot be unmounted");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn on_small_disk(plan: &Plan, folder: &Path, round: u64) -> anyhow::Result<()> {
    let rig = Rig::new(&plan.binary, folder.to_owned(), "1000")?;
    let auditor = Auditor::default();
    let weir = rig.serve(&[])?;
    ensure!(auditor.pay(&rig, &weir, "first".to_owned()) == 200, "a call fails");
    let filler = folder.join("store/filler");
    let (rig_of, weir_of, auditor_of) = (&rig, &weir, &auditor);
    let number = std::thread::scope(|scope| {
        let running: Vec<_> = (0..8)
            .map(|stream| {
                let id = format!("running{stream}");
                scope.spawn(move || auditor_of.stream(rig_of, weir_of, id, (150, 20)))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        // The file takes what there is; that it cannot be written whole is the point.
        let _full = std::fs::write(&filler, vec![1_u8; 64 << 20]);
        let mut number = 0;
        within(Duration::from_secs(60), "a priced call is refused", || {
            number += 1;
            auditor.pay(&rig, &weir, format!("full{number}")) == 503
        })?;
        for stream in running {
            let watched = stream.join().ok().context("a client panics")?;
            ensure!(watched.done.is_some(), "a stream that was in flight has no end: {watched:?}");
        }
        anyhow::Ok(number)
    })?;
    ensure!(rig.look(&weir).status < 500, "a call that costs nothing is refused");
    let read =
        call(weir.data, "GET /weir/v1/wallet/entries", std::slice::from_ref(&rig.bearer), "");
    ensure!(read.status == 200, "reading is refused by {}", read.status);
    let refused = rig.pay(&weir, "refused");
    ensure!(refused.status == 503, "a new priced call is answered {}", refused.status);
    ensure!(refused.header("retry-after").is_some(), "no Retry-After: {refused:?}");
    std::fs::remove_file(&filler)?;
    let mut later = 0;
    within(Duration::from_secs(60), "it heals", || {
        later += 1;
        auditor.pay(&rig, &weir, format!("healed{later}")) == 200
    })?;
    let found = auditor.audit(&rig, &weir)?;
    let withheld = found.unacknowledged_charged;
    ensure!(withheld == 0, "{withheld} calls are charged whose answer was withheld");
    drop(weir);
    let books = rig.verify()?;
    say(&format!(
        "round {round}: full after {number} calls, 8 streams in flight settled, healed; {found}; {books}"
    ))?;
    Ok(())
}

const SLOW: Duration = Duration::from_millis(400);
