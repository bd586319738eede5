//! Leave to make a call, and the duty to settle it once.

use std::sync::Arc;

use weir_core::account::Account;
use weir_core::admit::{Ask, Grant, Used, Views};
use weir_core::ledger::{Call, Flags};
use weir_core::money::Nano;
use weir_core::operation::RouteIndex;
use weir_core::policy::{OnMissingUsage, Policy, Route};
use weir_core::price::{Bound, Contract, Offer};
use weir_core::time::Timestamp;
use weir_core::usage::{Meter, Usage};
use weir_core::wallet::Hold;
use weir_store::op::{CallId, Urgency};

use crate::cell::{KeyCell, KeyState, Live};
use crate::change::ChangeError;
use crate::charging::{Charging, Withheld};
use crate::engine::Engine;
use crate::idempotency::{Claim, Claimed, Kept};
use crate::posting::ChargePosting;
use crate::running::Running;
use crate::tally::Counted;

/// Leave to make a call. Dropped before [`Ticket::sent`] it gives everything back; dropped after,
/// it settles by what was noted last.
#[derive(Debug)]
#[must_use = "a ticket is the duty to settle"]
pub struct Ticket(Option<Box<Open>>);

#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) engine: Arc<Engine>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) index: RouteIndex,
    pub(crate) key: Arc<KeyCell>,
    pub(crate) model: Option<Box<str>>,
    pub(crate) request_id: Box<str>,
    pub(crate) grant: Grant,
    pub(crate) price: Option<Box<str>>,
    pub(crate) contract: Option<Arc<Contract>>,
    pub(crate) charged: bool,
    pub(crate) urgent: bool,
    pub(crate) bound: Bound,
    pub(crate) output_max: Option<u64>,
    pub(crate) tokens: u64,
    pub(crate) worth: Nano,
    pub(crate) sent: bool,
    pub(crate) running: Option<Arc<Running>>,
    pub(crate) at: Timestamp,
    pub(crate) views: Views,
    pub(crate) available: Option<Nano>,
    pub(crate) clamped: Option<u64>,
    /// The idempotency key that the call was made under.
    pub(crate) claim: Option<Claim>,
    pub(crate) keep: Option<Keep>,
}

/// Makes the answer that is kept under an idempotency key, once the charge is known.
pub struct Keep(Box<dyn FnOnce(Nano) -> Kept + Send + Sync>);

impl Keep {
    /// From what the charge is told to.
    pub fn new(make: impl FnOnce(Nano) -> Kept + Send + Sync + 'static) -> Self {
        Self(Box::new(make))
    }
}

impl std::fmt::Debug for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keep")
    }
}

/// The credit does not cover more output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exhausted {
    /// What is available.
    pub available: Nano,
    /// Whether other calls hold credit, of which something may come free soon.
    pub shared: bool,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// What the upstream reported.
    pub reported: Option<Usage>,
    /// What it produced, as counted on the way.
    pub produced: Usage,
    /// Whether it is charged at all: not if the upstream answered with an error.
    pub free: bool,
    /// Whether it was broken off, by whomever: then nobody had the chance to report its usage.
    pub cut: bool,
    /// Whether nothing of its answer has left, nor will before the charge is durable: a charge
    /// that cannot be stored is given up then.
    pub withheld: bool,
    /// What was out of the ordinary.
    pub flags: Flags,
    /// The status that the client got.
    pub status: u16,
    /// From the call's arrival to the end of its answer, in milliseconds.
    pub latency_ms: u64,
    /// Bytes of its body that were passed on.
    pub request_bytes: u64,
    /// Bytes of the body of its answer.
    pub response_bytes: u64,
}

/// What settling came to.
#[derive(Debug)]
pub struct Settled {
    /// What was charged, on plans that are charged.
    pub charge: Option<Nano>,
    /// What the wallet has left, on plans that are charged.
    pub available: Option<Nano>,
    /// To be awaited before the client may see the call as complete.
    pub commit: Option<Charging>,
    /// What was used, as it is charged and counted.
    pub usage: Usage,
    /// What it cost, or would have cost on a plan that is not charged.
    pub worth: Nano,
    /// Where its limits stand now.
    pub views: Views,
    /// When it was settled.
    pub at: Timestamp,
}

