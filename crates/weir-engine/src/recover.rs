//! Streams that a crash cut off: charged up to their last checkpoint.

use serde::{Deserialize, Serialize};
use weir_core::id::{KeyId, PolicyNumber};
use weir_core::ledger::{Call, Flags};
use weir_core::money::Nano;
use weir_core::price::Period;
use weir_core::usage::{Meter, Usage};
use weir_store::op::{Checkpoint, Op, Urgency};

use crate::engine::Engine;
use crate::running::Running;

/// What a checkpoint keeps.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct CheckpointRow {
    request_id: Box<str>,
    key: u64,
    route: Box<str>,
    model: Box<str>,
    price: Box<str>,
    usage: Vec<u64>,
    held: i64,
}

impl CheckpointRow {
    pub(crate) fn of(running: &Running, usage: &Usage) -> Self {
        Self {
            request_id: running.request_id.clone(),
            key: running.facts.key.map_or(0, |key| key.0),
            route: running.facts.route.clone(),
            model: running.facts.model.clone(),
            price: running.facts.price.clone(),
            usage: Meter::ALL.map(|meter| usage.of(meter)).to_vec(),
            held: running.facts.held.get(),
        }
    }

    fn usage(&self) -> Usage {
        let known = Meter::ALL.into_iter().zip(&self.usage);
        known
            .fold(Usage::NONE, |usage, (meter, amount)| usage.with(meter, *amount))
            .with(Meter::Request, 1)
    }
}

impl Engine {
    /// Charges the streams that were running when the process died. The charge and the end of the
    /// checkpoint are one commit, so that a crash in here charges none twice.
    pub(crate) fn charge_interrupted(&self, checkpoints: Vec<Checkpoint>) {
        for checkpoint in checkpoints {
            let ops = match serde_json::from_str(&checkpoint.body) {
                Ok(row) => self.recovered_charge(&checkpoint, &row),
                Err(error) => {
                    tracing::error!(%error, call = checkpoint.call.0, "a checkpoint is damaged");
                    None
                }
            };
            if ops.is_none() {
                let drop_it = vec![Op::DropCheckpoint(checkpoint.call)];
                drop(self.journal.commit(Urgency::Settlement, drop_it));
            }
        }
    }

    fn recovered_charge(&self, checkpoint: &Checkpoint, row: &CheckpointRow) -> Option<()> {
        let cell = self.account(checkpoint.account)?;
        let policy = self.policy();
        let mut live = cell.live.lock();
        let now = live.account.observe(self.now());
        let usage = row.usage();
        let before = self.totals(&live, Some(&row.price), now);
        let contract = live.contract.clone();
        let offer = policy.prices().offer(&row.price, contract.as_deref(), now).ok()?;
        let charge = offer.charge(&usage, &before).ok()?;
        live.totals.add(&row.price, &usage, Period::Month.start(now));
        let call = Call {
            key: Some(KeyId(row.key)),
            route: row.route.clone(),
            model: row.model.clone(),
            price: row.price.clone(),
            usage,
            pico: charge.pico,
            held: Nano::new(row.held),
            flags: Flags::ESTIMATED.and(Flags::RECOVERED),
        };
        self.touch(&cell);
        let mut turn = self.journal.turn();
        let settlement = live.account.wallet.charge(charge.amount, now, &mut || turn.seq());
        let mut ops = vec![Op::DropCheckpoint(checkpoint.call)];
        for posting in settlement.postings {
            live.levels.burn.record(-posting.amount, now);
            live.last_entry = posting.seq;
            let call = Some(Box::new(call.clone()));
            let number: PolicyNumber = policy.number();
            ops.push(Op::Append(posting.into_entry(cell.id, &row.request_id, number, None, call)));
        }
        self.read_levels(&mut live, cell.id, now, &mut ops);
        drop(turn.commit(Urgency::Settlement, ops));
        Some(())
    }
}
