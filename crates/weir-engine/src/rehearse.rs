//! What would become of a call, and why: the decision of [`crate::call`], made on a copy of the
//! account that is thrown away.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use arc_swap::ArcSwap;
use weir_core::account::Owner;
use weir_core::admit::{Ask, LimitView, Views, Weighed};
use weir_core::entitlement::class_of;
use weir_core::id::{BoostId, KeyId};
use weir_core::key::{Key, KeyType, Urgency};
use weir_core::money::Nano;
use weir_core::operation::RouteIndex;
use weir_core::plan::{Limit, Target};
use weir_core::policy::{Policy, Route};
use weir_core::price::{Bound, Multiplier};
use weir_core::time::Timestamp;
use weir_core::window::Wait;

use crate::call::{
    Admission, Agreed, Refused, Terms, Wanted, Why, ask_of, negotiate, price_name, refused,
};
use crate::cell::{AccountCell, KeyCell, KeyState, Live};
use crate::engine::Engine;
use crate::record::KeyRecord;
use crate::secret::SecretDigest;
use crate::ticket::charged_available;

/// A call that nobody makes.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its key; `None`: one that is not known.
    pub key: Option<Arc<KeyCell>>,
    /// Where it comes from.
    pub address: IpAddr,
    /// Its method.
    pub method: String,
    /// Its path, with a query or without.
    pub target: String,
    /// Its body. Without one, and where a body decides something, one is imagined.
    pub body: Option<Box<[u8]>>,
    /// The model of an imagined body.
    pub model: Option<String>,
    /// What the input counts as, in tokens, whatever the body says.
    pub input_tokens: Option<u64>,
    /// The output bound of an imagined body, in tokens.
    pub output_tokens: Option<u64>,
    /// How urgent it says it is: `critical`, `high`, `normal`, `low`.
    pub priority: Option<String>,
}

/// What would become of it; `A` is what the caller would be told.
#[derive(Debug)]
pub struct Explained<A> {
    /// The route that it takes, under the policy by which it was found.
    pub route: Option<(Arc<Policy>, RouteIndex)>,
    /// The upstream that would get it.
    pub upstream: Option<Arc<str>>,
    /// The model that it names.
    pub model: Option<Box<str>>,
    /// How large it may become, as far as its body was reached.
    pub sized: Option<Sized>,
    /// Limits, price and wallet, as far as they were reached.
    pub rehearsal: Option<Rehearsal>,
    /// What the caller would be told.
    pub answer: A,
}

/// How large a call may become, and what says so.
#[derive(Clone, Copy, Debug)]
pub struct Sized {
    /// What is held for and counted.
    pub bound: Bound,
    /// The most output tokens per choice that will be forwarded, if there is a bound at all.
    pub output_max: Option<u64>,
    /// The member of the body that bounds the output, and its value.
    pub asked: Option<(&'static str, u64)>,
    /// The model's own bound.
    pub model_max: Option<u64>,
    /// The route's `hold_output_tokens`.
    pub step: u64,
    /// Whether it is a stream, which renews its hold as output flows.
    pub stream: bool,
}

/// What would become of a call now. Nothing was changed.
#[derive(Debug)]
pub struct Rehearsal {
    /// Every limit that counts the call, unlimited ones included.
    pub limits: Vec<Considered>,
    /// Endpoint limits of the route that do not apply, because the plan does not limit its class.
    pub left_out: Vec<&'static str>,
    /// By what it is priced; `None`: it has no price.
    pub quote: Option<Quoted>,
    /// The wallet before the call, on plans that are charged.
    pub wallet: Option<WalletSeen>,
    /// What is decided.
    pub outcome: Result<Passed, Box<Refused>>,
}

/// A limit that counts a call, and what it says to it by itself.
#[derive(Debug)]
pub struct Considered {
    /// Where it stands.
    pub view: LimitView,
    /// Where it comes from.
    pub source: Source,
    /// Its units per window before boosts; `None`: unlimited.
    pub configured: Option<u64>,
    /// The boosts that act on it, by id: multipliers in millionths, values.
    pub boosts: Vec<(BoostId, Option<u64>, Option<u64>)>,
    /// How much of it the call takes.
    pub amount: u64,
    /// Whether it lets the call pass, or when it would.
    pub verdict: Result<(), Wait>,
}

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// The account's plan.
    Plan,
    /// The route, times the plan's multiplier in millionths.
    Route(u64),
    /// A value of the account's own.
    Account,
    /// What the plan says of keys of this type.
    KeyType(KeyType),
    /// The key itself.
    Key,
}

