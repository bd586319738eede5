//! Clients that go away and upstreams that fail, each at a random point of a random call.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::auditor::nano;
use super::kill::scratch;
use super::plan::{Draw, Plan};
use super::rig::{Customer, Rig, Weir, within};
use super::shapes::{Shape, estimated, shop};
use super::wire::{Watched, call, now, sent, watch};
use crate::step::say;

/// How a call comes to its end.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Nothing happens to it.
    Whole,
    /// Its client goes away before anything came back.
    GoneAtOnce,
    /// Its client goes away after so many events of a stream.
    GoneAfter(usize),
    /// The upstream refuses it.
    Status(u64),
    /// The upstream breaks off after so many chunks.
    Breaks(u64),
    /// The upstream says nothing more after so many chunks.
    Silent(u64),
    /// The upstream never answers.
    Mute,
}

/// A random call.
#[derive(Clone, Copy, Debug)]
struct Case {
    shape: Shape,
    house: &'static str,
    stream: bool,
    usage: &'static str,
    tokens: u64,
    pace_ms: u64,
    fate: Fate,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    gone: u64,
    failed: u64,
    /// Charged by less or more than all of it.
    partly: u64,
    /// From the client's going to the end of the hold, at worst.
    held_ms: u128,
}

/// In each round eight customers make twelve calls each, one after another; each is charged by what
/// the contract says, the upstream is asked once at most, and nothing stays held.
pub(super) fn anywhere(plan: &Plan) -> anyhow::Result<()> {
    for round in plan.from..plan.from + plan.rounds {
        let folder = scratch("hangups", plan.seed + round)?;
        let rig = Rig::selling(&plan.binary, folder.clone(), "1", &shop(&HOUSES))?;
        let weir = rig.serve(&[])?;
        let outcomes = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (rig, weir) = (&rig, &weir);
                    let draw = Draw::new(plan.seed + (round << 8) + client);
                    scope.spawn(move || calls(rig, weir, draw, client))
                })
                .collect();
            let joined = clients.into_iter().map(|client| client.join().ok().context("a panic")?);
            joined.collect::<anyhow::Result<Vec<_>>>()
        })?;
        let stats = || call(rig.upstream, "GET /__mock/stats", &[], "").json();
        within(PATIENCE, "the upstream has no call open", || stats()["open"] == 0)?;
        let sum = outcomes.into_iter().fold(Ended::default(), |sum, one| Ended {
            gone: sum.gone + one.gone,
            failed: sum.failed + one.failed,
            partly: sum.partly + one.partly,
            held_ms: sum.held_ms.max(one.held_ms),
        });
        drop(weir);
        let (books, Ended { gone, failed, partly, held_ms }) = (rig.verify()?, sum);
        say(&format!(
            "round {round}: {} calls, {gone} clients gone, {failed} upstreams failed, {partly} charged \
             in part; nothing held {held_ms} ms after a client went, at worst; {books}",
            CLIENTS * CALLS
        ))?;
        drop(rig);
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// The calls of one customer; then what each cost, by the ledger.
fn calls(rig: &Rig, weir: &Weir, mut draw: Draw, client: u64) -> anyhow::Result<Ended> {
    let customer = weir.customer("1000")?;
    let mut ended = Ended::default();
    let mut tried = BTreeMap::new();
    for number in 0..CALLS {
        let case = Case::draw(&mut draw);
        let id = format!("c{client}n{number}");
        let may = case
            .tried(rig, weir, &customer, &id, &mut draw, &mut ended)
            .with_context(|| format!("{id}: {case:?}"))?;
        tried.insert(id, (case, may));
    }
    // A whole call more: whatever was charged before it is stored before it.
    let last = Case { fate: Fate::Whole, stream: false, ..Case::draw(&mut draw) };
    last.made(weir, &customer, "last", || Ok(()))?;
    let charges = charges(weir, &customer)?;
    for (id, (case, may)) in &tried {
        let (cost, times) = charges.get(id).copied().unwrap_or_default();
        ensure!(times <= 1, "{id} is charged {times} times: {case:?}");
        ensure!(may.contains(&cost), "{id} cost {cost} tokens instead of {may:?}: {case:?}");
        ended.partly += u64::from(cost > 0 && cost < case.tokens);
    }
    Ok(ended)
}

impl Case {
    fn draw(draw: &mut Draw) -> Self {
        let shape = Shape::draw(draw);
        let stream = draw.below(4) > 0;
        let point = draw.below(25);
        let fate = match draw.below(10) {
            0 => Fate::Whole,
            1..=3 if stream => Fate::GoneAfter(1 + usize::try_from(point).unwrap_or(0)),
            1..=4 => Fate::GoneAtOnce,
            5 => Fate::Status(*draw.of(&[400, 404, 429, 500, 503])),
            6..=7 if stream => Fate::Breaks(point),
            8 if stream => Fate::Silent(point),
            9 => Fate::Mute,
            _ => Fate::Whole,
        };
        let (house, _) = *draw.of(&HOUSES);
        let usage = *draw.of(&["exact", "none", "every-chunk"]);
        let short = matches!(fate, Fate::Whole) || house == DRAINING || !stream;
        let tokens = if short { 20 + draw.below(40) } else { 400 };
        Self { shape, house, stream, usage, tokens, pace_ms: 2 + draw.below(10), fate }
    }

