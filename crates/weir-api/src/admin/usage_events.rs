//! Usage that was metered elsewhere, told as CloudEvents.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use weir_core::money::parse_decimal;
use weir_core::usage::{Meter, Usage};
use weir_engine::usage_events::{EventTaken, PricedBy, UsageEvent};

use crate::answer::Shown;
use crate::problem::Problem;
use crate::request::{Body, read_value};
use crate::settings::App;
use crate::time::parse_rfc3339;

/// Usage that was metered elsewhere, in the shape of a CloudEvent 1.0.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageEvent)]
pub(crate) struct UsageEventShape {
    /// `1.0`.
    #[schema(example = "1.0")]
    specversion: String,
    /// With `source` it is unique for ever: the same pair again is charged once.
    #[schema(min_length = 1, max_length = 128)]
    id: String,
    /// Who metered it.
    #[schema(min_length = 1, max_length = 200, example = "trainer/7")]
    source: String,
    /// What kind of event it is, in the words of whoever tells it.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 200, example = "job.finished")]
    kind: String,
    /// Who pays: an account's id, or the operator's own id for it.
    subject: String,
    /// When it was used. It is charged, and counts, when it is told.
    #[schema(format = DateTime)]
    time: Option<String>,
    /// `application/json`, if it is said at all.
    datacontenttype: Option<String>,
    /// Where the shape of `data` is described.
    dataschema: Option<String>,
    /// What was used.
    data: UsageData,
}

/// What was used, and by which price it is charged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageData {
    /// The price; either this or `model`.
    price: Option<String>,
    /// The model whose price it is.
    model: Option<String>,
    /// How much of each meter: whole numbers, seconds with up to three decimals as text.
    #[schema(example = json!({"second": "3600.5"}))]
    usage: BTreeMap<String, Value>,
}

/// What became of the events, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageTaken {
    /// One for each event.
    data: Vec<UsageOutcome>,
}

/// What became of an event.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct UsageOutcome {
    /// Its source; `null`: it could not be read.
    #[schema(required = true)]
    source: Option<String>,
    /// Its id; `null`: it could not be read.
    #[schema(required = true)]
    id: Option<String>,
    /// `charged`, `known` (it was taken before) or `refused` (nothing was charged).
    status: &'static str,
    /// The entry of the charge; `null`: there is none, or the plan is not charged.
    #[schema(required = true)]
    entry_id: Option<String>,
    /// What was charged.
    #[schema(required = true)]
    charge: Option<String>,
    /// Why it is refused.
    #[schema(required = true)]
    error: Option<UsageRefused>,
}

/// Why an event is refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageRefused {
    /// A stable code.
    code: &'static str,
    /// What is wrong.
    message: String,
    /// The member that is wrong.
    #[schema(required = true)]
    param: Option<String>,
}

/// Charges usage that was metered elsewhere: one CloudEvent, or an array of up to 500. Each event
/// is taken once per source and id, for ever, so that a batch can be sent again as a whole.
#[utoipa::path(post, path = "/usage-events", tag = "wallets", request_body = Vec<UsageEventShape>,
    responses((status = 200, description = "What became of each.", body = UsageTaken)))]
