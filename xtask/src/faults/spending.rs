//! Spending by tokens at once: never beyond what there is, and refused only when it is gone.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::kill::scratch;
use super::plan::{Draw, Plan};
use super::rig::{Customer, Rig, Weir, within};
use super::shapes::{Shape, shop};
use super::wire::{call, watch};
use crate::step::say;

/// In each round calls over 256 connections on a random balance with a credit line, and streams at
/// once on a balance of as many real calls, whose bound is twenty times what they really use.
pub(super) fn at_once(plan: &Plan) -> anyhow::Result<()> {
    let (mut streams, mut short) = (0, 0);
    for round in plan.from..plan.from + plan.rounds {
        let folder = scratch("spending", plan.seed + round)?;
        let mut draw = Draw::new(plan.seed + (round << 8));
        let rig = Rig::selling(&plan.binary, folder.clone(), "1", &shop(&[("s", "")]))?;
        let weir = rig.serve(&[])?;
        let covered = metered(&rig, &weir, &mut draw)?;
        let tokens = 50 + draw.below(350);
        let shape = *draw.of(&Shape::exact());
        let refused = at_the_end(&weir, shape, tokens, &mut draw)?;
        (streams, short) = (streams + STREAMS, short + refused);
        drop(weir);
        say(&format!(
            "round {round}: {CONNECTIONS} connections, {covered} calls covered, {covered} made; of \
             {STREAMS} streams ({}, {tokens} tokens of {}) on a balance of {STREAMS} falsely refused \
             or stopped: {refused}; {}",
            shape.name,
            tokens * 20,
            rig.verify()?
        ))?;
        drop(rig);
        std::fs::remove_dir_all(folder)?;
    }
    say(&format!("false refusals: {short} of {streams} streams"))
}

/// Calls that hold and use a tenth each: exactly those that balance and credit line cover are made.
fn metered(rig: &Rig, weir: &Weir, draw: &mut Draw) -> anyhow::Result<u64> {
    let (paid, line) = (1 + draw.below(40), draw.below(20));
    let customer = weir.customer(&tenths(paid))?;
    let path = format!("accounts/{}/wallet", customer.account);
    weir.operator("PATCH", &path, &format!(r#"{{"credit_line":"{}"}}"#, tenths(line)))?;
    let shape = Shape::draw(draw);
    let statuses = std::thread::scope(|scope| {
        let customer = &customer;
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(move || {
                    let headers = [
                        customer.bearer.clone(),
                        "x-mock-tokens: 100".to_owned(),
                        "x-mock-delay-ms: 200".to_owned(),
                    ];
                    let line = shape.line("s", "metered");
                    call(weir.data, &line, &headers, &shape.body(false, 100)).status
                })
            })
            .collect();
        let joined = clients.into_iter().map(|client| client.join().ok().context("a panic"));
        joined.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count() as u64;
    let (made, refused, covered) = (count(200), count(402), paid + line);
    ensure!(made == covered && refused == CONNECTIONS - covered, "{made} made, {refused} refused");
    let stats = call(rig.upstream, "GET /__mock/stats", &[], "").json();
    let reached = &stats["by_path"][shape.path("s", "metered")];
    ensure!(*reached == covered, "{reached} reached the upstream, {covered} are covered");
    settled(weir, &customer, &format!("-{}", tenths(line)))?;
    Ok(covered)
}

/// Streams at once on a balance for as many: how many of them did not come to their end.
fn at_the_end(weir: &Weir, shape: Shape, tokens: u64, draw: &mut Draw) -> anyhow::Result<u64> {
    let credit = tokens * STREAMS;
    let customer = weir.customer(&format!("{}.{:03}", credit / 1_000, credit % 1_000))?;
    let paces: Vec<u64> = (0..STREAMS).map(|_| 1 + draw.below(10)).collect();
    let ended = std::thread::scope(|scope| {
        let customer = &customer;
        let clients: Vec<_> = paces
            .into_iter()
            .map(|pace| {
                scope.spawn(move || {
                    let headers = [
                        customer.bearer.clone(),
                        format!("x-mock-tokens: {tokens}"),
                        format!("x-mock-chunk-delay-ms: {pace}"),
                        "x-mock-usage: every-chunk".to_owned(),
                    ];
                    let (line, body) = (shape.line("s", "end"), shape.body(true, tokens * 20));
                    watch(weir.data, &line, &headers, &body, usize::MAX)
                })
            })
            .collect();
        let joined = clients.into_iter().map(|client| client.join().ok().context("a panic"));
        joined.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let whole = ended.iter().filter(|one| one.output.len() as u64 == tokens).count() as u64;
    within(PATIENCE, "nothing is held", || {
        weir.wallet(&customer.account).is_ok_and(|wallet| wallet["held"] == "0.00")
    })?;
    let entries = weir.entries(&customer.account, usize::MAX)?;
    // What a stream produced beyond its end is charged all the same.
    let debt = entries.iter().find(|entry| entry["kind"] == "debt");
    ensure!(whole < STREAMS || debt.is_none(), "more was sold than there was: {debt:?}");
    Ok(STREAMS - whole)
}

/// Waits until nothing is held, and looks at the balance.
fn settled(weir: &Weir, customer: &Customer, balance: &str) -> anyhow::Result<()> {
    within(PATIENCE, "nothing is held", || {
        weir.wallet(&customer.account).is_ok_and(|wallet| wallet["held"] == "0.00")
    })?;
    let wallet = weir.wallet(&customer.account)?;
    let balance = if balance == "-0.00" { "0.00" } else { balance };
    ensure!(wallet["balance"] == balance, "{balance} should be left: {wallet}");
    Ok(())
}

fn tenths(count: u64) -> String {
    format!("{}.{}0", count / 10, count % 10)
}

const CONNECTIONS: u64 = 256;
const STREAMS: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(20);
