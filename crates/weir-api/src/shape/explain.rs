//! What would become of a call, as the admin API is asked and answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use utoipa::ToSchema;
use weir_core::id::{AccountId, KeyId};
use weir_core::limit::Unit;
use weir_core::money::Nano;
use weir_core::policy::RoutePrice;
use weir_core::window::Wait;
use weir_engine::cell::{AccountCell, KeyCell};
use weir_engine::engine::Engine;
use weir_engine::rehearse::{Considered, Explained, Question, Quoted, Rehearsal, Sized, Source};

use crate::problem::Problem;
use crate::shape::boost::multiplier;
use crate::shape::limit::{LimitShape, told};
use crate::shape::price::{self, PriceShape};

/// A call that nobody makes.
#[derive(Deserialize, ToSchema)]
#[schema(as = Question)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuestionShape {
    /// The account. Without `key` and `secret`: as a new key of type `read_write` would be.
    account: Option<String>,
    /// The id of the key.
    key: Option<String>,
    /// The key itself.
    secret: Option<String>,
    /// The method.
    #[schema(example = "POST")]
    method: String,
    /// The path, with a query or without.
    #[schema(example = "/ai/chat")]
    path: String,
    /// The body: JSON, or a text as it would be sent.
    #[schema(value_type = Option<Value>)]
    body: Option<Value>,
    /// The model, where there is no body.
    model: Option<String>,
    /// What the input counts as, whatever the body says.
    input_tokens: Option<u64>,
    /// The output bound, where there is no body.
    output_tokens: Option<u64>,
    /// Where the call comes from; needed for keys that are bound to addresses.
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// `X-Priority`: `critical`, `high`, `normal`, `low`.
    priority: Option<String>,
}

/// What would become of a call, and why. Nothing was changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub(crate) struct ExplanationShape {
    /// Whether it would be passed on.
    passes: bool,
    /// The status of the refusal; `null`: the upstream's.
    #[schema(required = true)]
    status: Option<u16>,
    /// The code of the refusal.
    #[schema(required = true)]
    code: Option<String>,
    /// Why, in a sentence.
    reason: String,
    /// The headers of the refusal, or those that Weir adds to the upstream's answer.
    headers: BTreeMap<String, String>,
    /// The body of the refusal.
    #[schema(required = true, value_type = Option<Value>)]
    body: Option<Value>,
    /// Who calls; `null`: the key is not known.
    #[schema(required = true)]
    caller: Option<CallerShape>,
    /// The route that it takes.
    #[schema(required = true)]
    route: Option<RouteShape>,
    /// The model that it names.
    #[schema(required = true)]
    model: Option<String>,
    /// Every limit that counts it, and what it says to it by itself.
    limits: Vec<ConsideredShape>,
    /// Limits of the endpoint that do not apply, because the plan does not limit its class.
    left_out: Vec<&'static str>,
    /// How large it may become.
    #[schema(required = true)]
    size: Option<SizeShape>,
    /// By what it is priced, and the most that it can cost.
    #[schema(required = true)]
    price: Option<QuoteShape>,
    /// The wallet, on plans that are charged.
    #[schema(required = true)]
    wallet: Option<WouldHoldShape>,
}

/// Who calls.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedCaller)]
pub(crate) struct CallerShape {
    /// The account.
    account_id: String,
    /// Its plan.
    plan: String,
    /// The key; `null`: one that nobody has.
    #[schema(required = true)]
    key_id: Option<String>,
    /// What kind of key it is.
    key_type: &'static str,
}

/// The route of a call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedRoute)]
pub(crate) struct RouteShape {
    /// As it is configured.
    #[schema(rename = "match")]
    #[serde(rename = "match")]
    pattern: String,
    /// The operation class.
    class: String,
    /// The scope that a key needs.
    #[schema(required = true)]
    scope: Option<String>,
    /// How many requests a call counts as.
    weight: u64,
    /// By what it is priced: `free`, `model` or the price's name.
    price: String,
    /// Who would get the call; `null` where it was refused before.
    #[schema(required = true)]
    upstream: Option<String>,
}