pub(crate) async fn take(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let told = read_value(request).await?;
    let (told, single) = match told {
        Value::Array(all) => (all, false),
        one => (vec![one], true),
    };
    if told.is_empty() || told.len() > EVENTS_MAX {
        let why = format!("a batch has 1 to {EVENTS_MAX} events");
        return Err(Problem::new(weir_wire::error::Code::InvalidRequest, why));
    }
    let (mut outcomes, mut events, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for one in told {
        let text = |member: &str| one[member].as_str().map(str::to_owned);
        let (source, id) = (text("source"), text("id"));
        let mut outcome = UsageOutcome { source, id, ..UsageOutcome::default() };
        match read(&app, one) {
            Ok(event) => {
                places.push(outcomes.len());
                events.push(event);
            }
            Err(problem) if single => return Err(problem),
            Err(problem) => outcome.refuse(&problem),
        }
        outcomes.push(outcome);
    }
    let taken = app.engine.take_usage(&events).await?;
    for (place, taken) in places.into_iter().zip(taken) {
        let outcome: &mut UsageOutcome = &mut outcomes[place];
        match taken {
            Ok(EventTaken::Posted(charge)) => {
                outcome.status = "charged";
                outcome.entry_id = charge.entry.map(|seq| seq.to_string());
                outcome.charge = Some(charge.amount.to_string());
            }
            Ok(EventTaken::Before) => outcome.status = "known",
            Err(why) if single => return Err(why.into()),
            Err(why) => outcome.refuse(&why.into()),
        }
    }
    Ok(Shown::plain(UsageTaken { data: outcomes }).changed(app.engine.now()))
}

impl UsageOutcome {
    fn refuse(&mut self, problem: &Problem) {
        self.status = "refused";
        let (code, message, param) = problem.told();
        self.error = Some(UsageRefused { code, message, param });
    }
}

fn read(app: &App, told: Value) -> Result<UsageEvent, Problem> {
    let shape: UsageEventShape = Body::<UsageEventShape>::parse(told)?;
    if shape.specversion != "1.0" {
        return Err(Problem::invalid("specversion", "it must be \"1.0\""));
    }
    let texts = [
        ("id", &shape.id, ID_MAX),
        ("source", &shape.source, NAME_MAX),
        ("type", &shape.kind, NAME_MAX),
    ];
    for (member, text, max) in texts {
        if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
            let why = format!("it must have 1 to {max} bytes and no control characters");
            return Err(Problem::invalid(member, why));
        }
    }
    if let Some(time) = &shape.time {
        parse_rfc3339(time).map_err(|why| Problem::invalid("time", why))?;
    }
    if shape.datacontenttype.as_deref().is_some_and(|kind| !kind.starts_with("application/json")) {
        return Err(Problem::invalid("datacontenttype", "it must be application/json"));
    }
    drop(shape.dataschema);
    let account = app.engine.account_named(&shape.subject).ok_or_else(|| {
        Problem::invalid("subject", format!("there is no account `{}`", shape.subject))
    })?;
    let by = match (shape.data.price, shape.data.model) {
        (Some(price), None) => PricedBy::Price(price),
        (None, Some(model)) => PricedBy::Model(model),
        _ => return Err(Problem::invalid("data", "it must name either `price` or `model`")),
    };
    let usage = read_usage(&shape.data.usage)?;
    Ok(UsageEvent { source: shape.source, id: shape.id, account, by, usage })
}

fn read_usage(told: &BTreeMap<String, Value>) -> Result<Usage, Problem> {
    let mut usage = Usage::NONE;
    for (name, amount) in told {
        let member = format!("data.usage.{name}");
        let meter = Meter::by_name(name).ok_or_else(|| {
            let meters = Meter::ALL.map(Meter::name).join(", ");
            Problem::invalid(&member, format!("there is no such meter; there are: {meters}"))
        })?;
        let text = match amount {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(Problem::invalid(&member, "it must be a number")),
        };
        let decimals = if meter == Meter::Second { 3 } else { 0 };
        let amount = parse_decimal(&text, decimals)
            .ok()
            .and_then(|amount| u64::try_from(amount).ok().filter(|amount| *amount <= AMOUNT_MAX));
        let amount = amount.ok_or_else(|| {
            let why = match decimals {
                0 => "it must be a whole number from 0 to 1000000000000000",
                _ => "it must be from 0 on, in seconds with at most three decimals",
            };
            Problem::invalid(&member, why)
        })?;
        usage = usage.with(meter, amount);
    }
    if usage == Usage::NONE {
        return Err(Problem::invalid("data.usage", "nothing was used"));
    }
    Ok(usage)
}

const EVENTS_MAX: usize = 500;
const ID_MAX: usize = 128;
const NAME_MAX: usize = 200;
const AMOUNT_MAX: u64 = 1_000_000_000_000_000;
