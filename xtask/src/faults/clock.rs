//! A wall clock that jumps, under a running process and between two.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::kill::scratch;
use super::plan::Plan;
use super::rig::{Rig, Weir};
use crate::step::say;

/// The wall clock steps by an hour both ways, by 30 days and to 1970, while the process runs and
/// while it does not: no hold is lost or revived, no credit lost, no window opened or frozen.
pub(super) fn steps(plan: &Plan) -> anyhow::Result<()> {
    let library = library().context("libfaketime is missing: apt-get install faketime")?;
    let folder = scratch("clock", plan.seed)?;
    let rig = Rig::new(&plan.binary, folder.clone(), "50")?;
    let clock = folder.join("clock");
    std::fs::write(&clock, "+0\n")?;
    let preload = format!("LD_PRELOAD={}", library.display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", clock.display());
    let under = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    let weir = rig.serve(&under)?;
    let path = |what: &str| format!("accounts/{}/{what}", rig.account);
    // Later than any of the jumps: nothing may expire by them.
    for days in [45, 60] {
        let expires = after(days)?;
        let body = format!(r#"{{"amount":"20","category":"promo","expires_at":"{expires}"}}"#);
        weir.operator("POST", &path("wallet/top-ups"), &body)?;
    }
    let made = |expires_in: &str| -> anyhow::Result<String> {
        let body = format!(r#"{{"amount":"5","expires_in":"{expires_in}","reference":"job"}}"#);
        let hold = weir.operator("POST", &path("holds"), &body)?.json();
        Ok(hold["id"].as_str().context("no hold")?.to_owned())
    };
    let (short, gone, _long) = (made("10m")?, made("1d")?, made("60d")?);
    weir.operator("POST", &format!("holds/{gone}/void"), "{}")?;
    let before = window(&rig, &weir)?;
    for ((name, shift), looks) in SHIFTS.into_iter().zip(1..) {
        std::fs::write(&clock, format!("{shift}\n"))?;
        std::thread::sleep(LOOK);
        let when = format!("while it runs: {name}");
        check(&rig, &weir, &gone, &when)?;
        // Each round looks twice: the window neither ended nor moved, and counts on.
        let now = window(&rig, &weir)?;
        ensure!(now == (before.0 - 2 * looks, before.1), "{when}: {now:?} after {before:?}");
    }
    drop(weir);
    for (name, shift) in SHIFTS {
        std::fs::write(&clock, format!("{shift}\n"))?;
        let weir = rig.serve(&under)?;
        std::thread::sleep(LOOK);
        check(&rig, &weir, &gone, &format!("between two starts: {name}"))?;
        drop(weir);
        rig.verify()?;
    }
    std::fs::write(&clock, "+0\n")?;
    let weir = rig.serve(&under)?;
    let settle = format!("holds/{short}/settle");
    let settled = weir.operator("POST", &settle, r#"{"amount":"4"}"#)?.json();
    ensure!(settled["status"] == "settled", "{settled}");
    drop(weir);
    say(&format!("the hold of ten minutes is settled after all of it; {}", rig.verify()?))?;
    drop(rig);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// What a call leaves of the limit on reads, and when its window ends.
fn window(rig: &Rig, weir: &Weir) -> anyhow::Result<(u64, u64)> {
    let reply = rig.look(weir);
    let number = |name: &str| -> anyhow::Result<u64> {
        let told = reply.header(name).with_context(|| format!("no {name}"))?;
        Ok(told.parse()?)
    };
    Ok((number("x-ratelimit-remaining")?, number("x-ratelimit-reset")?))
}

fn check(rig: &Rig, weir: &Weir, gone: &str, when: &str) -> anyhow::Result<()> {
    let wallet = rig.wallet(weir)?;
    ensure!(wallet["balance"] == "90.00" && wallet["held"] == "10.00", "{when}: {wallet}");
    let holds = weir.operator("GET", &format!("accounts/{}/holds", rig.account), "")?.json();
    for hold in holds["data"].as_array().context("no holds")? {
        let expected = if hold["id"] == gone { "voided" } else { "open" };
        ensure!(hold["status"] == expected, "{when}: {hold}");
    }
    ensure!(rig.look(weir).status < 500, "{when}: a call fails");
    say(&format!("{when}: 90.00 in the wallet, two holds of 5.00 open, one voided"))
}

/// So many days from now, as the API writes times.
fn after(days: u32) -> anyhow::Result<String> {
    let asked = format!("+{days} days");
    let output = Command::new("date").args(["-u", "-d", &asked, "+%FT%TZ"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The library that tells a process another time, where Debian puts it.
pub(super) fn library() -> Option<PathBuf> {
    let places = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let inside = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    inside.into_iter().find(|path| path.is_file())
}

const LOOK: Duration = Duration::from_millis(1_500);
const SHIFTS: [(&str, &str); 4] = [
    ("an hour on", "+3600"),
    ("an hour back", "-3600"),
    ("30 days on", "+2592000"),
    ("1970", "@1970-01-02 00:00:00"),
];