/// Where limits and wallet stand after a call was given back.
#[derive(Debug)]
pub struct Voided {
    /// Its limits.
    pub views: Views,
    /// What the wallet has, on plans that are charged.
    pub available: Option<Nano>,
    /// When it was given back.
    pub at: Timestamp,
}

impl Ticket {
    pub(crate) fn of(open: Open) -> Self {
        Self(Some(Box::new(open)))
    }

    /// Where the limits stood when it was granted.
    pub fn views(&self) -> &Views {
        &self.open().views
    }

    /// When it was granted.
    pub fn at(&self) -> Timestamp {
        self.open().at
    }

    /// What the wallet had left after the hold, on plans that are charged.
    pub fn available(&self) -> Option<Nano> {
        self.open().available
    }

    /// The output bound to which the call was lowered, if it was.
    pub fn clamped_output(&self) -> Option<u64> {
        self.open().clamped
    }

    /// Whether it is paid from the wallet.
    pub fn is_charged(&self) -> bool {
        self.open().charged
    }

    /// From now on something may have reached an upstream: the call counts.
    pub fn sent(&mut self) {
        if let Some(open) = self.0.as_deref_mut() {
            open.sent = true;
        }
    }

    /// Lets a charged stream be charged up to what is noted, should the process die.
    pub fn checkpointed(&mut self) {
        let Some(open) = self.0.as_deref_mut() else { return };
        if !open.charged || open.running.is_some() {
            return;
        }
        let call = CallId(open.engine.next_id());
        let running = Arc::new(Running::new(
            call,
            open.key.account.id,
            open.call_facts(),
            open.request_id.clone(),
        ));
        open.engine.running().begin(&running);
        open.running = Some(running);
    }

    /// Takes an idempotency key for the call: to be asked before it is sent. `None`: it is taken,
    /// and resolved together with the call; else the call is not to be made.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where the store fails.
    pub async fn claim(
        &mut self,
        key: &str,
        fingerprint: &[u8],
    ) -> Result<Option<Claimed>, ChangeError> {
        // One that is not charged (its account's plan changed meanwhile) has no posting that could
        // resolve the key.
        let Some(open) = self.0.as_deref_mut().filter(|open| open.charged) else {
            return Ok(None);
        };
        let (engine, owner) = (Arc::clone(&open.engine), open.key.account.id);
        match engine.claim(owner, key, fingerprint).await? {
            Claimed::Fresh(claim) => {
                open.claim = Some(claim);
                Ok(None)
            }
            other => Ok(Some(other)),
        }
    }

    /// Says how the answer is made that is kept if the call is charged as a whole.
    pub fn keep(&mut self, keep: Keep) {
        if let Some(open) = self.0.as_deref_mut() {
            open.keep = Some(keep);
        }
    }

    /// Notes what was produced so far and renews the hold where that nears what is held.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] when the wallet does not cover more; what is held already stays held.
    pub fn produced(&mut self, usage: &Usage) -> Result<(), Exhausted> {
        let Some(open) = self.0.as_deref_mut() else { return Ok(()) };
        if let Some(running) = &open.running {
            running.note(usage);
        }
        let output = usage.output();
        let covered = open.bound.output.saturating_mul(open.bound.choices);
        if !open.charged || output <= covered / 2 {
            return Ok(());
        }
        open.renew(output)
    }

    /// Ends the call: charges what was used, frees the rest of the hold, corrects the limits.
    pub fn settle(mut self, outcome: &Outcome) -> Option<Settled> {
        self.0.take().map(|open| open.settle(outcome))
    }

    /// Gives everything back: the call was never sent. Tells where limits and wallet stand then.
    pub fn void(mut self) -> Option<Voided> {
        self.0.take().and_then(|open| open.void())
    }

