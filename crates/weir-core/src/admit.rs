//! The one decision: every limit and the wallet together, all or nothing.

use smallvec::SmallVec;

use crate::account::{Account, Owner, Slot};
use crate::entitlement::Applied;
use crate::id::KeyId;
use crate::limit::{Algorithm, LimitId, Mode, Rule, Unit};
use crate::money::Nano;
use crate::operation::RouteIndex;
use crate::plan::Target;
use crate::policy::Route;
use crate::seldom::Seldom;
use crate::time::{Span, Timestamp};
use crate::wallet::{Hold, Insufficient};
use crate::window::{Snapshot, Taken, Wait, Window};

/// What a call wants.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Where it goes.
    pub index: RouteIndex,
    /// The same, in full.
    pub route: &'a Route,
    /// With which key.
    pub key: KeyId,
    /// The key's own limits.
    pub key_limits: &'a [Applied],
    /// The model it names.
    pub model: Option<&'a str>,
    /// Whether it may use what limits keep in reserve.
    pub urgent: bool,
    /// Tokens that it will use, as estimated; settled to the truth afterwards.
    pub tokens: u64,
    /// What it will cost at the worst; limits in credits count it until it is settled.
    pub worth: Nano,
    /// What must be held of the wallet; `None`: it is not charged.
    pub hold: Option<Nano>,
}

/// Leave to make the call, and the duty to settle it.
#[derive(Debug, Default)]
#[must_use = "a grant that is neither settled nor given back uses up its limits for good"]
pub struct Grant {
    takes: SmallVec<[Take; 4]>,
    /// Whose windows were taken from beside the account's.
    key: KeyId,
    /// What is held of the wallet.
    pub hold: Option<Hold>,
    /// Limits in shadow mode that would have refused.
    pub shadowed: Seldom<Vec<&'static str>>,
}

/// What was taken of one window; as small as can be, for a grant is handed on from room to room.
#[derive(Debug)]
struct Take {
    limit: LimitId,
    is_of_key: bool,
    taken: Taken,
}

/// Why a call is refused: nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The account's calls are refused by hand.
    Suspended,
    /// A limit is used up for now.
    Limited(LimitView, Span),
    /// The call is larger than a limit can ever be.
    NeverFits(LimitView, u64),
    /// The key has spent what it may.
    SpendCap(LimitView, Span),
    /// The wallet does not cover it.
    Credits(Shortage),
}

/// What is missing in the wallet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shortage {
    /// What the call must hold.
    pub required: Nano,
    /// What can be held.
    pub available: Nano,
    /// What other calls hold: it may become free.
    pub held: Nano,
}

/// A limit as its holder sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitView {
    /// Its name.
    pub name: &'static str,
    /// Whose use it counts.
    pub owner: Owner,
    /// What it counts.
    pub unit: Unit,
    /// How it counts.
    pub algorithm: Algorithm,
    /// Whether a boost acts on it.
    pub boosted: bool,
    /// Whether it only watches.
    pub shadow: bool,
    /// Where it stands.
    pub now: Snapshot,
}

/// A limit that counts a call, and what it says to it by itself.
#[derive(Clone, Debug)]
pub struct Weighed<'a> {
    /// The limit, with the rule that holds now.
    pub applied: &'a Applied,
    /// Where it stands.
    pub view: LimitView,
    /// How much of it the call takes.
    pub amount: u64,
    /// Whether it lets the call pass, or when it would.
    pub verdict: Result<(), Wait>,
}

/// The views of all limits that apply to one call.
pub type Views = SmallVec<[LimitView; 6]>;

impl Ask<'_> {
    fn amount(&self, rule: &Rule) -> u64 {
        match (rule.algorithm(), rule.unit()) {
            (Algorithm::Concurrency, _) => 1,
            (_, Unit::Requests) => self.route.weight,
            (_, Unit::Tokens) => self.tokens,
            (_, Unit::Credits) => self.worth.get().max(0).unsigned_abs(),
        }
    }
}

