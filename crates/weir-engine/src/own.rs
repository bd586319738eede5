//! Limits that the API sets: values of an account's or key's own, by the limit's name.

use serde::Deserialize;
use serde_json::Value;
use weir_core::limit::{Algorithm, Mode, Period, Rule, Terms, Unit};
use weir_core::model::ModelPattern;
use weir_core::names::LimitNames;
use weir_core::plan::{Limit, Target};
use weir_core::policy::Policy;

/// Why a limit of the API is not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("limit `{name}`: {why}")]
pub struct InvalidOwnLimit {
    /// The name under which it was sent.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// The long form of a limit, as in the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LongForm {
    limit: Value,
    #[serde(default)]
    window: Option<String>,
    #[serde(default)]
    algorithm: Option<String>,
    #[serde(default)]
    burst: Option<u64>,
    #[serde(default)]
    unit: Option<String>,
    #[serde(default)]
    mode: Option<String>,
}

/// Reads an account's own value for the limit of that name.
///
/// # Errors
///
/// [`InvalidOwnLimit`] when the name fits no limit of the policy or the value is no limit.
pub fn account_limit(
    name: &str,
    value: &Value,
    policy: &Policy,
    names: &mut LimitNames,
) -> Result<Limit, InvalidOwnLimit> {
    let wrong = |why: String| InvalidOwnLimit { name: name.to_owned(), why };
    let known = policy.routes().iter().flat_map(|route| &route.limits);
    if let Some(limit) = known.clone().find(|limit| limit.name == name) {
        let rule = rule_of(value, false).map_err(wrong)?;
        return Ok(Limit { rule, ..limit.clone() });
    }
    if name.starts_with("route:") {
        let routes: Vec<_> = known.map(|limit| limit.name).collect();
        let hint = format!("no route has such a limit; there are: {}", routes.join(", "));
        return Err(wrong(hint));
    }
    let target = target_of(name, policy).map_err(wrong)?;
    let rule = rule_of(value, target == Target::InFlight).map_err(wrong)?;
    let (id, name) = names.intern(name);
    Ok(Limit { id, name, target, rule })
}

/// Reads a key's own limit on a class, `all`, `concurrency` or a model pattern.
///
/// # Errors
///
/// [`InvalidOwnLimit`] when the name fits no class of the policy or the value is no limit.
pub fn key_limit(
    name: &str,
    value: &Value,
    policy: &Policy,
    names: &mut LimitNames,
) -> Result<Limit, InvalidOwnLimit> {
    let wrong = |why: String| InvalidOwnLimit { name: name.to_owned(), why };
    let target = target_of(name, policy).map_err(wrong)?;
    let rule = rule_of(value, target == Target::InFlight).map_err(wrong)?;
    let (id, name) = names.intern(&format!("key:{name}"));
    Ok(Limit { id, name, target, rule })
}

fn target_of(name: &str, policy: &Policy) -> Result<Target, String> {
    if let Some(pattern) = name.strip_prefix("model:") {
        return ModelPattern::parse(pattern).map(Target::Model).map_err(|why| why.to_string());
    }
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    match stem {
        "all" => Ok(Target::All),
        "concurrency" => Ok(Target::InFlight),
        _ => {
            let mut classes: Vec<_> = policy.routes().iter().map(|route| &route.class).collect();
            classes.sort_unstable();
            classes.dedup();
            match classes.iter().find(|class| &****class == stem) {
                Some(class) => Ok(Target::Class((*class).clone())),
                None => Err(format!(
                    "there is no such class; limits are named by a class ({}), `all`, \
                     `concurrency`, `model:PATTERN` or `route:METHOD PATH`",
                    classes.iter().map(|class| &***class).collect::<Vec<_>>().join(", ")
                )),
            }
        }
    }
}

fn rule_of(value: &Value, in_flight: bool) -> Result<Rule, String> {
    match value {
        Value::Number(number) if in_flight => {
            let quota = number.as_u64().ok_or("it must be a whole number")?;
            in_flight_rule(Some(quota))
        }
        Value::String(text) if in_flight && text == "unlimited" => in_flight_rule(None),
        Value::String(text) => text.parse::<Rule>().map_err(|why| format!("{why}; {}", why.hint())),
        Value::Object(_) => {
            let long: LongForm =
                serde_json::from_value(value.clone()).map_err(|why| why.to_string())?;
            long_rule(&long)
        }
        _ => Err("it must be a text such as \"100/hour\" or an object with `limit`".to_owned()),
    }
}

fn in_flight_rule(quota: Option<u64>) -> Result<Rule, String> {
    let terms = Terms { algorithm: Algorithm::Concurrency, ..Terms::new(quota, Period::SECOND) };
    Rule::new(terms).map_err(|why| why.to_string())
}

fn long_rule(long: &LongForm) -> Result<Rule, String> {
    let base = match (&long.limit, &long.window) {
        (Value::String(text), None) => text.parse::<Rule>().map_err(|why| why.to_string())?,
        (Value::Number(number), Some(window)) => {
            format!("{number}/{window}").parse::<Rule>().map_err(|why| why.to_string())?
        }
        _ => return Err("write `limit` as a number beside `window`, or as \"N/window\"".to_owned()),
    };
    let mut terms = base.terms().clone();
    if let Some(name) = &long.algorithm {
        terms.algorithm = Algorithm::by_name(name).ok_or("there is no such algorithm")?;
    }
    if let Some(name) = &long.unit {
        terms.unit = Unit::by_name(name).ok_or("there is no such unit")?;
    }
    terms.burst = long.burst;
    terms.mode = match long.mode.as_deref() {
        None | Some("enforce") => Mode::Enforce,
        Some("shadow") => Mode::Shadow,
        Some(_) => return Err("mode is \"enforce\" or \"shadow\"".to_owned()),
    };
    Rule::new(terms).map_err(|why| format!("{why}; {}", why.hint()))
}
