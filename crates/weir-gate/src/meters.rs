//! What the data plane counts for the operator's metrics: plain atomics, their labels from closed
//! sets, resolved once per policy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use weir_core::id::PolicyNumber;
use weir_core::operation::RouteIndex;
use weir_core::policy::Policy;
use weir_engine::meters::Durations;
use weir_wire::error::{CATALOGUE, Code};

/// What the data plane counts.
#[derive(Debug, Default)]
pub struct GateMeters {
    table: ArcSwap<Table>,
    /// Every set of labels that was ever met: counts outlive policies.
    requests: Mutex<BTreeMap<Labels, Arc<Outcomes>>>,
    refusals: Refusals,
    /// From a request's arrival until its upstream is called.
    pub overhead: Durations,
    /// From the call of an upstream to the head of its answer.
    pub upstream: Durations,
    /// From a request's arrival to the head of its answer.
    pub first_byte: Durations,
    /// How long answers waited until their charges were durable.
    pub commits: Durations,
}

/// How a request ended, as far as its head tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The upstream answered well.
    Ok,
    /// The upstream answered with 4xx.
    ClientError,
    /// The upstream answered with 5xx, or not at all.
    UpstreamError,
    /// A limit refused it: 429.
    Limited,
    /// The wallet refused it: 402.
    Unpaid,
    /// Anything else about it was refused: key, route, permission, size.
    Refused,
    /// Weir failed: overloaded, the store, a bug.
    Failed,
    /// The client went away before there was an answer.
    Gone,
}

/// The labels of a request counter.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Labels {
    /// The route's pattern; empty where there was none.
    pub route: Arc<str>,
    /// Its operation class.
    pub class: Arc<str>,
    /// The plan of the account; empty where the caller is not known.
    pub plan: Arc<str>,
}

#[derive(Debug, Default)]
struct Outcomes([AtomicU64; OUTCOMES.len()]);

#[derive(Debug)]
struct Refusals(Box<[AtomicU64]>);

/// The counters of one policy, by route and plan.
#[derive(Debug, Default)]
struct Table {
    policy: Option<PolicyNumber>,
    /// The position of each plan.
    plans: BTreeMap<Arc<str>, usize>,
    /// By route, then by plan; made when first used.
    cells: Vec<OnceLock<Arc<Outcomes>>>,
}

impl Ended {
    /// Its word in metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::UpstreamError => "upstream_error",
            Self::Limited => "limited",
            Self::Unpaid => "unpaid",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }

    /// By the status that an upstream answered with.
    pub(crate) fn answered(status: u16) -> Self {
        match status {
            ..400 => Self::Ok,
            400..500 => Self::ClientError,
            500.. => Self::UpstreamError,
        }
    }

    /// By the code and status of our own refusal.
    pub(crate) fn refused(code: Code, status: u16) -> Self {
        match code {
            Code::UpstreamUnreachable | Code::UpstreamBroke | Code::UpstreamTimeout => {
                Self::UpstreamError
            }
            _ => match status {
                429 => Self::Limited,
                402 => Self::Unpaid,
                500.. => Self::Failed,
                _ => Self::Refused,
            },
        }
    }
}

impl GateMeters {
    /// Counts a request of a route and a plan.
    pub(crate) fn routed(&self, policy: &Policy, route: RouteIndex, plan: &str, ended: Ended) {
        let table = self.table.load();
        if table.policy == Some(policy.number()) {
            return self.count(&table, policy, route, plan, ended);
        }
        let table = Arc::new(Table::of(policy));
        self.table.store(Arc::clone(&table));
        self.count(&table, policy, route, plan, ended);
    }

    /// Counts a request that no route took.
    pub(crate) fn unrouted(&self, plan: &str, ended: Ended) {
        let none: Arc<str> = "".into();
        let labels = Labels { route: Arc::clone(&none), class: none, plan: plan.into() };
        self.outcomes(labels).add(ended);
    }