/// At what price a call is quoted.
#[derive(Debug)]
pub struct Quoted {
    /// The price's name.
    pub price: Box<str>,
    /// What a contract multiplies it by.
    pub multiplier: Multiplier,
    /// The most that the call can cost, as far as it is bounded.
    pub worth: Nano,
    /// What it is bounded by.
    pub bound: Bound,
    /// Whether that is held of the wallet.
    pub charged: bool,
}

/// A wallet at one moment.
#[derive(Clone, Copy, Debug)]
pub struct WalletSeen {
    /// What is posted.
    pub balance: Nano,
    /// What running calls hold.
    pub held: Nano,
    /// What may be held.
    pub available: Nano,
}

/// A call that would pass.
#[derive(Debug)]
pub struct Passed {
    /// Where its limits would stand.
    pub views: Views,
    /// What would be held of the wallet.
    pub hold: Option<Nano>,
    /// What the wallet would have then, on plans that are charged.
    pub available: Option<Nano>,
    /// The output bound to which it would be lowered, if it would.
    pub clamped: Option<u64>,
    /// Limits in shadow mode that would have refused.
    pub shadowed: Vec<&'static str>,
    /// The decision's time.
    pub at: Timestamp,
}

impl Engine {
    /// As [`Engine::peek`], with nothing told to anybody: what a call is refused by before its body
    /// is read. `None`: nothing refuses it so early.
    pub fn rehearse_peek(&self, wanted: &Wanted<'_>) -> Option<Rehearsal> {
        let refused = self.peek_and(wanted, |_, _, _| {}).err()?;
        let mut rehearsal = self.rehearse(wanted)?;
        rehearsal.outcome = Err(refused);
        Some(rehearsal)
    }

    /// As [`Engine::admit`], on a copy of the account. `None`: the policy changed since the route
    /// was found, or the account is gone.
    pub fn rehearse(&self, wanted: &Wanted<'_>) -> Option<Rehearsal> {
        let route = wanted.policy.route(wanted.index)?;
        let clock = self.now();
        let cell = &wanted.key.account;
        let mut live = cell.live.lock();
        if !self.refresh(cell, &mut live, clock) || live.policy != wanted.policy.number() {
            return None;
        }
        let contract = live.contract.clone();
        let price = price_name(wanted.policy, route, wanted.model, contract.as_deref());
        let of = (price.as_deref(), contract.as_deref());
        let terms = self.terms(cell, &live, wanted, of, clock);
        let mut copy = live.account.clone();
        let agreed = match &terms {
            Ok(terms) => negotiate(&mut copy, wanted, route, terms, clock),
            Err(_) => Err(Why::UnknownModel),
        };
        let bound = agreed.as_ref().map_or(wanted.bound, |agreed| agreed.bound);
        let worth = terms.as_ref().map_or(Nano::ZERO, |terms| terms.worth(&bound));
        let quote = terms.as_ref().ok().and_then(|terms| quoted(terms, price.as_deref()?, bound));
        let charged = terms.as_ref().is_ok_and(|terms| terms.charged);
        let ask = ask_of(wanted, route, &bound, worth, charged);
        let limits = live.account.weigh(&ask, clock);
        let limits = limits.iter().map(|weighed| considered(&live, wanted, weighed, clock));
        let limits = limits.collect();
        let at = live.account.window_time(clock);
        let outcome = match (agreed, terms.err()) {
            (Ok(agreed), _) => Ok(passed(agreed, &copy, &ask, at)),
            (Err(why), None) | (Err(_), Some(why)) => {
                match refused(why, &live, wanted, route, clock) {
                    Admission::Refused(refused) => Err(refused),
                    Admission::Granted(_) | Admission::Stale => return None,
                }
            }
        };
        let wallet = charged_available(&live, at).map(|available| WalletSeen {
            balance: live.account.wallet.balance(),
            held: live.account.wallet.held(),
            available,
        });
        let left_out = left_out(&live, route);
        Some(Rehearsal { limits, left_out, quote, wallet, outcome })
    }

