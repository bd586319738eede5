//! What clients intended and what they were told, held against the ledger.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, ensure};

use super::rig::{Rig, Weir};
use super::wire::{Watched, call};

/// Intents before they are sent, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Auditor(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    intents: BTreeMap<String, Intent>,
    /// The newest entry that was audited, and what is known of the intents before it.
    audited: Option<String>,
    found: Found,
}

#[derive(Clone, Debug)]
enum Intent {
    /// A call of a fixed price, and whether a whole answer came.
    Call(bool),
    /// A stream of so many tokens, as it was seen.
    Stream(u64, Watched),
}

/// What an audit found, since the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) intended: usize,
    pub(super) acknowledged: usize,
    /// Charged although no whole answer came: each wholly, and once.
    pub(super) unacknowledged_charged: usize,
    /// Streams that were cut off.
    cut: usize,
    /// How long before its end the output of a cut stream was charged to, at worst.
    lost_ms: u128,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { intended, acknowledged, unacknowledged_charged, cut, lost_ms } = self;
        write!(
            f,
            "{intended} intended, {acknowledged} acknowledged and each charged once, \
             {unacknowledged_charged} charged once though unacknowledged"
        )?;
        if *cut > 0 {
            write!(f, ", {cut} streams cut off and charged to at most {lost_ms} ms before")?;
        }
        Ok(())
    }
}

impl Auditor {
    /// Makes a priced call: notes it before it is sent, and its outcome after.
    pub(super) fn pay(&self, rig: &Rig, weir: &Weir, id: String) -> u16 {
        self.note(&id, Intent::Call(false));
        let reply = rig.pay(weir, &id);
        if (200..300).contains(&reply.status) && reply.complete {
            self.note(&id, Intent::Call(true));
        }
        reply.status
    }

    /// Makes a priced stream and watches it to its end; whether that came.
    pub(super) fn stream(
        &self,
        rig: &Rig,
        weir: &Weir,
        id: String,
        (tokens, pace_ms): (u64, u64),
    ) -> Watched {
        self.note(&id, Intent::Stream(tokens, Watched::default()));
        let watched = rig.stream(weir, &id, tokens, pace_ms);
        self.note(&id, Intent::Stream(tokens, watched.clone()));
        watched
    }

    fn note(&self, id: &str, intent: Intent) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.intents.insert(id.to_owned(), intent);
    }

    /// Every acknowledged call is charged once, every other at most once, and nothing else is.
    pub(super) fn audit(&self, rig: &Rig, weir: &Weir) -> anyhow::Result<Found> {
        self.audit_after(rig, weir, None)
    }

    /// The same after the process was killed at a time: streams were charged to about a second
    /// before it.
    pub(super) fn audit_after(
        &self,
        rig: &Rig,
        weir: &Weir,
        killed: Option<Instant>,
    ) -> anyhow::Result<Found> {
        // A call more: what a start charges for streams that were cut off is stored before it.
        self.pay(rig, weir, "audit".to_owned());
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut charged, newest) = charges(rig, weir, noted.audited.as_deref())?;
        let mut found = noted.found;
        for (id, intent) in std::mem::take(&mut noted.intents) {
            let (amount, times) = charged.remove(&id).unwrap_or((0, 0));
            ensure!(times <= 1, "{id} is charged {times} times");
            found.intended += 1;
            let told = match &intent {
                Intent::Call(told) => {
                    ensure!(times == 0 || amount == CALL, "{id} costs {amount} nano");
                    *told
                }
                Intent::Stream(tokens, watched) => {
                    let whole = tokens * TOKEN;
                    ensure!(amount <= whole, "{id} costs {amount} nano, whole it costs {whole}");
                    ensure!(
                        watched.done.is_none() || amount == whole,
                        "{id} ended and costs {amount} nano instead of {whole}"
                    );
                    if let (None, Some(killed)) = (watched.done, killed) {
                        let paid = usize::try_from(amount / TOKEN).unwrap_or(usize::MAX);
                        let unpaid = watched.output.get(paid);
                        let lost = unpaid.map_or(0, |at| killed.duration_since(*at).as_millis());
                        ensure!(lost <= LOST_MS_MAX, "{id} is charged to {lost} ms before its end");
                        found.cut += 1;
                        found.lost_ms = found.lost_ms.max(lost);
                    }
                    watched.done.is_some()
                }
            };
            ensure!(!told || times == 1, "{id} was acknowledged and is not charged");
            found.acknowledged += usize::from(told);
            found.unacknowledged_charged += usize::from(!told && times == 1);
        }
        ensure!(charged.is_empty(), "charged, but never intended: {charged:?}");
        noted.audited = newest.or(noted.audited.take());
        noted.found = found;
        Ok(found)
    }
}

/// The charges after an entry by their reference: what each amounts to in nano units, and how many
/// there are; and the newest entry.
type Charges = (BTreeMap<String, (u64, usize)>, Option<String>);

fn charges(rig: &Rig, weir: &Weir, after: Option<&str>) -> anyhow::Result<Charges> {
    let mut charged: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    let mut newest = None;
    let mut cursor = String::new();
    loop {
        let line = format!("GET /weir/v1/wallet/entries?limit=200{cursor}");
        let page = call(weir.data, &line, std::slice::from_ref(&rig.bearer), "").json();
        for entry in page["data"].as_array().context("no entries")? {
            let name = entry["id"].as_str().context("an entry without id")?;
            if after == Some(name) {
                return Ok((charged, newest));
            }
            newest.get_or_insert_with(|| name.to_owned());
            if entry["kind"] == "charge" {
                let id = entry["reference"].as_str().unwrap_or_default();
                let (amount, times) = charged.entry(id.to_owned()).or_default();
                *amount += nano(entry["amount"].as_str().unwrap_or_default())?;
                *times += 1;
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok((charged, newest)),
        }
    }
}

/// What a debit takes, in billionths.
pub(super) fn nano(text: &str) -> anyhow::Result<u64> {
    let (whole, part) = text.trim_start_matches('-').split_once('.').context("no decimal")?;
    Ok(whole.parse::<u64>()? * 1_000_000_000 + format!("{part:0<9}").parse::<u64>()?)
}

/// What a call of a fixed price costs, in nano units.
const CALL: u64 = 10_000_000;
/// What a token costs.
const TOKEN: u64 = 1_000_000;
/// A checkpoint each second, and a commit on a machine that is busy with something else.
const LOST_MS_MAX: u128 = 2_500;