    #[expect(
        clippy::expect_used,
        reason = "only `settle` and `void` empty it, and they consume it"
    )]
    fn open(&self) -> &Open {
        self.0.as_deref().expect("a ticket is open until it is consumed")
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        if !open.sent {
            let _nobody_asks = open.void();
            return;
        }
        let produced = open.running.as_ref().map(|running| running.noted()).unwrap_or_default();
        let flags = Flags::UPSTREAM_BROKE;
        // Whoever dropped it cannot wait for the commit; it goes its way nevertheless.
        drop(open.settle(&Outcome { produced, flags, cut: true, ..Outcome::default() }));
    }
}

impl Open {
    fn route(&self) -> Option<&Route> {
        self.policy.route(self.index)
    }

    /// What it asked for, by the limits that its key has now.
    fn ask<'a>(&'a self, route: &'a Route, state: &'a KeyState) -> Ask<'a> {
        Ask {
            index: self.index,
            route,
            key: self.key.id,
            key_limits: &state.limits,
            model: self.model.as_deref(),
            urgent: self.urgent,
            tokens: self.tokens,
            worth: self.worth,
            hold: self.held_if_charged(),
        }
    }

    fn call_facts(&self) -> Call {
        Call {
            key: Some(self.key.id),
            route: self.route().map_or("", |route| route.pattern.as_str()).into(),
            model: self.model.clone().unwrap_or_default(),
            price: self.price.clone().unwrap_or_default(),
            usage: Usage::NONE,
            pico: 0,
            held: self.held(),
            flags: Flags::default(),
        }
    }

    fn held(&self) -> Nano {
        self.grant.hold.as_ref().map_or(Nano::ZERO, Hold::amount)
    }

    fn held_if_charged(&self) -> Option<Nano> {
        self.grant.hold.as_ref().map(Hold::amount)
    }

    /// Holds for more than was produced: by a step, or a part of what the wallet still covers.
    fn renew(&mut self, output: u64) -> Result<(), Exhausted> {
        let Some(route) = self.policy.route(self.index) else { return Ok(()) };
        let step = route.hold_output_tokens.max(1);
        let per_choice = output.div_ceil(self.bound.choices.max(1));
        let ahead = per_choice.saturating_add(step);
        let ahead = self.output_max.map_or(ahead, |max| ahead.min(max.max(per_choice)));
        if ahead <= self.bound.output {
            return Ok(());
        }
        let mut live = self.key.account.live.lock();
        let clock = self.engine.now();
        let now = live.account.observe(clock);
        let before = self.engine.totals(&live, self.price.as_deref(), now);
        let Some(offer) = self.offer() else { return Ok(()) };
        let available = live.account.wallet.available(now);
        let covered = self.held() + available.or_zero();
        // Never less than was produced, and never more than a part of what is left: others stream
        // too, and what one holds beyond its end they lack.
        let least = per_choice.max(self.bound.output);
        let far = least.saturating_add(step.saturating_mul(STREAM_SHARES));
        let widest = Bound { output: far, ..self.bound };
        let reach = offer.affordable_output(&widest, &before, covered).unwrap_or(0);
        let share = (reach.saturating_sub(least) / STREAM_SHARES).max(1);
        let wanted = least.saturating_add(share).min(reach).min(ahead);
        let wider = Bound { output: wanted, ..self.bound };
        let more = offer.quote_worst(&wider, &before) - self.held();
        let Some(hold) = self.grant.hold.as_mut() else { return Ok(()) };
        let extended = wanted > self.bound.output
            && live.account.wallet.extend(hold, more.or_zero(), now).is_ok();
        if extended {
            self.bound = wider;
        }
        // What is held may still cover some output: it ends only when that is used up.
        let ends = output > self.bound.output.saturating_mul(self.bound.choices);
        let shared = live.account.wallet.held() > self.held();
        if ends { Err(Exhausted { available, shared }) } else { Ok(()) }
    }

    fn offer(&self) -> Option<Offer<'_>> {
        let name = self.price.as_deref()?;
        self.policy.prices().offer(name, self.contract.as_deref(), self.at).ok()
    }

    fn void(mut self: Box<Self>) -> Option<Voided> {
        if let Some(claim) = self.claim.take() {
            // Whoever repeats the call at once may still be told that it is running.
            drop(self.engine.journal.commit(Urgency::Settlement, vec![claim.released()]));
        }
        let grant = std::mem::take(&mut self.grant);
        if grant.hold.is_some() {
            self.engine.meters().released();
        }
        let route = self.route()?;
        let mut live = self.key.account.live.lock();
        let state = self.key.state.load_full();
        let clock = self.engine.now();
        let ask = self.ask(route, &state);
        live.account.void(grant, &ask, clock);
        let at = live.account.window_time(clock);
        let views = live.account.views(&ask, at);
        let available = charged_available(&live, at);
        drop(live);
        self.engine.touch(&self.key.account);
        Some(Voided { views, available, at })
    }

    fn settle(mut self: Box<Self>, outcome: &Outcome) -> Settled {
        let engine = Arc::clone(&self.engine);
        engine.touch(&self.key.account);
        let key = Arc::clone(&self.key);
        let mut live = key.account.live.lock();
        let clock = engine.now();
        let now = live.account.observe(clock);
        let before = engine.totals(&live, self.price.as_deref(), now);
        let bill = self.bill(outcome, &before);
        let state = self.key.state.load_full();
        if let Some(route) = self.route() {
            let used = Used { tokens: bill.usage.tokens(), worth: bill.amount };
            live.account.settle_limits(&self.grant, &self.ask(route, &state), used, clock);
        }
        let mut settled = Settled {
            charge: None,
            available: None,
            commit: None,
            usage: bill.usage,
            worth: bill.amount,
            views: Views::new(),
            at: live.account.window_time(now),
        };
        let hold = self.grant.hold.take();
        let model = self.model.as_deref().unwrap_or_default();
        engine.meters().settled(&self.policy, model, &bill.usage);
        engine.watchers.tell(&self.counted(&bill, outcome, now));
        if let Some(hold) = hold {
            settled.commit = self.charge(&mut live, hold, &bill, outcome, now);
            settled.charge = Some(bill.amount);
        } else {
            engine.tallies.count(&self.counted(&bill, outcome, now));
        }
        settled.available = charged_available(&live, now);
        if let Some(route) = self.route() {
            settled.views = live.account.views(&self.ask(route, &state), now);
        }
        settled
    }

    /// Ends the hold and posts what the call cost. A charge that the answer waits for counts once
    /// it is stored.
    fn charge(
        &mut self,
        live: &mut Live,
        hold: Hold,
        bill: &Bill,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Option<Charging> {
        let engine = Arc::clone(&self.engine);
        engine.meters().released();
        let keep = self.keep.take().filter(|_| !bill.free && !outcome.cut);
        let beside = self.claim.take().map(|claim| match keep {
            Some(keep) => claim.answered(keep.0(bill.amount)),
            None => claim.released(),
        });
        let counted = self.counted(bill, outcome, now);
        let withheld = outcome.withheld && !bill.free;
        let posting =
            ChargePosting { beside, withheld, ..self.posting(bill, hold.amount(), counted) };
        let (commit, debt) = engine.post_charge(live, hold, posting)?;
        if withheld {
            let (key, grant) = (Arc::clone(&self.key), std::mem::take(&mut self.grant));
            let withheld = Withheld { engine, key, grant, charged: bill.amount, debt };
            return Some(Charging::withheld(commit, withheld));
        }
        engine.meters().charged_more(bill.amount);
        engine.count_debt(debt);
        Some(Charging::counted(commit))
    }

    fn posting<'a>(&'a self, bill: &Bill, held: Nano, counted: Counted<'a>) -> ChargePosting<'a> {
        let call = (!bill.free).then(|| Call {
            usage: bill.usage,
            pico: bill.pico,
            flags: bill.flags,
            held,
            ..self.call_facts()
        });
        ChargePosting {
            amount: bill.amount,
            call,
            reference: &self.request_id,
            policy: self.policy.number(),
            running: self.running.as_ref(),
            withheld: false,
            beside: None,
            at: counted.at,
            counted,
        }
    }

    fn counted(&self, bill: &Bill, outcome: &Outcome, at: Timestamp) -> Counted<'_> {
        Counted {
            account: self.key.account.id,
            key: self.key.id,
            policy: &self.policy,
            route: self.index,
            model: self.model.as_deref().unwrap_or_default(),
            status: outcome.status,
            limited: false,
            usage: bill.usage,
            charged: if self.charged { bill.amount } else { Nano::ZERO },
            latency_ms: outcome.latency_ms,
            request_bytes: outcome.request_bytes,
            response_bytes: outcome.response_bytes,
            at,
        }
    }

    /// What the call costs by what is known of its usage.
    fn bill(&self, outcome: &Outcome, before: &Usage) -> Bill {
        if outcome.free {
            let usage = Usage::NONE.with(Meter::Request, 1);
            return Bill { usage, free: true, flags: outcome.flags, ..Bill::default() };
        }
        let Some(reported) = outcome.reported else { return self.bill_unreported(outcome, before) };
        let bill = self.priced(&reported, outcome.flags, before);
        let implausible = outcome.flags.has(Flags::IMPLAUSIBLE);
        match bill {
            Some(bill) if !implausible || bill.amount <= self.dearest() => bill,
            // Nonsense beyond all that the call could cost: as if the upstream had said nothing.
            _ => {
                let flags = outcome.flags.and(Flags::IMPLAUSIBLE);
                self.bill_unreported(&Outcome { flags, ..*outcome }, before)
            }
        }
    }

    /// A call of which nobody told what it used. One that was cut off is always charged by what
    /// it produced: else a client could go away just before the end, and pay nothing.
    fn bill_unreported(&self, outcome: &Outcome, before: &Usage) -> Bill {
        let flags = outcome.flags.and(Flags::ESTIMATED);
        let missing = self.route().map(|route| route.on_missing_usage).unwrap_or_default();
        let by_rule = match missing {
            _ if outcome.cut => None,
            OnMissingUsage::Estimate => None,
            OnMissingUsage::Hold => Some(self.held()),
            OnMissingUsage::Free => Some(Nano::ZERO),
        };
        let usage = whole_calls(outcome.produced);
        match by_rule {
            Some(amount) => Bill { usage, amount, pico: 0, free: false, flags },
            None => self.priced(&outcome.produced, flags, before).unwrap_or(Bill {
                usage,
                amount: self.held(),
                pico: 0,
                free: false,
                flags,
            }),
        }
    }

    /// What that usage costs; `None` if no posting can hold it.
    fn priced(&self, usage: &Usage, flags: Flags, before: &Usage) -> Option<Bill> {
        let usage = whole_calls(*usage);
        let Some(offer) = self.offer() else {
            return Some(Bill { usage, flags, ..Bill::default() });
        };
        let charge = offer.charge(&usage, before).ok()?;
        let above = self.charged && charge.amount > self.held();
        let flags = if above { flags.and(Flags::ABOVE_HOLD) } else { flags };
        Some(Bill { usage, amount: charge.amount, pico: charge.pico, free: false, flags })
    }

    /// What the call could cost, as far as can be told: pictures and files in a prompt may make
    /// much more of its input than was estimated.
    fn dearest(&self) -> Nano {
        let worth = self.worth.max(self.held()).get();
        Nano::new(worth.saturating_mul(INPUT_MISJUDGED)).min(Nano::BOUND)
    }
}

/// Into how many parts a low balance is divided for streams.
pub(crate) const STREAM_SHARES: u64 = 8;
/// How many times more than estimated a call may cost before nonsense is not believed at all.
const INPUT_MISJUDGED: i64 = 16;

/// Usage that is counted in requests says how many; every other call is one.
fn whole_calls(usage: Usage) -> Usage {
    usage.with(Meter::Request, usage.of(Meter::Request).max(1))
}

/// What a call costs.
#[derive(Clone, Copy, Debug, Default)]
struct Bill {
    usage: Usage,
    amount: Nano,
    pico: u128,
    free: bool,
    flags: Flags,
}

/// What the wallet has, on plans that are charged.
pub(crate) fn charged_available(live: &Live, now: Timestamp) -> Option<Nano> {
    let Account { entitlement, wallet, .. } = &live.account;
    entitlement.is_charged().then(|| wallet.available(live.account.latest().max(now)))
}