/// A limit that counts a call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedLimit)]
pub(crate) struct ConsideredShape {
    /// Where it stands.
    #[serde(flatten)]
    limit: LimitShape,
    /// Where it comes from: `plan`, `route`, `account` (a value of its own), `key_type` (the plan's
    /// default for such keys), `key`.
    source: &'static str,
    /// Units per window as they are configured there; `null`: unlimited.
    #[schema(required = true, value_type = Option<Value>)]
    configured: Option<Value>,
    /// What the plan multiplies the endpoint's figure by; `null` elsewhere.
    #[schema(required = true, value_type = Option<f64>)]
    endpoint_multiplier: Option<Number>,
    /// The boosts that act on it.
    boosts: Vec<ActingShape>,
    /// How much of it the call takes.
    takes: Value,
    /// By itself: `passes`, `waits` or `never`.
    verdict: &'static str,
    /// After how long it would let the same call pass.
    #[schema(required = true)]
    wait_ms: Option<i64>,
}

/// A boost that acts on a limit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActingBoost)]
pub(crate) struct ActingShape {
    /// Its id.
    id: String,
    /// What it multiplies by.
    #[schema(required = true, value_type = Option<f64>)]
    multiplier: Option<Number>,
    /// What it sets the limit to, where that is more.
    #[schema(required = true)]
    value: Option<u64>,
}

/// How large a call may become.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedSize)]
pub(crate) struct SizeShape {
    /// Tokens of the prompt, as estimated.
    input_tokens: u64,
    /// Tokens of one answer that are counted and held for.
    output_tokens: u64,
    /// How many answers are made.
    answers: u64,
    /// What decides `output_tokens`: `request`, `model` (its `max_output_tokens`), `route` (its
    /// `hold_output_tokens`), `wallet` (what it still covers), `nothing` (no output is produced).
    output_from: &'static str,
    /// The most output tokens of one answer that are forwarded; `null`: no bound.
    #[schema(required = true)]
    max_output_tokens: Option<u64>,
    /// Whether it is a stream, which renews its hold as output flows.
    stream: bool,
}

/// The price of a call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedPrice)]
pub(crate) struct QuoteShape {
    /// The price as this account gets it.
    #[serde(flatten)]
    price: PriceShape,
    /// The most that the call can cost within its bound.
    worst_cost: String,
    /// Whether that is held of the wallet; else it is only counted.
    charged: bool,
}

/// The wallet before and after.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedWallet)]
pub(crate) struct WouldHoldShape {
    /// What is posted.
    balance: String,
    /// What running calls hold.
    held: String,
    /// What may be held, the credit line included.
    available: String,
    /// What the call would hold; `null`: it does not come to that.
    #[schema(required = true)]
    would_hold: Option<String>,
    /// What would be available then.
    #[schema(required = true)]
    available_after: Option<String>,
}

impl QuestionShape {
    /// What the data plane is asked.
    ///
    /// # Errors
    ///
    /// [`Problem`] where it is not said, or not unambiguously, who calls.
    pub(crate) fn question(self, engine: &Engine) -> Result<Question, Problem> {
        let key = self.caller(engine)?;
        let bound = key.as_ref().is_some_and(|key| key.state.load().key.allowed_ips.is_some());
        if bound && self.address.is_none() {
            let why = "this key is bound to addresses: say where the call comes from";
            return Err(Problem::invalid("address", why));
        }
        if self.body.is_some() && (self.model.is_some() || self.output_tokens.is_some()) {
            let why = "the body says it already";
            let twice = if self.model.is_some() { "model" } else { "output_tokens" };
            return Err(Problem::invalid(twice, why));
        }
        let body = self.body.map(|body| match body {
            Value::String(text) => text.into_bytes(),
            value => value.to_string().into_bytes(),
        });
        Ok(Question {
            key,
            address: self.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            method: self.method,
            target: self.path,
            body: body.map(Vec::into_boxed_slice),
            model: self.model,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            priority: self.priority,
        })
    }

