//! What clients intended and what they were told, held against the ledger.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};

use super::rig::{Rig, Weir};
use super::wire::call;

/// Intents before they are sent, with whether a whole answer came.
#[derive(Debug, Default)]
pub(super) struct Auditor(Mutex<BTreeMap<String, bool>>);

/// What an audit found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) intended: usize,
    pub(super) acknowledged: usize,
    /// Charged although no whole answer came: each wholly, and once.
    pub(super) unacknowledged_charged: usize,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { intended, acknowledged, unacknowledged_charged } = self;
        write!(
            f,
            "{intended} intended, {acknowledged} acknowledged and each charged once, \
             {unacknowledged_charged} charged once though unacknowledged"
        )
    }
}

impl Auditor {
    /// Makes a priced call: notes it before it is sent, and its outcome after.
    pub(super) fn pay(&self, rig: &Rig, weir: &Weir, id: String) -> u16 {
        self.note(&id, false);
        let reply = rig.pay(weir, &id);
        if (200..300).contains(&reply.status) && reply.complete {
            self.note(&id, true);
        }
        reply.status
    }

    fn note(&self, id: &str, told: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), told);
    }

    /// Every acknowledged call is charged once, every other at most once, and nothing else is.
    pub(super) fn audit(&self, rig: &Rig, weir: &Weir) -> anyhow::Result<Found> {
        let mut charged: BTreeMap<String, usize> = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let line = format!("GET /weir/v1/wallet/entries?limit=200{cursor}");
            let page = call(weir.data, &line, &[rig.bearer.clone()], "").json();
            for entry in page["data"].as_array().context("no entries")? {
                if entry["kind"] == "charge" {
                    ensure!(entry["amount"] == "-0.01", "another amount: {entry}");
                    let id = entry["reference"].as_str().unwrap_or_default();
                    *charged.entry(id.to_owned()).or_default() += 1;
                }
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let intents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Found { intended: intents.len(), ..Found::default() };
        for (id, told) in intents.iter() {
            let times = charged.remove(id).unwrap_or(0);
            ensure!(times <= 1, "{id} is charged {times} times");
            ensure!(!told || times == 1, "{id} was acknowledged and is not charged");
            found.acknowledged += usize::from(*told);
            found.unacknowledged_charged += usize::from(!told && times == 1);
        }
        ensure!(charged.is_empty(), "charged, but never intended: {charged:?}");
        Ok(found)
    }
}