impl Account {
    /// Decides on a call and, if it passes, takes what it needs.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the limit with the longest wait, or of the wallet where waiting does not help;
    /// the account is then as it was.
    pub fn admit(&mut self, ask: &Ask<'_>, clock: Timestamp) -> Result<Grant, Refusal> {
        let now = self.observe(clock);
        let shadowed = self.check(ask, now, |_| true)?;
        let hold = ask.hold.map(|asked| self.wallet.hold(asked, now)).transpose();
        let hold = hold.map_err(|short| {
            let Insufficient { asked: required, available, held } = short;
            Refusal::Credits(Shortage { required, available, held })
        })?;
        let at = self.window_time(now);
        let mut takes = SmallVec::new();
        let Self { entitlement, windows, .. } = self;
        for (owner, applied) in applicable(entitlement, ask) {
            let slot = Slot { owner, limit: applied.limit.id };
            let rule = &applied.limit.rule;
            let taken = rule.take(windows.place(slot), ask.amount(rule), at);
            let is_of_key = owner != Owner::Account;
            takes.push(Take { limit: slot.limit, is_of_key, taken });
        }
        Ok(Grant { takes, key: ask.key, hold, shadowed })
    }

    /// Whether the request limits would let the call pass now: asked before its body is read.
    ///
    /// # Errors
    ///
    /// As [`Self::admit`], of limits in requests only.
    pub fn peek(&mut self, ask: &Ask<'_>, clock: Timestamp) -> Result<(), Refusal> {
        let now = self.observe(clock);
        self.check(ask, now, |rule| rule.unit() == Unit::Requests).map(|_| ())
    }

    /// Where the limits that count this call stand.
    pub fn views(&self, ask: &Ask<'_>, now: Timestamp) -> Views {
        applicable(&self.entitlement, ask)
            .map(|(owner, applied)| self.view(owner, applied, now))
            .collect()
    }

