//! Plans: named sets of limits and billing, and what changes them for one account.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::Threshold;
use crate::id::BoostId;
use crate::key::KeyType;
use crate::limit::{LimitId, Rule};
use crate::model::ModelPattern;
use crate::operation::RouteIndex;
use crate::time::Timestamp;

/// A named set of limits and billing.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: Arc<str>,
    /// How its calls are paid.
    pub billing: Billing,
    /// By how much the endpoint limits are multiplied, in millionths.
    pub endpoint_multiplier_ppm: u64,
    /// Limits per account.
    pub limits: Vec<Limit>,
    /// Limits per key, by the key's type.
    pub key_limits: BTreeMap<KeyType, Vec<Limit>>,
    /// When the wallet of an account is low.
    pub alerts: Vec<Threshold>,
}

/// How the calls of a plan are paid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Billing {
    /// Metered and valued, never charged.
    None,
    /// From prepaid credit.
    Wallet,
}

/// A rule with its name and what it applies to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limit {
    /// The interned name: known by it across policies and restarts.
    pub id: LimitId,
    /// The name: `ai`, `ai.tokens`, `all`, `model:gpt-*`, `route:POST /ai/chat`, `key:ai`,
    /// `concurrency`.
    pub name: &'static str,
    /// Which calls it counts.
    pub target: Target,
    /// How many, in what time.
    pub rule: Rule,
}

/// Which calls a limit counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// Calls of an operation class.
    Class(Arc<str>),
    /// Every call.
    All,
    /// Calls that name such a model.
    Model(ModelPattern),
    /// Calls of one route.
    Route(RouteIndex),
    /// Calls in flight.
    InFlight,
}

/// A temporary change of limits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Boost {
    /// Its id.
    pub id: BoostId,
    /// A limit's name, a class (all limits of its calls) or `*` (every limit).
    pub limit: Box<str>,
    /// What it does.
    pub effect: BoostEffect,
    /// From when on.
    pub from: Timestamp,
    /// Until when, exclusive.
    pub until: Timestamp,
}

/// What a boost does to a limit. Of several, the largest value counts first, then every multiplier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BoostEffect {
    /// Multiplies it, in millionths.
    MultiplierPpm(u64),
    /// Sets it, where that is more than it is.
    Value(u64),
}

impl Boost {
    /// Whether it acts at `now`.
    pub fn acts(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether it is meant for a limit of that name on calls of that class. A value is meant for
    /// the limit that it names alone.
    pub fn covers(&self, limit: &str, class: Option<&str>) -> bool {
        let named = &*self.limit == limit;
        match self.effect {
            BoostEffect::Value(_) => named,
            BoostEffect::MultiplierPpm(_) => {
                named || &*self.limit == "*" || class.is_some_and(|class| *self.limit == *class)
            }
        }
    }
}
