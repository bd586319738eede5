//! Admission of one call: limits and wallet in one decision.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_core::account::Account;
use weir_core::admit::{Ask, Grant, Refusal, Shortage, Views};
use weir_core::money::Nano;
use weir_core::operation::RouteIndex;
use weir_core::policy::{OnLowBalance, Policy, Route, RoutePrice};
use weir_core::price::{Bound, Contract, Offer};
use weir_core::time::Timestamp;
use weir_core::usage::Usage;
use weir_store::health::StoreHealth;

use crate::cell::{AccountCell, KeyCell, KeyState, Live};
use crate::engine::Engine;
use crate::tally::Counted;
use crate::ticket::{Open, STREAM_SHARES, Ticket, charged_available};

/// A call that wants to be made.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The policy by which its route was found.
    pub policy: &'a Arc<Policy>,
    /// Its route.
    pub index: RouteIndex,
    /// The key that makes it.
    pub key: &'a Arc<KeyCell>,
    /// What that key may do.
    pub state: &'a Arc<KeyState>,
    /// The model it names.
    pub model: Option<&'a str>,
    /// Whether it may use what limits keep in reserve.
    pub urgent: bool,
    /// Its id, for the ledger.
    pub request_id: &'a str,
    /// How large it may become, or, of a stream, how much of it is held for at a time.
    pub bound: Bound,
    /// The most output tokens per choice that will be forwarded, if there is a bound at all.
    pub output_max: Option<u64>,
    /// Whether it is a stream, which renews what it holds as output flows.
    pub stream: bool,
}

/// What admission came to.
#[derive(Debug)]
pub enum Admission {
    /// The call may be made.
    Granted(Ticket),
    /// It may not; nothing was changed.
    Refused(Box<Refused>),
    /// The policy changed since the route was found: look again.
    Stale,
}

/// Why a call may not be made, and where its limits stand.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub why: Why,
    /// Where the limits stand that count it.
    pub views: Views,
    /// What the wallet has, on plans that are charged.
    pub available: Option<Nano>,
    /// The decision's time.
    pub at: Timestamp,
}

/// Why a call may not be made.
#[derive(Debug)]
pub enum Why {
    /// By the rules.
    Rules(Refusal),
    /// The wallet does not cover it; of its output bound it would cover this.
    Credits(Shortage, Option<u64>),
    /// The model has no price.
    UnknownModel,
    /// Charges cannot be recorded.
    Store(StoreHealth),
}

impl Engine {
    /// Decides on a call and takes what it needs: limits and hold together, or nothing.
    pub fn admit(self: &Arc<Self>, wanted: &Wanted<'_>) -> Admission {
        let Some(route) = wanted.policy.route(wanted.index) else { return Admission::Stale };
        let clock = self.now();
        let cell = &wanted.key.account;
        let mut live = cell.live.lock();
        if !self.refresh(cell, &mut live, clock) || live.policy != wanted.policy.number() {
            return Admission::Stale;
        }
        let contract = live.contract.clone();
        let price = price_name(wanted.policy, route, wanted.model, contract.as_deref());
        let of = (price.as_deref(), contract.as_deref());
        let terms = match self.terms(cell, &live, wanted, of, clock) {
            Ok(terms) => terms,
            Err(why) => return refused(why, &live, wanted, route, clock),
        };
        let charged = terms.charged;
        let agreed = match negotiate(&mut live.account, wanted, route, &terms, clock) {
            Ok(agreed) => agreed,
            Err(why) => {
                match &why {
                    Why::Credits(..) => self.read_levels_refused(&mut live, cell.id, clock),
                    Why::Rules(refusal) => self.alarm(&mut live, refusal, clock),
                    Why::UnknownModel | Why::Store(_) => {}
                }
                return refused(why, &live, wanted, route, clock);
            }
        };
        let Agreed { grant, bound, clamped, worth, tokens } = agreed;
        if grant.hold.is_some() {
            self.meters().held();
        }
        let at = live.account.window_time(clock);
        let ask = ask_of(wanted, route, &bound, worth, charged);
        let views = live.account.views(&ask, at);
        self.alarms.passed(&mut live.alarms, cell.id, &views, at);
        let available = charged_available(&live, at);
        self.touch(cell);
        drop(live);
        wanted.key.last_used_us.store(at.micros(), Ordering::Relaxed);
        Admission::Granted(Ticket::of(Open {
            engine: Arc::clone(self),
            policy: Arc::clone(wanted.policy),
            index: wanted.index,
            key: Arc::clone(wanted.key),
            model: wanted.model.map(Into::into),
            request_id: wanted.request_id.into(),
            grant,
            price,
            contract,
            charged,
            urgent: wanted.urgent,
            bound,
            output_max: clamped.or(wanted.output_max),
            tokens,
            worth,
            sent: false,
            running: None,
            at,
            views,
            available,
            clamped,
            claim: None,
            keep: None,
        }))
    }

