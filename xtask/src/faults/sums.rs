//! Many tiny charges, and a balance that swings around a threshold.

use anyhow::{Context, ensure};

use super::auditor::nano;
use super::kill::scratch;
use super::line::Line;
use super::plan::Plan;
use super::rig::{Rig, Weir};
use crate::step::say;

/// Ten thousand charges of 0.0000132 in each round: the sum is exact.
pub(super) fn tiny(plan: &Plan) -> anyhow::Result<()> {
    let folder = scratch("sums", plan.seed)?;
    let rig = Rig::new(&plan.binary, folder.clone(), "1000")?;
    let weir = rig.serve(&[])?;
    let each = plan.rounds * 10_000 / CLIENTS;
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| charge(&rig, &weir, each))).collect();
        clients.into_iter().try_for_each(|client| client.join().ok().context("a panic")?)
    })?;
    let wallet = rig.wallet(&weir)?;
    let left = nano(wallet["balance"].as_str().context("no balance")?)?;
    let spent = 1_000_000_000_000 - left;
    let count = each * CLIENTS;
    ensure!(spent == count * 13_200, "{count} charges of 13200 nano are {spent} nano");
    drop(weir);
    say(&format!("{count} charges of 0.0000132 are {spent} nano; {}", rig.verify()?))?;
    drop(rig);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Calls on one connection.
fn charge(rig: &Rig, weir: &Weir, count: u64) -> anyhow::Result<()> {
    let mut line = Line::open(weir.data)?;
    (0..count).try_for_each(|_| line.call("PUT /tiny/a", &rig.bearer))
}

/// A balance swings around a threshold: low and recovered alternate, one of each in each round,
/// and nothing is told of changes within the hysteresis.
pub(super) fn swing(plan: &Plan) -> anyhow::Result<()> {
    let folder = scratch("swing", plan.seed)?;
    let rig = Rig::new(&plan.binary, folder.clone(), "5.89")?;
    let weir = rig.serve(&[])?;
    let path = |what: &str| format!("accounts/{}/wallet/{what}", rig.account);
    for round in 0..plan.rounds {
        let down = r#"{"amount":"-0.88","reason":"swing"}"#;
        weir.operator("POST", &path("adjustments"), down)?;
        for call in 0..12 {
            ensure!(rig.pay(&weir, &format!("r{round}c{call}")).status == 200, "a call fails");
        }
        for _ in 0..5 {
            // Back to 5.00 and down again: two percent above it would be recovered.
            weir.operator("POST", &path("top-ups"), r#"{"amount":"0.05"}"#)?;
            let back = r#"{"amount":"-0.05","reason":"swing"}"#;
            weir.operator("POST", &path("adjustments"), back)?;
        }
        weir.operator("POST", &path("top-ups"), r#"{"amount":"1"}"#)?;
    }
    let mut levels = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = weir.operator("GET", &format!("events?limit=100{cursor}"), "")?.json();
        for event in page["data"].as_array().context("no events")? {
            let kind = event["type"].as_str().unwrap_or_default();
            if matches!(kind, "wallet.low" | "wallet.recovered") {
                levels.push(kind.to_owned());
            }
        }
        match page["data"].as_array().and_then(|data| data.last()?["id"].as_str()) {
            Some(last) => cursor = format!("&after={last}"),
            None => break,
        }
    }
    let alternate = levels.chunks(2).all(|pair| pair == ["wallet.low", "wallet.recovered"]);
    let expected = plan.rounds * 2;
    ensure!(alternate && levels.len() as u64 == expected, "{expected} expected: {levels:?}");
    drop(weir);
    say(&format!("{} swings, {} alerts in turn; {}", plan.rounds, levels.len(), rig.verify()?))?;
    drop(rig);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

const CLIENTS: u64 = 16;
