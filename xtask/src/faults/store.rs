//! A disk that fails and a disk that is full.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::auditor::Auditor;
use super::kill9::scratch;
use super::rig::{Rig, within};
use super::wire::call;

/// Every fsync fails from some moment on: nothing is acknowledged any more, calls that cost
/// nothing go on, and after a restart the books are right.
pub(super) fn failing_sync(binary: &Path) -> anyhow::Result<()> {
    let folder = scratch("eio", 0)?;
    let rig = Rig::new(binary, folder.clone(), "100")?;
    let auditor = Auditor::default();
    let mut weir = rig.serve(&[])?;
    for call in 0..20 {
        ensure!(auditor.pay(&rig, &weir, format!("before{call}")) == 200, "a call fails");
    }
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-p", &weir.process.id().to_string()])
        .args(["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO"])
        .stdin(Stdio::null())
        .spawn()
        .context("strace is missing")?;
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
    println!("fenced after {number} calls; /readyz {ready}; {found}; {}", rig.verify()?);
    drop(rig);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// A small disk fills up: priced calls are refused while calls that cost nothing go on; with space
/// it heals without a restart, and the books are right.
pub(super) fn full_disk(binary: &Path) -> anyhow::Result<()> {
    let folder = scratch("disk-full", 0)?;
    let store = folder.join("store");
    std::fs::create_dir_all(&store)?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=48m", "weir-faults"])
        .arg(&store)
        .status()?;
    ensure!(mounted.success(), "a tmpfs cannot be mounted: this needs root");
    let outcome = on_small_disk(binary, &folder);
    let unmounted = Command::new("umount").arg(&store).status()?;
    outcome?;
    ensure!(unmounted.success(), "the tmpfs cannot be unmounted");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn on_small_disk(binary: &Path, folder: &Path) -> anyhow::Result<()> {
    let rig = Rig::new(binary, folder.to_owned(), "1000")?;
    let auditor = Auditor::default();
    let weir = rig.serve(&[])?;
    ensure!(auditor.pay(&rig, &weir, "first".to_owned()) == 200, "a call fails");
    let filler = folder.join("store/filler");
    // The file takes what there is; that it cannot be written whole is the point.
    let _full = std::fs::write(&filler, vec![1_u8; 64 << 20]);
    let mut number = 0;
    within(Duration::from_secs(60), "a priced call is refused", || {
        number += 1;
        auditor.pay(&rig, &weir, format!("full{number}")) == 503
    })?;
    ensure!(rig.look(&weir).status < 500, "a call that costs nothing is refused");
    let refused = rig.pay(&weir, "refused");
    ensure!(refused.header("retry-after").is_some(), "no Retry-After: {refused:?}");
    std::fs::remove_file(&filler)?;
    let mut later = 0;
    within(Duration::from_secs(60), "it heals", || {
        later += 1;
        auditor.pay(&rig, &weir, format!("healed{later}")) == 200
    })?;
    let found = auditor.audit(&rig, &weir)?;
    drop(weir);
    println!("full after {number} calls, healed; {found}; {}", rig.verify()?);
    Ok(())
}