    /// What each limit that counts this call says to it, by itself; unlimited ones included.
    pub fn weigh<'a>(&'a self, ask: &'a Ask<'_>, clock: Timestamp) -> Vec<Weighed<'a>> {
        let now = self.window_time(clock);
        let unlimited = self.entitlement.listed().iter().filter(|applied| {
            let here = applied.limit.target == Target::Route(ask.index);
            applied.limit.rule.quota().is_none()
                && (here || applied.counts_call(ask.route, ask.model))
        });
        let unlimited = unlimited.map(|applied| (Owner::Account, applied));
        let weigh = |(owner, applied): (Owner, &'a Applied)| {
            let rule = &applied.limit.rule;
            let slot = Slot { owner, limit: applied.limit.id };
            let amount = ask.amount(rule);
            let verdict = rule.check(&self.windows.at(slot), amount, ask.urgent, now);
            let view = self.view(owner, applied, now);
            Weighed { applied, view, amount, verdict: verdict.map_err(|blocked| blocked.wait) }
        };
        applicable(&self.entitlement, ask).chain(unlimited).map(weigh).collect()
    }

    /// Where one limit stands.
    pub fn view(&self, owner: Owner, applied: &Applied, now: Timestamp) -> LimitView {
        let slot = Slot { owner, limit: applied.limit.id };
        let rule = &applied.limit.rule;
        LimitView {
            name: applied.limit.name,
            owner,
            unit: rule.unit(),
            algorithm: rule.algorithm(),
            boosted: applied.boosted,
            shadow: rule.mode() == Mode::Shadow,
            now: rule.snapshot(&self.windows.at(slot), self.window_time(now)),
        }
    }

    /// Takes everything back: nothing of the call was sent anywhere.
    pub fn void(&mut self, mut grant: Grant, ask: &Ask<'_>, clock: Timestamp) {
        let now = self.observe(clock);
        let now = self.window_time(now);
        if let Some(hold) = grant.hold.take() {
            self.wallet.release(hold);
        }
        self.on_taken(&grant, ask.key_limits, |rule, window, taken| {
            rule.give_back(window, taken, now)
        });
    }

    /// Frees slots in flight and corrects tokens and credits to what was really used. The wallet is
    /// settled apart.
    pub fn settle_limits(&mut self, grant: &Grant, ask: &Ask<'_>, used: Used, clock: Timestamp) {
        let now = self.observe(clock);
        let now = self.window_time(now);
        self.on_taken(grant, ask.key_limits, |rule, window, taken| {
            match (rule.algorithm(), rule.unit()) {
                (Algorithm::Concurrency, _) => rule.give_back(window, taken, now),
                (_, Unit::Requests) => {}
                (_, Unit::Tokens) => rule.settle(window, taken, used.tokens, now),
                (_, Unit::Credits) => {
                    rule.settle(window, taken, used.worth.get().max(0).unsigned_abs(), now);
                }
            }
        });
    }

    /// Takes what was spent back from the limits that count money, of a call that was settled to
    /// it and is not charged after all.
    pub fn unspend(
        &mut self,
        grant: &Grant,
        key_limits: &[Applied],
        spent: Nano,
        clock: Timestamp,
    ) {
        let now = self.observe(clock);
        let now = self.window_time(now);
        self.on_taken(grant, key_limits, |rule, window, taken| {
            if rule.unit() == Unit::Credits {
                rule.unsettle(window, taken, spent.get().max(0).unsigned_abs(), now);
            }
        });
    }

    fn check(
        &self,
        ask: &Ask<'_>,
        now: Timestamp,
        counts: impl Fn(&Rule) -> bool,
    ) -> Result<Seldom<Vec<&'static str>>, Refusal> {
        if self.suspended {
            return Err(Refusal::Suspended);
        }
        let at = self.window_time(now);
        let mut shadowed = Seldom::<Vec<_>>::default();
        let mut longest: Option<(Owner, &Applied, Span)> = None;
        for (owner, applied) in applicable(&self.entitlement, ask) {
            let rule = &applied.limit.rule;
            if !counts(rule) {
                continue;
            }
            let slot = Slot { owner, limit: applied.limit.id };
            let amount = ask.amount(rule);
            let Err(blocked) = rule.check(&self.windows.at(slot), amount, ask.urgent, at) else {
                continue;
            };
            if rule.mode() == Mode::Shadow {
                shadowed.push(applied.limit.name);
                continue;
            }
            match blocked.wait {
                Wait::Never => {
                    return Err(Refusal::NeverFits(self.view(owner, applied, now), amount));
                }
                Wait::For(wait) if longest.is_none_or(|(_, _, known)| wait > known) => {
                    longest = Some((owner, applied, wait));
                }
                Wait::For(_) => {}
            }
        }
        let Some((owner, applied, wait)) = longest else { return Ok(shadowed) };
        if let Some(short) = ask.hold.and_then(|hold| self.shortage(hold, now))
            && short.required > short.available.saturating_add(short.held)
        {
            return Err(Refusal::Credits(short));
        }
        let view = self.view(owner, applied, now);
        if view.name == SPEND_CAP {
            return Err(Refusal::SpendCap(view, wait));
        }
        Err(Refusal::Limited(view, wait))
    }

    fn shortage(&self, required: Nano, now: Timestamp) -> Option<Shortage> {
        let available = self.wallet.available(now);
        (required > available).then(|| Shortage { required, available, held: self.wallet.held() })
    }

    fn on_taken(
        &mut self,
        grant: &Grant,
        key_limits: &[Applied],
        mut change: impl FnMut(&Rule, &mut Window, Taken),
    ) {
        for take in &grant.takes {
            let owner = if take.is_of_key { Owner::Key(grant.key) } else { Owner::Account };
            let slot = Slot { owner, limit: take.limit };
            let mut window = self.windows.at(slot);
            // Where a limit is gone without a trace its window is, too.
            let Some(rule) = self.rule_of(slot, key_limits) else { continue };
            change(rule, &mut window, take.taken);
            self.windows.put(slot, window);
        }
    }

    /// The rule under which a window is counted now, whatever became of the call's route, its
    /// plan or its key's limits since it was admitted.
    fn rule_of<'a>(&'a self, slot: Slot, key_limits: &'a [Applied]) -> Option<&'a Rule> {
        let listed = match slot.owner {
            Owner::Account => self.entitlement.listed(),
            Owner::Key(_) => key_limits,
        };
        let known = listed.iter().find(|applied| applied.limit.id == slot.limit);
        known.map(|applied| &applied.limit.rule).or_else(|| self.retired(slot))
    }
}

/// What a call really used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// Tokens of every kind.
    pub tokens: u64,
    /// What it cost, or would have cost on a plan that is not charged.
    pub worth: Nano,
}

/// The name of a key's spend cap among its limits.
pub const SPEND_CAP: &str = "key:spend";

fn applicable<'a>(
    entitlement: &'a crate::entitlement::Entitlement,
    ask: &'a Ask<'_>,
) -> impl Iterator<Item = (Owner, &'a Applied)> {
    let of_account =
        entitlement.for_call(ask.index, ask.model).map(|applied| (Owner::Account, applied));
    let of_key = ask
        .key_limits
        .iter()
        .filter(|applied| applied.limit.rule.quota().is_some())
        .filter(|applied| applied.counts_call(ask.route, ask.model))
        .map(|applied| (Owner::Key(ask.key), applied));
    of_account.chain(of_key)
}