    /// Counts a refusal by its code.
    pub(crate) fn refused(&self, code: Code) {
        if let Some(count) = self.refusals.0.get(code as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self, table: &Table, policy: &Policy, route: RouteIndex, plan: &str, ended: Ended) {
        let cell = table.cell(route, plan);
        let fresh = || {
            let found = policy.route(route);
            let class = found.map(|route| Arc::clone(&route.class)).unwrap_or_default();
            let pattern = found.map_or("", |route| route.pattern.as_str());
            self.outcomes(Labels { route: pattern.into(), class, plan: plan.into() })
        };
        match cell {
            Some(cell) => cell.get_or_init(fresh).add(ended),
            // A plan of another policy: the account is just moving over.
            None => fresh().add(ended),
        }
    }

    fn outcomes(&self, labels: Labels) -> Arc<Outcomes> {
        Arc::clone(self.requests.lock().entry(labels).or_default())
    }

    /// All requests, by labels and outcome, without what never happened.
    pub fn requests(&self) -> Vec<(Labels, &'static str, u64)> {
        let requests = self.requests.lock();
        let all = requests.iter().flat_map(|(labels, outcomes)| {
            let counts = outcomes.0.iter().map(|count| count.load(Ordering::Relaxed));
            let named = OUTCOMES.iter().map(|ended| ended.word()).zip(counts);
            named.map(|(word, count)| (labels.clone(), word, count))
        });
        all.filter(|(.., count)| *count > 0).collect()
    }

    /// All refusals by code, without what never happened.
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        let counts = self.refusals.0.iter().map(|count| count.load(Ordering::Relaxed));
        let named = CATALOGUE.iter().map(|entry| entry.name).zip(counts);
        named.filter(|(_, count)| *count > 0).collect()
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self(CATALOGUE.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Outcomes {
    fn add(&self, ended: Ended) {
        if let Some(count) = self.0.get(ended as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Table {
    fn of(policy: &Policy) -> Self {
        let names = policy.plans().map(|plan| Arc::clone(&plan.name));
        let plans: BTreeMap<_, _> = names.zip(0..).collect();
        let mut cells = Vec::new();
        cells.resize_with(plans.len() * policy.routes().len(), OnceLock::new);
        Self { policy: Some(policy.number()), plans, cells }
    }

    fn cell(&self, route: RouteIndex, plan: &str) -> Option<&OnceLock<Arc<Outcomes>>> {
        let plan = self.plans.get(plan)?;
        self.cells.get(usize::from(route.0) * self.plans.len() + plan)
    }
}

/// Every outcome, in the order of [`Ended`].
const OUTCOMES: [Ended; 8] = [
    Ended::Ok,
    Ended::ClientError,
    Ended::UpstreamError,
    Ended::Limited,
    Ended::Unpaid,
    Ended::Refused,
    Ended::Failed,
    Ended::Gone,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_and_codes_stand_where_they_are_counted() {
        for (index, ended) in OUTCOMES.iter().enumerate() {
            assert_eq!(*ended as usize, index);
        }
        for (index, entry) in CATALOGUE.iter().enumerate() {
            assert_eq!(entry.code as usize, index, "{}", entry.name);
        }
    }

    #[test]
    fn requests_without_a_route_are_counted_by_plan_and_outcome() {
        let meters = GateMeters::default();
        meters.unrouted("free", Ended::refused(Code::RouteNotFound, 404));
        meters.unrouted("free", Ended::refused(Code::RateLimitExceeded, 429));
        meters.refused(Code::RouteNotFound);
        let counted = meters.requests();
        let words: Vec<_> =
            counted.iter().map(|(labels, word, count)| (&*labels.plan, *word, *count)).collect();
        assert_eq!(words, [("free", "limited", 1), ("free", "refused", 1)]);
        assert_eq!(meters.refusals(), [("route_not_found", 1)]);
    }
}