    /// Makes the call and waits until nothing is held for it; what it may cost, in tokens.
    fn tried(
        &self,
        rig: &Rig,
        weir: &Weir,
        customer: &Customer,
        id: &str,
        draw: &mut Draw,
        ended: &mut Ended,
    ) -> anyhow::Result<RangeInclusive<u64>> {
        let path = self.shape.path(self.house, id);
        let reached = || {
            let stats = call(rig.upstream, "GET /__mock/stats", &[], "").json();
            stats["by_path"][&path].as_u64().unwrap_or(0)
        };
        let began = now();
        let watched = self.made(weir, customer, id, || {
            within(PATIENCE, "it reaches the upstream", || reached() == 1)?;
            std::thread::sleep(Duration::from_millis(draw.below(60)));
            Ok(())
        })?;
        let gone = now();
        let free = || weir.wallet(&customer.account).is_ok_and(|wallet| wallet["held"] == "0.00");
        within(PATIENCE, "nothing is held", free)?;
        let went = matches!(self.fate, Fate::GoneAtOnce | Fate::GoneAfter(_));
        if went && self.stream && self.house != DRAINING {
            ended.held_ms = ended.held_ms.max(gone.elapsed().as_millis());
            ensure!(gone.elapsed() < HELD_MAX, "held for {:?} after its client", gone.elapsed());
        }
        let asked = reached();
        ensure!(asked == 1, "the upstream was asked {asked} times");
        ended.gone += u64::from(went);
        ended.failed += u64::from(!went && !matches!(self.fate, Fate::Whole));
        Ok(self.may_cost(&watched, began))
    }

    /// Makes the call up to where its client goes away; what came of it until then.
    fn made(
        &self,
        weir: &Weir,
        customer: &Customer,
        id: &str,
        on_its_way: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Watched> {
        let line = self.shape.line(self.house, id);
        let mut headers = vec![
            customer.bearer.clone(),
            format!("x-request-id: {id}"),
            format!("x-mock-tokens: {}", self.tokens),
            format!("x-mock-chunk-delay-ms: {}", self.pace_ms),
            format!("x-mock-usage: {}", self.usage),
        ];
        headers.extend(match self.fate {
            Fate::GoneAtOnce => Some("x-mock-delay-ms: 400".to_owned()),
            Fate::Status(status) => Some(format!("x-mock-status: {status}")),
            Fate::Breaks(chunks) => Some(format!("x-mock-break: after-{chunks}-chunks")),
            Fate::Silent(chunks) => Some(format!("x-mock-hang: after-{chunks}")),
            Fate::Mute => Some("x-mock-hang: before-head".to_owned()),
            Fate::Whole | Fate::GoneAfter(_) => None,
        });
        let body = self.shape.body(self.stream, 4_000);
        match self.fate {
            Fate::GoneAtOnce => {
                let line = sent(weir.data, &line, &headers, &body)?;
                on_its_way()?;
                drop(line);
                Ok(Watched::default())
            }
            Fate::GoneAfter(events) => Ok(watch(weir.data, &line, &headers, &body, events)),
            _ if self.stream => Ok(watch(weir.data, &line, &headers, &body, usize::MAX)),
            _ => {
                let status = call(weir.data, &line, &headers, &body).status;
                Ok(Watched { status, ..Watched::default() })
            }
        }
    }

    /// What it may cost, in tokens.
    fn may_cost(&self, watched: &Watched, began: Instant) -> RangeInclusive<u64> {
        let whole = match (self.usage, self.house) {
            ("none", "free") => 0..=0,
            // By what was held: a whole answer for its bound, a stream for what it got to.
            ("none", "hold") => self.tokens..=4_000,
            ("none", _) => estimated(self.tokens),
            _ => self.tokens..=self.tokens,
        };
        let passed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let made_at_most = self.tokens.min(passed / self.pace_ms + 2);
        let seen = u64::try_from(watched.output.len()).unwrap_or(u64::MAX);
        let preamble = u64::try_from(self.shape.preamble).unwrap_or(0);
        match self.fate {
            Fate::Whole => whole,
            Fate::Status(_) | Fate::Mute => 0..=0,
            Fate::GoneAtOnce | Fate::GoneAfter(_) if !self.stream => whole,
            // One that is drained ends by itself, and is charged as if nobody had gone.
            Fate::GoneAtOnce | Fate::GoneAfter(_) if self.house == DRAINING => whole,
            Fate::GoneAtOnce | Fate::GoneAfter(_) => {
                *estimated(seen).start()..=*estimated(made_at_most).end()
            }
            Fate::Breaks(chunks) | Fate::Silent(chunks) => {
                let tokens = chunks.saturating_sub(preamble);
                // With usage in an event of its own a token takes two.
                *estimated(tokens / 2).start()..=*estimated(chunks).end()
            }
        }
    }
}

/// What was charged by the calls' ids: how much, in tokens, and how often.
fn charges(weir: &Weir, customer: &Customer) -> anyhow::Result<BTreeMap<String, (u64, usize)>> {
    let mut charges: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    for entry in weir.entries(&customer.account, usize::MAX)? {
        if entry["kind"] != "top_up" {
            ensure!(entry["kind"] == "charge", "{entry}");
            let id = entry["reference"].as_str().unwrap_or_default().to_owned();
            let (tokens, times) = charges.entry(id).or_default();
            *tokens += nano(entry["amount"].as_str().unwrap_or_default())? / TOKEN;
            *times += 1;
        }
    }
    Ok(charges)
}

const CLIENTS: u64 = 8;
const CALLS: u64 = 12;
/// What a token costs, in nano units.
const TOKEN: u64 = 1_000_000;
const DRAINING: &str = "drain";
const HOUSES: [(&str, &str); 4] = [
    ("stop", ""),
    (DRAINING, "on_disconnect = \"drain\""),
    ("free", "on_missing_usage = \"free\""),
    ("hold", "on_missing_usage = \"hold\""),
];
const PATIENCE: Duration = Duration::from_secs(20);
/// A second, and a machine that is busy with something else.
const HELD_MAX: Duration = Duration::from_millis(2_500);