    /// At what price, under what contract a call is quoted now.
    ///
    /// # Errors
    ///
    /// [`Why`] nothing can be sold.
    pub(crate) fn terms<'a>(
        &self,
        cell: &Arc<AccountCell>,
        live: &Live,
        wanted: &'a Wanted<'_>,
        (price, contract): (Option<&str>, Option<&'a Contract>),
        clock: Timestamp,
    ) -> Result<Terms<'a>, Why> {
        let free = wanted.policy.route(wanted.index).is_none_or(|r| r.price == RoutePrice::Free);
        let charged = live.account.entitlement.is_charged() && !free;
        if charged && let Some(why) = self.unsellable(cell, price) {
            return Err(why);
        }
        let offer = price.and_then(|name| wanted.policy.prices().offer(name, contract, clock).ok());
        if charged && offer.is_none() {
            // Its contract is over, or not yet in force: what has no price is never free.
            return Err(Why::UnknownModel);
        }
        Ok(Terms { offer, before: self.totals(live, price, clock), charged })
    }

    /// Why nothing can be sold to an account now, or nothing of that price.
    fn unsellable(&self, cell: &Arc<AccountCell>, price: Option<&str>) -> Option<Why> {
        match self.health() {
            _ if price.is_none() => Some(Why::UnknownModel),
            StoreHealth::Ok if self.is_sound(cell) => None,
            StoreHealth::Ok => Some(Why::Store(StoreHealth::Full)),
            sick => Some(Why::Store(sick)),
        }
    }

    /// Whether the request limits would let the call pass: asked before its body is read.
    pub fn peek(&self, wanted: &Wanted<'_>) -> Result<(), Box<Refused>> {
        self.peek_and(wanted, |live, why, clock| self.alarm(live, why, clock))
    }

    /// The same, with something to be done on a refusal.
    pub(crate) fn peek_and(
        &self,
        wanted: &Wanted<'_>,
        on_refusal: impl FnOnce(&mut Live, &Refusal, Timestamp),
    ) -> Result<(), Box<Refused>> {
        let Some(route) = wanted.policy.route(wanted.index) else { return Ok(()) };
        let clock = self.now();
        let cell = &wanted.key.account;
        let mut live = cell.live.lock();
        if !self.refresh(cell, &mut live, clock) || live.policy != wanted.policy.number() {
            return Ok(()); // admission will see it
        }
        let ask = ask_of(wanted, route, &wanted.bound, Nano::ZERO, false);
        match live.account.peek(&ask, clock) {
            Ok(()) => Ok(()),
            Err(why) => {
                on_refusal(&mut live, &why, clock);
                match refused(Why::Rules(why), &live, wanted, route, clock) {
                    Admission::Refused(refused) => Err(refused),
                    Admission::Granted(_) | Admission::Stale => Ok(()),
                }
            }
        }
    }

    fn alarm(&self, live: &mut Live, why: &Refusal, clock: Timestamp) {
        let (account, now) = (live.account.id, live.account.window_time(clock));
        self.alarms.refused(&mut live.alarms, account, why, now);
    }
}

impl Engine {
    /// Where the limits of a call stand, and what its wallet has: for answers that no limit and no
    /// wallet gave.
    pub fn standing(&self, wanted: &Wanted<'_>) -> (Views, Option<Nano>, Timestamp) {
        let clock = self.now();
        let cell = &wanted.key.account;
        let mut live = cell.live.lock();
        self.refresh(cell, &mut live, clock);
        let at = live.account.window_time(clock);
        let views = wanted.policy.route(wanted.index).map(|route| {
            live.account.views(&ask_of(wanted, route, &wanted.bound, Nano::ZERO, false), at)
        });
        (views.unwrap_or_default(), charged_available(&live, at), at)
    }

    /// Counts a call that was answered without an upstream.
    pub fn count_unsent(&self, wanted: &Wanted<'_>, status: u16, limited: bool, latency_ms: u64) {
        let counted = Counted {
            account: wanted.key.account.id,
            key: wanted.key.id,
            policy: wanted.policy,
            route: wanted.index,
            model: wanted.model.unwrap_or_default(),
            status,
            limited,
            usage: Usage::NONE,
            charged: Nano::ZERO,
            latency_ms,
            request_bytes: 0,
            response_bytes: 0,
            at: self.now(),
        };
        self.watchers.tell(&counted);
        self.tallies.count(&counted);
    }
}

