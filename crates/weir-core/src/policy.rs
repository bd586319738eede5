//! What the operator decided: routes, plans, models and prices; validated, immutable, numbered.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::PolicyNumber;
use crate::model::ModelPattern;
use crate::operation::{Lookup, RouteIndex, RoutePattern, RouteTable, Tie};
use crate::plan::{Limit, Plan};
use crate::price::PriceBook;

/// What the operator decided.
#[derive(Debug)]
pub struct Policy {
    number: PolicyNumber,
    routes: Vec<Route>,
    table: RouteTable,
    plans: BTreeMap<Arc<str>, Arc<Plan>>,
    models: Vec<ModelTerms>,
    prices: PriceBook,
}

/// One route of the data plane.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which requests it answers to.
    pub pattern: RoutePattern,
    /// The name of its upstream.
    pub upstream: Arc<str>,
    /// The operation class of its calls.
    pub class: Arc<str>,
    /// The key scope that its calls need.
    pub scope: Option<Arc<str>>,
    /// Endpoint limits, before the plan's multiplier.
    pub limits: Vec<Limit>,
    /// How many requests one call counts as; at least 1.
    pub weight: u64,
    /// Where the usage of a call is read.
    pub usage: UsageSource,
    /// By what its calls are priced.
    pub price: RoutePrice,
    /// Output tokens held at a time for a call that names no bound, or for a stream.
    pub hold_output_tokens: u64,
    /// The least output bound to which a call may be lowered.
    pub min_output_tokens: u64,
    /// What to do when the hold does not fit.
    pub on_low_balance: OnLowBalance,
    /// What to do when the renewal of a running stream's hold does not fit.
    pub on_exhausted: OnExhausted,
    /// What to charge when the upstream reports no usage.
    pub on_missing_usage: OnMissingUsage,
    /// What to do when the client of a stream hangs up.
    pub on_disconnect: OnDisconnect,
    /// Whether answers are kept.
    pub cache: CacheMode,
}

/// Where the usage of a call is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UsageSource {
    /// Nowhere: only the call itself is counted.
    None,
    /// OpenAI-shaped bodies and streams.
    OpenAi,
    /// Anthropic-shaped bodies and streams.
    Anthropic,
    /// The JSON answer, by JSON pointer (RFC 6901): an object of meters, or a number of requests.
    JsonPointer(Box<str>),
    /// A header of the answer: a number of requests.
    Header(Box<str>),
    /// The time that the upstream took, in milliseconds.
    Duration,
    /// The bytes of the answer's body.
    Bytes,
}

/// By what the calls of a route are priced.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RoutePrice {
    /// They cost nothing.
    Free,
    /// By the price of the model that the request names.
    ByModel,
    /// By this price.
    Named(Arc<str>),
}

/// What to do when a hold does not fit the balance.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnLowBalance {
    /// Refuse with 402.
    #[default]
    Refuse,
    /// Lower the output bound to what fits.
    Clamp,
}

/// What to do when the renewal of a running stream's hold does not fit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnExhausted {
    /// End the stream with an error event; what was produced is charged.
    #[default]
    Stop,
    /// Let it end; the rest becomes debt.
    Finish,
}

/// What to charge when the upstream reports no usage.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnMissingUsage {
    /// What was produced, as counted by Weir.
    #[default]
    Estimate,
    /// The hold.
    Hold,
    /// Nothing.
    Free,
}

/// What to do when the client of a stream hangs up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnDisconnect {
    /// Cancel the upstream; what was produced is charged.
    #[default]
    Stop,
    /// Read the upstream to its end and charge that.
    Drain,
}

/// Whether answers of a route are kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CacheMode {
    /// Never.
    #[default]
    Off,
    /// By the rules of RFC 9111.
    Http,
    /// By the exact request, where the client asks for it.
    Exact,
}

/// What holds for a model, or for models whose names begin alike.
#[derive(Clone, Debug)]
pub struct ModelTerms {
    /// Which models.
    pub pattern: ModelPattern,
    /// The upstream of their calls, instead of the route's.
    pub upstream: Option<Arc<str>>,
    /// The name of their price; `None`: the price of the same name.
    pub price: Option<Arc<str>>,
    /// The most output tokens that one call may ask for.
    pub max_output_tokens: Option<u64>,
}

