//! Usage that was metered elsewhere: GPU hours, jobs, storage. Priced and charged once per event.

use std::collections::HashSet;
use std::sync::Arc;

use weir_core::id::Seq;
use weir_core::ledger::{Call, EntryKind, Flags};
use weir_core::money::Nano;
use weir_core::price::Period;
use weir_core::usage::Usage;
use weir_store::commit::Commit;
use weir_store::error::{CommitError, ReadError};
use weir_store::op::{Once, Op, Urgency};
use weir_store::read::Reader;

use crate::cell::AccountCell;
use crate::change::ChangeError;
use crate::engine::Engine;

/// Something that was used.
#[derive(Clone, Debug)]
pub struct UsageEvent {
    /// Who metered it.
    pub source: String,
    /// The event's id there: with the source it is unique for ever.
    pub id: String,
    /// Who pays.
    pub account: Arc<AccountCell>,
    /// By which price it is charged.
    pub by: PricedBy,
    /// How much was used.
    pub usage: Usage,
}

/// How the price of an event is found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PricedBy {
    /// The price of that name.
    Price(String),
    /// The price of that model.
    Model(String),
}

/// What became of an event.
#[derive(Clone, Copy, Debug)]
pub enum EventTaken {
    /// It was charged.
    Posted(EventCharge),
    /// It was taken before.
    Before,
}

/// What an event was charged.
#[derive(Clone, Copy, Debug)]
pub struct EventCharge {
    /// The first entry; `None`: the account's plan is not charged.
    pub entry: Option<Seq>,
    /// How much; what it would have been on a plan that is not charged.
    pub amount: Nano,
}

impl Engine {
    /// Charges events by the prices that each account has now, each event once. Limits are not
    /// touched. What the wallet does not cover becomes debt: the work is done. Each has its own
    /// outcome, in the order of the events; all are durable when this returns.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unreadable`]; nothing was charged. Of a single event: an unknown price, a
    /// meter without a rate, nonsense beyond all amounts, the store.
    pub async fn take_usage(
        &self,
        events: &[UsageEvent],
    ) -> Result<Vec<Result<EventTaken, ChangeError>>, ChangeError> {
        let _turn = self.changes.lock().await;
        let names: Vec<_> =
            events.iter().map(|event| (source(&event.source), event.id.clone())).collect();
        let ask = move |reader: Reader| -> Result<Vec<bool>, ReadError> {
            names.iter().map(|(source, id)| Ok(reader.once(source, id)?.is_some())).collect()
        };
        let known = self.read(ask).await?;
        let mut seen = HashSet::new();
        let mut pending = Vec::with_capacity(events.len());
        for (event, known) in events.iter().zip(known) {
            pending.push(match known || !seen.insert((&event.source, &event.id)) {
                true => Ok(None),
                false => self.charge_event(event).map(Some),
            });
        }
        let mut taken = Vec::with_capacity(pending.len());
        for one in pending {
            taken.push(match one {
                Ok(None) => Ok(EventTaken::Before),
                Ok(Some((commit, charge))) => durable(commit, charge).await,
                Err(why) => Err(why),
            });
        }
        for (event, taken) in events.iter().zip(&taken) {
            if matches!(taken, Ok(EventTaken::Posted(EventCharge { entry: None, .. }))) {
                self.count_uncharged(event);
            }
            self.touch(&event.account);
        }
        Ok(taken)
    }

    /// Counts an event that left nothing in the ledger, from which usage of others is counted.
    fn count_uncharged(&self, event: &UsageEvent) {
        let model = match &event.by {
            PricedBy::Price(_) => "",
            PricedBy::Model(model) => model.as_str(),
        };
        let account = event.account.id;
        self.tallies.count_work(account, &self.policy(), model, &event.usage, self.now());
    }

    fn charge_event(&self, event: &UsageEvent) -> Result<(Commit, EventCharge), ChangeError> {
        let policy = self.policy();
        let cell = &event.account;
        let mut live = cell.live.lock();
        if !self.refresh(cell, &mut live, self.now()) {
            return Err(ChangeError::NotFound);
        }
        self.sound(cell)?;
        let now = live.account.observe(self.now());
        let contract = live.contract.clone();
        let (price, model) = match &event.by {
            PricedBy::Price(name) => (name.as_str(), ""),
            PricedBy::Model(model) => {
                (policy.price_name_of_model(model).unwrap_or(model), model.as_str())
            }
        };
        let offer = policy.prices().offer(price, contract.as_deref(), now).map_err(|_| {
            let (member, what) = match &event.by {
                PricedBy::Price(_) => ("data.price", "price"),
                PricedBy::Model(_) => ("data.model", "model with a price"),
            };
            ChangeError::invalid(member, format!("there is no {what} `{price}` for this account"))
        })?;
        if let Some((meter, _)) =
            event.usage.amounts().find(|(meter, _)| !offer.price.charges(*meter))
        {
            let why = format!("the price `{price}` has no rate for `{}`", meter.name());
            return Err(ChangeError::invalid("data.usage", why));
        }
        let before = self.totals(&live, Some(price), now);
        let charge = offer
            .charge(&event.usage, &before)
            .map_err(|why| ChangeError::invalid("data.usage", why))?;
        let once =
            Once { source: source(&event.source).into(), id: event.id.as_str().into(), at: now };
        let mut ops = vec![Op::Once(once)];
        if !live.account.entitlement.is_charged() {
            let commit = self.journal.commit(Urgency::Fresh, ops);
            return Ok((commit, EventCharge { entry: None, amount: charge.amount }));
        }
        live.totals.add(price, &event.usage, Period::Month.start(now));
        let call = Call {
            key: None,
            route: Box::default(),
            model: model.into(),
            price: price.into(),
            usage: event.usage,
            pico: charge.pico,
            held: Nano::ZERO,
            flags: Flags::default(),
        };
        let mut turn = self.journal.turn();
        let settlement = live.account.wallet.charge(charge.amount, now, &mut || turn.seq());
        let mut first = None;
        for posting in settlement.postings {
            if posting.kind == EntryKind::Debt {
                self.count_debt(-posting.amount);
            }
            first = first.or(Some(posting.seq));
            live.levels.burn.record(-posting.amount, now);
            live.last_entry = posting.seq;
            let (note, call) = (Some(event.source.as_str()), Some(Box::new(call.clone())));
            let entry = posting.into_entry(cell.id, &event.id, policy.number(), note, call);
            turn.recount(&policy, &entry);
            ops.push(Op::Append(entry));
        }
        self.read_levels(&mut live, cell.id, now, &mut ops);
        let charge = EventCharge { entry: first, amount: charge.amount - settlement.unposted };
        Ok((turn.commit(Urgency::Fresh, ops), charge))
    }
}

async fn durable(commit: Commit, charge: EventCharge) -> Result<EventTaken, ChangeError> {
    match commit.await {
        Ok(_) => Ok(EventTaken::Posted(charge)),
        Err(CommitError::AlreadyDone { .. }) => Ok(EventTaken::Before),
        Err(error) => Err(error.into()),
    }
}

/// Sources of events have a room of their own among all facts that count once.
fn source(name: &str) -> String {
    format!("usage:{name}")
}