/// How much output a stream holds for at a time: what its route says, but no more than a part of
/// what the wallet covers, so that on a low balance streams that begin do not shut each other out.
fn share_of(
    offer: Option<Offer<'_>>,
    bound: &Bound,
    before: &Usage,
    available: Nano,
    route: &Route,
) -> u64 {
    let wide = Bound { output: bound.output.saturating_mul(STREAM_SHARES), ..*bound };
    let covered = offer.and_then(|offer| offer.affordable_output(&wide, before, available));
    let share = covered.unwrap_or(0) / STREAM_SHARES;
    share.max(route.min_output_tokens).min(bound.output)
}

/// At what price a call is quoted.
pub(crate) struct Terms<'a> {
    pub(crate) offer: Option<Offer<'a>>,
    /// What the account used of the price in the billing period.
    before: Usage,
    pub(crate) charged: bool,
}

impl Terms<'_> {
    /// The most that a call can cost within a bound; nothing where it has no price.
    pub(crate) fn worth(&self, bound: &Bound) -> Nano {
        self.offer.map_or(Nano::ZERO, |offer| offer.quote_worst(bound, &self.before))
    }
}

/// What a call got.
pub(crate) struct Agreed {
    pub(crate) grant: Grant,
    pub(crate) bound: Bound,
    /// The output bound to which it was lowered, if it was.
    pub(crate) clamped: Option<u64>,
    pub(crate) worth: Nano,
    pub(crate) tokens: u64,
}

/// Admits a call, with a lower output bound where the route allows that and the wallet asks for it.
pub(crate) fn negotiate(
    account: &mut Account,
    wanted: &Wanted<'_>,
    route: &Route,
    terms: &Terms<'_>,
    clock: Timestamp,
) -> Result<Agreed, Why> {
    let Terms { offer, before, charged } = terms;
    let mut bound = wanted.bound;
    let mut clamped = None;
    if *charged && wanted.stream && route.on_low_balance == OnLowBalance::Refuse {
        let available = account.wallet.available(account.latest().max(clock));
        bound.output = share_of(*offer, &bound, before, available, route);
    }
    loop {
        let worth = terms.worth(&bound);
        let counted = if clamped.is_some() { &bound } else { &wanted.bound };
        let ask = ask_of(wanted, route, counted, worth, *charged);
        let short = match account.admit(&ask, clock) {
            Ok(grant) => return Ok(Agreed { grant, bound, clamped, worth, tokens: ask.tokens }),
            Err(Refusal::Credits(short)) => short,
            Err(why) => return Err(Why::Rules(why)),
        };
        let affordable =
            offer.and_then(|offer| offer.affordable_output(&bound, before, short.available));
        let lower = affordable.filter(|output| {
            route.on_low_balance == OnLowBalance::Clamp
                && *output >= route.min_output_tokens
                && *output < bound.output
        });
        let Some(lower) = lower else { return Err(Why::Credits(short, affordable)) };
        bound.output = lower;
        clamped = Some(lower);
    }
}

/// The name of the price of a call; `None` where nothing has a price.
pub(crate) fn price_name(
    policy: &Policy,
    route: &Route,
    model: Option<&str>,
    contract: Option<&Contract>,
) -> Option<Box<str>> {
    match (&route.price, model) {
        (RoutePrice::Free, _) | (RoutePrice::ByModel, None) => None,
        (RoutePrice::Named(name), _) => Some((**name).into()),
        (RoutePrice::ByModel, Some(model)) => policy
            .price_name_of_model(model)
            .map(Into::into)
            .or_else(|| contract.and_then(|own| own.own.price(model)).map(|_| model.into())),
    }
}

pub(crate) fn ask_of<'a>(
    wanted: &'a Wanted<'_>,
    route: &'a Route,
    bound: &Bound,
    worth: Nano,
    charged: bool,
) -> Ask<'a> {
    let output = bound.output.saturating_mul(bound.choices);
    Ask {
        index: wanted.index,
        route,
        key: wanted.key.id,
        key_limits: &wanted.state.limits,
        model: wanted.model,
        urgent: wanted.urgent,
        tokens: bound.input.saturating_add(output),
        worth,
        hold: charged.then_some(worth),
    }
}

pub(crate) fn refused(
    why: Why,
    live: &Live,
    wanted: &Wanted<'_>,
    route: &Route,
    clock: Timestamp,
) -> Admission {
    let at = live.account.window_time(clock);
    let ask = ask_of(wanted, route, &wanted.bound, Nano::ZERO, false);
    let views = live.account.views(&ask, at);
    Admission::Refused(Box::new(Refused { why, views, available: charged_available(live, at), at }))
}