    /// The key; `None`: a secret that is not known.
    fn caller(&self, engine: &Engine) -> Result<Option<Arc<KeyCell>>, Problem> {
        let account = self.account.as_deref().map(|id| account_of(engine, id)).transpose()?;
        let key = match (&self.key, &self.secret, &account) {
            (Some(_), Some(_), _) => {
                return Err(Problem::invalid("secret", "it takes one of `key` and `secret`"));
            }
            (Some(id), None, _) => {
                let known = id.parse::<KeyId>().ok().and_then(|id| engine.key(id));
                Some(known.ok_or_else(|| Problem::invalid("key", "there is no such key"))?)
            }
            (None, Some(secret), _) => engine.identify(secret.trim()),
            (None, None, Some(account)) => Some(engine.imagined_key(account)),
            (None, None, None) => {
                let why = "say who calls: `account`, `key` or `secret`";
                return Err(Problem::invalid("account", why));
            }
        };
        match (&key, &account) {
            (Some(key), Some(account)) if key.account.id != account.id => {
                Err(Problem::invalid("account", "the key is another account's"))
            }
            _ => Ok(key),
        }
    }
}

fn account_of(engine: &Engine, id: &str) -> Result<Arc<AccountCell>, Problem> {
    let known = id.parse::<AccountId>().ok().and_then(|id| engine.account(id));
    known.ok_or_else(|| Problem::invalid("account", "there is no such account"))
}

impl ExplanationShape {
    /// What was found out.
    pub(crate) fn of(
        explained: &Explained<Result<HeaderMap, Response<Bytes>>>,
        question: &Question,
        engine: &Engine,
    ) -> Self {
        let refusal = explained.answer.as_ref().err();
        let body: Option<Value> =
            refusal.and_then(|answer| serde_json::from_slice(answer.body()).ok());
        let word = |pointer: &str| {
            let word = body.as_ref()?.pointer(pointer)?.as_str()?;
            Some(word.to_owned())
        };
        let reason = word("/detail").or_else(|| word("/error/message"));
        let headers = match &explained.answer {
            Ok(headers) => headers,
            Err(answer) => answer.headers(),
        };
        let rehearsal = explained.rehearsal.as_ref();
        let quote = rehearsal.and_then(|rehearsal| rehearsal.quote.as_ref());
        Self {
            passes: refusal.is_none(),
            status: refusal.map(|answer| answer.status().as_u16()),
            code: word("/error/code").or_else(|| word("/error/type")),
            reason: reason.unwrap_or_else(|| passes(rehearsal)),
            headers: texts(headers),
            caller: question.key.as_deref().map(CallerShape::of),
            route: RouteShape::of(explained),
            model: explained.model.as_deref().map(str::to_owned),
            limits: rehearsal
                .map(|rehearsal| rehearsal.limits.iter().map(ConsideredShape::of).collect())
                .unwrap_or_default(),
            left_out: rehearsal.map(|r| r.left_out.clone()).unwrap_or_default(),
            size: explained.sized.map(|sized| SizeShape::of(&sized, quote)),
            price: quote.and_then(|quote| QuoteShape::of(quote, question, engine)),
            wallet: rehearsal.and_then(WouldHoldShape::of),
            body,
        }
    }
}