/// Why a policy cannot be: the place in its parts is in the variant.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPolicy {
    /// Two routes answer to the same requests.
    #[error("route {second} answers to the same method and path as route {first}")]
    Tie {
        /// Position of the earlier route.
        first: usize,
        /// Position of the later route.
        second: usize,
    },
    /// More routes than a policy can have.
    #[error("more than {} routes", u16::MAX)]
    TooManyRoutes,
}

/// The parts of a policy.
#[derive(Debug, Default)]
pub struct PolicyParts {
    /// Routes, in the order of the file.
    pub routes: Vec<Route>,
    /// Plans.
    pub plans: Vec<Plan>,
    /// Models.
    pub models: Vec<ModelTerms>,
    /// Prices by name.
    pub prices: PriceBook,
}

impl Policy {
    /// Puts the parts together.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] when two routes answer to the same requests.
    pub fn new(number: PolicyNumber, parts: PolicyParts) -> Result<Self, InvalidPolicy> {
        let mut table = RouteTable::default();
        for (second, route) in parts.routes.iter().enumerate() {
            let index = u16::try_from(second).map_err(|_| InvalidPolicy::TooManyRoutes)?;
            table.insert(&route.pattern, RouteIndex(index)).map_err(|Tie { first }| {
                InvalidPolicy::Tie { first: usize::from(first.0), second }
            })?;
        }
        let mut models = parts.models;
        models.sort_by_key(|terms| std::cmp::Reverse(terms.pattern.precision()));
        let plans = parts.plans.into_iter().map(|plan| (Arc::clone(&plan.name), Arc::new(plan)));
        Ok(Self {
            number,
            routes: parts.routes,
            table,
            plans: plans.collect(),
            models,
            prices: parts.prices,
        })
    }

    /// Its number.
    pub fn number(&self) -> PolicyNumber {
        self.number
    }

    /// The same policy under the number that it got when it was accepted.
    #[must_use]
    pub fn numbered(mut self, number: PolicyNumber) -> Self {
        self.number = number;
        self
    }

    /// Looks for the route of a request; the path must have passed
    /// [`crate::operation::check_path`].
    pub fn find_route(&self, method: &str, path: &str) -> Lookup {
        self.table.find(method, path)
    }

    /// All routes, by their index.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route at an index that [`Self::find_route`] gave.
    pub fn route(&self, index: RouteIndex) -> Option<&Route> {
        self.routes.get(usize::from(index.0))
    }

    /// The plan of that name.
    pub fn plan(&self, name: &str) -> Option<&Arc<Plan>> {
        self.plans.get(name)
    }

    /// All plans by name.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.values()
    }

    /// What holds for a model: of all patterns that cover it, the most precise.
    pub fn model(&self, model: &str) -> Option<&ModelTerms> {
        self.models.iter().find(|terms| terms.pattern.covers(model))
    }

    /// Whether a model is named here as it is, and not only covered by a pattern.
    pub fn names_model(&self, model: &str) -> bool {
        let whole = |terms: &ModelTerms| terms.pattern.precision() == (model.len(), true);
        self.model(model).is_some_and(whole) || self.prices.price(model).is_some()
    }

    /// All models, most precise patterns first.
    pub fn models(&self) -> &[ModelTerms] {
        &self.models
    }

    /// All list prices.
    pub fn prices(&self) -> &PriceBook {
        &self.prices
    }

    /// The name of the price of a model: the one that its terms name, else its own, else that of
    /// its pattern. `None`: the model has no list price and is not for sale.
    pub fn price_name_of_model<'a>(&'a self, model: &'a str) -> Option<&'a str> {
        let listed = |name: &'a str| self.prices.price(name).map(|price| price.name());
        let terms = self.model(model);
        match terms.and_then(|terms| terms.price.as_deref()) {
            Some(named) => listed(named),
            None => listed(model).or_else(|| {
                let pattern = terms?.pattern.to_string();
                self.prices.price(&pattern).map(|price| price.name())
            }),
        }
    }
}