    /// A key of an account that nobody has: as a new one of type `read_write` would be.
    pub fn imagined_key(&self, account: &Arc<AccountCell>) -> Arc<KeyCell> {
        let id = KeyId(0);
        let key = Key {
            id,
            account: account.id,
            kind: KeyType::ReadWrite,
            scopes: None,
            models: None,
            allowed_ips: None,
            expires_at: None,
            revoked_at: None,
            spend_cap: None,
            urgency: Urgency::Normal,
        };
        let limits = account.live.lock().account.entitlement.for_key(&key, &[]);
        let digest = SecretDigest::of(&[]);
        let own = Vec::new();
        let state = KeyState { key, record: KeyRecord::default(), digest, own, limits };
        Arc::new(KeyCell {
            id,
            account: Arc::clone(account),
            state: ArcSwap::from_pointee(state),
            last_used_us: AtomicI64::new(0),
        })
    }
}

fn passed(
    agreed: Agreed,
    copy: &weir_core::account::Account,
    ask: &Ask<'_>,
    at: Timestamp,
) -> Passed {
    let books = copy.latest().max(at);
    let available = copy.entitlement.is_charged().then(|| copy.wallet.available(books));
    Passed {
        views: copy.views(ask, at),
        hold: agreed.grant.hold.as_ref().map(|hold| hold.amount()),
        available,
        clamped: agreed.clamped,
        shadowed: agreed.grant.shadowed.to_vec(),
        at,
    }
}

fn quoted(terms: &Terms<'_>, price: &str, bound: Bound) -> Option<Quoted> {
    let offer = terms.offer.as_ref()?;
    Some(Quoted {
        price: price.into(),
        multiplier: offer.multiplier,
        worth: terms.worth(&bound),
        bound,
        charged: terms.charged,
    })
}

fn considered(
    live: &Live,
    wanted: &Wanted<'_>,
    weighed: &Weighed<'_>,
    now: Timestamp,
) -> Considered {
    let limit = &weighed.applied.limit;
    let now = live.account.window_time(now);
    let (source, configured) = origin(live, wanted, weighed);
    let class = class_of(limit, wanted.policy);
    let acting = live.boosts.iter().filter(|(boost, _)| {
        source != Source::Key && boost.acts(now) && boost.covers(limit.name, class)
    });
    Considered {
        view: weighed.view.clone(),
        source,
        configured,
        boosts: acting.map(|(boost, of)| (boost.id, of.multiplier_ppm, of.value)).collect(),
        amount: weighed.amount,
        verdict: weighed.verdict,
    }
}

/// Where a limit comes from, and its quota there.
fn origin(live: &Live, wanted: &Wanted<'_>, weighed: &Weighed<'_>) -> (Source, Option<u64>) {
    let limit = &weighed.applied.limit;
    let plan = live.account.entitlement.plan();
    let find = |limits: &[Limit]| {
        limits.iter().find(|known| known.id == limit.id).map(|known| known.rule.clone())
    };
    if let Owner::Key(_) = weighed.view.owner {
        return match find(&wanted.state.own) {
            Some(own) => (Source::Key, own.quota()),
            None => {
                let kind = wanted.state.key.kind;
                let known = plan.key_limits.get(&kind).and_then(|limits| find(limits));
                (Source::KeyType(kind), known.and_then(|rule| rule.quota()))
            }
        };
    }
    if let Some(own) = find(&live.own) {
        return (Source::Account, own.quota());
    }
    if let Target::Route(index) = limit.target {
        let times = plan.endpoint_multiplier_ppm;
        let base = wanted.policy.route(index).and_then(|route| find(&route.limits));
        return (Source::Route(times), base.and_then(|rule| rule.quota()));
    }
    (Source::Plan, find(&plan.limits).and_then(|rule| rule.quota()))
}

/// Endpoint limits of a route that the account does not have.
fn left_out(live: &Live, route: &Route) -> Vec<&'static str> {
    let listed = live.account.entitlement.listed();
    let missing = route
        .limits
        .iter()
        .filter(|limit| listed.iter().all(|applied| applied.limit.id != limit.id));
    missing.map(|limit| limit.name).collect()
}
