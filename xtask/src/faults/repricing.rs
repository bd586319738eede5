//! Prices that change under load, and books that are worked out again from their records.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::auditor::nano;
use super::kill::scratch;
use super::plan::{Draw, Plan};
use super::rig::{Rig, Weir, within};
use super::wire::{call, watch};
use crate::step::say;

/// In each round prices change twelve times while calls and streams run, by a request, a signal or
/// the file alone, with broken files in between. Each charge is by one published price, all charges
/// under a policy by the same, and together they are what the balance has lost.
pub(super) fn under_load(plan: &Plan) -> anyhow::Result<()> {
    for round in plan.from..plan.from + plan.rounds {
        let folder = scratch("repricing", plan.seed + round)?;
        let mut draw = Draw::new(plan.seed + (round << 8));
        let mut published = vec![price(&mut draw, 0)];
        let rig = Rig::selling(&plan.binary, folder.clone(), "1000000", &config(published[0]))?;
        let weir = rig.serve(&[])?;
        let (stop, sold) = (AtomicBool::new(false), AtomicU64::new(0));
        let changed = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (rig, weir, stop, sold) = (&rig, &weir, &stop, &sold);
                    scope.spawn(move || buy(rig, weir, stop, sold, client))
                })
                .collect();
            let changed = (1..=CHANGES).try_for_each(|change| {
                std::thread::sleep(Duration::from_millis(draw.below(150)));
                let value = price(&mut draw, change);
                publish(&rig, &weir, &mut draw, *published.last().unwrap_or(&1), value)?;
                published.push(value);
                anyhow::Ok(())
            });
            stop.store(true, Ordering::Relaxed);
            let bought = clients.into_iter().map(|client| client.join().ok().context("a panic")?);
            changed.and(bought.collect::<anyhow::Result<Vec<()>>>())
        });
        changed?;
        let entries = weir.entries(&rig.account, usize::MAX)?;
        let wallet = rig.wallet(&weir)?;
        let (policies, spent) = audited(&entries, &published)?;
        let left = nano(wallet["balance"].as_str().context("no balance")?)?;
        ensure!(left + spent == CREDIT, "{spent} nano by the records, and there is {wallet}");
        let (charges, sold) = (entries.len() - 1, sold.into_inner());
        ensure!(charges as u64 == sold, "{charges} charges of {sold} calls");
        drop(weir);
        say(&format!(
            "round {round}: {charges} charges under {policies} policies and {} prices, {spent} nano \
             by the records and by the balance; {}",
            published.len(),
            rig.verify()?
        ))?;
        drop(rig);
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Calls and streams until told to stop; none may fail.
fn buy(
    rig: &Rig,
    weir: &Weir,
    stop: &AtomicBool,
    sold: &AtomicU64,
    client: u64,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let status = if client < CALLERS {
            rig.pay(weir, "call").status
        } else {
            let tokens = 5 + sold.load(Ordering::Relaxed) % 60;
            let knobs = ["x-mock-chunk-delay-ms: 5".to_owned(), format!("x-mock-tokens: {tokens}")];
            let headers = [&[rig.bearer.clone()][..], &knobs].concat();
            let body = r#"{"model":"m","stream":true,"max_tokens":4000,"messages":[]}"#;
            let watched = watch(weir.data, "POST /chat", &headers, body, usize::MAX);
            ensure!(watched.done.is_some(), "a stream has no end: {watched:?}");
            watched.status
        };
        ensure!((200..300).contains(&status), "answered {status} while prices change");
        sold.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Puts a price into the file and waits until it is in force; now and then a broken file before it,
/// which must change nothing.
fn publish(
    rig: &Rig,
    weir: &Weir,
    draw: &mut Draw,
    present: u64,
    value: u64,
) -> anyhow::Result<()> {
    let path = rig.folder.join("weir.toml");
    let before = number(weir)?;
    let text = std::fs::read_to_string(&path)?;
    let put = |text: &str| -> anyhow::Result<()> {
        let fresh = path.with_extension("fresh");
        std::fs::write(&fresh, text)?;
        Ok(std::fs::rename(&fresh, &path)?)
    };
    let key = format!("authorization: Bearer {}", super::rig::ADMIN_KEY);
    let reload =
        || call(weir.admin, "POST /admin/v1/config/reload", std::slice::from_ref(&key), "").status;
    if draw.below(3) == 0 {
        put(&text.replace(
            "[plans.payg]",
            draw.of::<&str>(&["[plans.pay]", "[plan.payg]", "[plans.payg"]),
        ))?;
        let status = reload();
        ensure!(status == 400, "a broken file is answered by {status}");
        ensure!(number(weir)? == before, "a broken file is in force");
    }
    put(&text.replace(&lines(present), &lines(value)))?;
    match draw.below(3) {
        0 => ensure!(reload() == 200, "a good file is refused"),
        1 => {
            let id = weir.process.id().to_string();
            ensure!(Command::new("kill").args(["-HUP", &id]).status()?.success(), "no signal");
        }
        // The file is watched.
        _ => {}
    }
    within(Duration::from_secs(20), "the price is in force", || {
        number(weir).is_ok_and(|number| number > before)
    })
}

/// The number of the policy in force.
fn number(weir: &Weir) -> anyhow::Result<u64> {
    weir.operator("GET", "config", "")?.json()["policy"].as_u64().context("no policy")
}

/// Works every charge out by its record: under how many policies there were charges, and what they
/// come to, in nano units.
fn audited(entries: &[Value], published: &[u64]) -> anyhow::Result<(usize, u64)> {
    let mut prices: BTreeMap<u64, usize> = BTreeMap::new();
    let mut spent = 0;
    for entry in entries.iter().filter(|entry| entry["kind"] != "top_up") {
        ensure!(entry["kind"] == "charge", "{entry}");
        let usage = &entry["call"]["usage"];
        let units = match entry["call"]["price"].as_str() {
            Some("call") => 1,
            _ => usage["output_tokens"].as_u64().context("no output")?,
        };
        let amount = nano(entry["amount"].as_str().unwrap_or_default())?;
        let which = published.iter().position(|price| units * price * MICRO == amount);
        let which = which.with_context(|| format!("no price was ever so: {entry}"))?;
        let policy = entry["policy"].as_u64().context("no policy")?;
        let known = *prices.entry(policy).or_insert(which);
        ensure!(known == which, "two prices under policy {policy}: {entry}");
        spent += amount;
    }
    ensure!(prices.values().is_sorted(), "an older price came back: {prices:?}");
    Ok((prices.len(), spent))
}

/// A price in millionths that no other change has.
fn price(draw: &mut Draw, change: u64) -> u64 {
    (1 + draw.below(900)) * 100 + change
}

fn lines(value: u64) -> String {
    format!("request = \"0.{value:06}\"\n\n[prices.m]\noutput_tokens = \"{value}.00/1M\"")
}

fn config(value: u64) -> String {
    format!("{SHOP}\n[prices.call]\n{}\n", lines(value))
}

const CLIENTS: u64 = 6;
const CALLERS: u64 = 4;
const CHANGES: u64 = 12;
const CREDIT: u64 = 1_000_000_000_000_000;
/// A millionth, in nano units.
const MICRO: u64 = 1_000;
const SHOP: &str = r#"
[plans.payg]
billing = "wallet"

[[routes]]
match = "POST /chat"
upstream = "mock"
usage = "openai"
price = "m"
hold_output_tokens = 100

[[routes]]
match = "PUT /clusters/*"
upstream = "mock"
price = "call"
"#;