/// What is said of a call that passes.
fn passes(rehearsal: Option<&Rehearsal>) -> String {
    let passed = rehearsal.and_then(|rehearsal| rehearsal.outcome.as_ref().ok());
    let shadowed = passed.map(|passed| passed.shadowed.join(", ")).unwrap_or_default();
    let clamped = passed.and_then(|passed| passed.clamped);
    let mut text = "The call passes".to_owned();
    if let Some(tokens) = clamped {
        text.push_str(&format!(", with its output bound lowered to {tokens} tokens"));
    }
    if !shadowed.is_empty() {
        text.push_str(&format!("; in shadow mode, and so not refusing: {shadowed}"));
    }
    text.push('.');
    text
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

impl CallerShape {
    fn of(key: &KeyCell) -> Self {
        let account = &key.account;
        Self {
            account_id: account.id.to_string(),
            plan: account.record.load().plan.clone(),
            key_id: (key.id != KeyId(0)).then(|| key.id.to_string()),
            key_type: key.state.load().key.kind.name(),
        }
    }
}

impl RouteShape {
    fn of<A>(explained: &Explained<A>) -> Option<Self> {
        let (policy, index) = explained.route.as_ref()?;
        let route = policy.route(*index)?;
        Some(Self {
            pattern: route.pattern.as_str().to_owned(),
            class: route.class.to_string(),
            scope: route.scope.as_deref().map(str::to_owned),
            weight: route.weight,
            price: match &route.price {
                RoutePrice::Free => "free".to_owned(),
                RoutePrice::ByModel => "model".to_owned(),
                RoutePrice::Named(name) => name.to_string(),
            },
            upstream: explained.upstream.as_deref().map(str::to_owned),
        })
    }
}

impl ConsideredShape {
    fn of(considered: &Considered) -> Self {
        let unit: Unit = considered.view.unit;
        let (verdict, wait_ms) = match considered.verdict {
            Ok(()) => ("passes", None),
            Err(Wait::For(wait)) => ("waits", Some(wait.millis_ceil())),
            Err(Wait::Never) => ("never", None),
        };
        let (source, times) = match considered.source {
            Source::Plan => ("plan", None),
            Source::Route(times) => ("route", multiplier(times)),
            Source::Account => ("account", None),
            Source::KeyType(_) => ("key_type", None),
            Source::Key => ("key", None),
        };
        let boosts = considered.boosts.iter().map(|(id, ppm, value)| ActingShape {
            id: id.to_string(),
            multiplier: ppm.and_then(multiplier),
            value: *value,
        });
        Self {
            limit: LimitShape::of(&considered.view),
            source,
            configured: considered.configured.map(|quota| told(unit, quota)),
            endpoint_multiplier: times,
            boosts: boosts.collect(),
            takes: told(unit, considered.amount),
            verdict,
            wait_ms,
        }
    }
}

impl SizeShape {
    fn of(sized: &Sized, quote: Option<&Quoted>) -> Self {
        let bound = quote.map_or(sized.bound, |quote| quote.bound);
        let asked = sized.asked.map(|(_, tokens)| tokens);
        let output_from = match asked {
            _ if sized.bound.output == 0 => "nothing",
            _ if bound.output < sized.bound.output => "wallet",
            Some(asked) if sized.bound.output == asked => "request",
            _ if sized.model_max == Some(sized.bound.output) => "model",
            _ => "route",
        };
        Self {
            input_tokens: bound.input,
            output_tokens: bound.output,
            answers: bound.choices,
            output_from,
            max_output_tokens: sized.output_max,
            stream: sized.stream,
        }
    }
}

impl QuoteShape {
    fn of(quote: &Quoted, question: &Question, engine: &Engine) -> Option<Self> {
        let contract = question.key.as_ref().and_then(|key| engine.contract_of(&key.account));
        let (policy, now) = (engine.policy(), engine.now());
        let all = price::prices(&policy, contract.as_deref(), engine.currency(), now);
        Some(Self {
            price: all.into_iter().find(|price| *price.name == *quote.price)?,
            worst_cost: quote.worth.to_string(),
            charged: quote.charged,
        })
    }
}

impl WouldHoldShape {
    fn of(rehearsal: &Rehearsal) -> Option<Self> {
        let wallet = rehearsal.wallet?;
        let passed = rehearsal.outcome.as_ref().ok();
        let text = |amount: Option<Nano>| amount.map(|amount| amount.to_string());
        Some(Self {
            balance: wallet.balance.to_string(),
            held: wallet.held.to_string(),
            available: wallet.available.to_string(),
            would_hold: text(passed.and_then(|passed| passed.hold)),
            available_after: text(passed.and_then(|passed| passed.available)),
        })
    }
}
