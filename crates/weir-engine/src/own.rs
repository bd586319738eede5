//! Limits that the API sets: values of an account's or key's own, by the limit's name.

use serde::Deserialize;
use serde_json::{Value, json};
use weir_core::calendar::Zone;
use weir_core::limit::{Algorithm, Anchor, Mode, Period, Rule, Terms, Unit};
use weir_core::model::ModelPattern;
use weir_core::money::{Nano, parse_decimal};
use weir_core::names::LimitNames;
use weir_core::plan::{Limit, Target};
use weir_core::policy::Policy;

use crate::zone;

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
    burst: Option<Value>,
    #[serde(default)]
    anchor: Option<String>,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    reserve: Option<String>,
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
        let kind = Kind { unit: limit.rule.unit(), mode: limit.rule.mode() };
        let rule = rule_of(value, false, kind).map_err(wrong)?;
        return Ok(Limit { rule, ..limit.clone() });
    }
    if name.starts_with("route:") {
        let routes: Vec<_> = known.map(|limit| limit.name).collect();
        let hint = format!("no route has such a limit; there are: {}", routes.join(", "));
        return Err(wrong(hint));
    }
    let (base, kind) = Kind::of(name);
    let target = target_of(base, policy).map_err(wrong)?;
    let rule = rule_of(value, target == Target::InFlight, kind).map_err(wrong)?;
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
    let (base, kind) = Kind::of(name);
    let target = target_of(base, policy).map_err(wrong)?;
    let rule = rule_of(value, target == Target::InFlight, kind).map_err(wrong)?;
    let (id, name) = names.intern(&format!("key:{name}"));
    Ok(Limit { id, name, target, rule })
}

/// What a limit's name says of its rule, as the configuration names limits: `ai.tokens`,
/// `all.shadow`, `ai.tokens.minute`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Kind {
    unit: Unit,
    mode: Mode,
}

impl Kind {
    /// The name without what it says of the rule, and that.
    fn of(name: &str) -> (&str, Self) {
        let mut kind = Self { unit: Unit::Requests, mode: Mode::Enforce };
        let mut base = name;
        if let Some((before, last)) = base.rsplit_once('.')
            && last.parse::<Period>().is_ok()
        {
            base = before;
        }
        if let Some(before) = base.strip_suffix(".shadow") {
            (base, kind.mode) = (before, Mode::Shadow);
        }
        for unit in [Unit::Tokens, Unit::Credits] {
            if let Some(before) =
                base.strip_suffix(unit.name()).and_then(|rest| rest.strip_suffix('.'))
            {
                (base, kind.unit) = (before, unit);
            }
        }
        (base, kind)
    }
}

fn target_of(name: &str, policy: &Policy) -> Result<Target, String> {
    if let Some(pattern) = name.strip_prefix("model:") {
        return ModelPattern::parse(pattern).map(Target::Model).map_err(|why| why.to_string());
    }
    match name {
        "all" => Ok(Target::All),
        "concurrency" => Ok(Target::InFlight),
        _ => {
            let mut classes: Vec<_> = policy.routes().iter().map(|route| &route.class).collect();
            classes.sort_unstable();
            classes.dedup();
            match classes.iter().find(|class| &****class == name) {
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

fn rule_of(value: &Value, in_flight: bool, kind: Kind) -> Result<Rule, String> {
    match value {
        Value::Number(number) if in_flight => {
            let quota = number.as_u64().ok_or("it must be a whole number")?;
            in_flight_rule(Some(quota))
        }
        Value::String(text) if in_flight && text == "unlimited" => in_flight_rule(None),
        _ if in_flight => Err("it must be a whole number or \"unlimited\"".to_owned()),
        Value::String(text) => checked(written_terms(text, kind)?),
        Value::Object(_) => {
            let long: LongForm =
                serde_json::from_value(value.clone()).map_err(|why| why.to_string())?;
            long_rule(&long, kind)
        }
        _ => Err("it must be a text such as \"100/hour\" or an object with `limit`".to_owned()),
    }
}

fn checked(terms: Terms) -> Result<Rule, String> {
    Rule::new(terms).map_err(|why| format!("{why}; {}", why.hint()))
}

/// `100/hour`; in credits an amount of money: `2.50/day`.
fn written_terms(text: &str, kind: Kind) -> Result<Terms, String> {
    let Kind { unit, mode } = kind;
    let terms = match (unit, text.split_once('/')) {
        (Unit::Credits, Some((amount, window))) => {
            let period = window.trim().parse::<Period>();
            let period = period.map_err(|why| format!("{why}; {}", why.hint()))?;
            Terms::new(Some(money(amount.trim())?), period)
        }
        _ => {
            let rule = text.parse::<Rule>().map_err(|why| format!("{why}; {}", why.hint()))?;
            rule.terms().clone()
        }
    };
    Ok(Terms { unit, mode, ..terms })
}

fn money(amount: &str) -> Result<u64, String> {
    let nano: Nano = amount.parse().map_err(|why| format!("{why}"))?;
    u64::try_from(nano.get()).map_err(|_| "an amount below zero is no limit".to_owned())
}

fn in_flight_rule(quota: Option<u64>) -> Result<Rule, String> {
    let terms = Terms { algorithm: Algorithm::Concurrency, ..Terms::new(quota, Period::SECOND) };
    Rule::new(terms).map_err(|why| why.to_string())
}

fn long_rule(long: &LongForm, named: Kind) -> Result<Rule, String> {
    let mut kind = named;
    if let Some(name) = &long.unit {
        kind.unit = Unit::by_name(name).ok_or("there is no such unit")?;
        if named.unit != Unit::Requests && kind.unit != named.unit {
            return Err(format!("by its name it counts {}", named.unit.name()));
        }
    }
    kind.mode = match long.mode.as_deref() {
        None => named.mode,
        Some("enforce") => Mode::Enforce,
        Some("shadow") => Mode::Shadow,
        Some(_) => return Err("mode is \"enforce\" or \"shadow\"".to_owned()),
    };
    let mut terms = match (&long.limit, &long.window) {
        (Value::String(text), None) => written_terms(text, kind)?,
        (Value::String(amount), Some(window)) if kind.unit == Unit::Credits => {
            written_terms(&format!("{amount}/{window}"), kind)?
        }
        (Value::Number(number), Some(window)) if kind.unit != Unit::Credits => {
            written_terms(&format!("{number}/{window}"), kind)?
        }
        _ if kind.unit == Unit::Credits => {
            return Err("write `limit` as an amount such as \"25.00\" beside `window`".to_owned());
        }
        _ => return Err("write `limit` as a number beside `window`, or as \"N/window\"".to_owned()),
    };
    if let Some(name) = &long.algorithm {
        terms.algorithm = Algorithm::by_name(name).ok_or("there is no such algorithm")?;
    }
    terms.burst = long.burst.as_ref().map(|burst| amount(burst, kind.unit)).transpose()?;
    terms.anchor = anchor(long)?;
    if let Some(text) = &long.reserve {
        terms.reserve_ppm = share(text).ok_or("reserve is a share such as \"10%\"")?;
    }
    checked(terms)
}

/// An amount in a unit: a whole number, in credits an amount of money as text.
fn amount(value: &Value, unit: Unit) -> Result<u64, String> {
    match (value, unit) {
        (Value::String(text), Unit::Credits) => money(text),
        (Value::Number(number), Unit::Requests | Unit::Tokens) if number.is_u64() => {
            Ok(number.as_u64().unwrap_or_default())
        }
        (_, Unit::Credits) => Err("burst is an amount such as \"25.00\"".to_owned()),
        _ => Err("burst must be a whole number".to_owned()),
    }
}

fn anchor(long: &LongForm) -> Result<Anchor, String> {
    match (long.anchor.as_deref(), &long.time_zone) {
        (None | Some("first-request"), None) => Ok(Anchor::FirstRequest),
        (None | Some("first-request"), Some(_)) => {
            Err("only windows with anchor \"calendar\" have a time_zone".to_owned())
        }
        (Some("calendar"), None) => Ok(Anchor::Calendar(Zone::UTC)),
        (Some("calendar"), Some(name)) => {
            let zone = zone::find(name).ok_or_else(|| format!("there is no time zone `{name}`"))?;
            Ok(Anchor::Calendar(zone))
        }
        (Some(_), _) => Err("anchor is \"first-request\" or \"calendar\"".to_owned()),
    }
}

/// `10%` or `2.5%` in millionths.
fn share(text: &str) -> Option<u32> {
    let ppm = parse_decimal(text.strip_suffix('%')?, 4).ok()?;
    u32::try_from(ppm).ok()
}

/// A rule in the long form, from which the same rule is read again.
pub(crate) fn written(rule: &Rule) -> Value {
    let terms = rule.terms();
    let amount = |amount: u64| match terms.unit {
        Unit::Credits => Nano::new(i64::try_from(amount).unwrap_or(i64::MAX)).to_string().into(),
        Unit::Requests | Unit::Tokens => Value::from(amount),
    };
    let Some(quota) = terms.quota else { return "unlimited".into() };
    if terms.algorithm == Algorithm::Concurrency {
        return quota.into();
    }
    let mut value = json!({
        "limit": amount(quota), "window": terms.period.to_string(),
        "algorithm": terms.algorithm.name(), "unit": terms.unit.name(),
    });
    if let Some(burst) = terms.burst {
        value["burst"] = amount(burst);
    }
    if let Anchor::Calendar(zone) = &terms.anchor {
        value["anchor"] = "calendar".into();
        value["time_zone"] = zone.name().into();
    }
    if terms.reserve_ppm > 0 {
        let percent = format!("{}.{:04}", terms.reserve_ppm / 10_000, terms.reserve_ppm % 10_000);
        let percent = percent.trim_end_matches('0').trim_end_matches('.');
        value["reserve"] = format!("{percent}%").into();
    }
    if terms.mode == Mode::Shadow {
        value["mode"] = "shadow".into();
    }
    value
}

#[cfg(test)]
mod tests {
    use weir_core::id::PolicyNumber;
    use weir_core::policy::PolicyParts;

    use super::*;

    /// `all` is known to every policy.
    #[track_caller]
    fn check(name: &str, value: &Value, expected: (Option<u64>, Unit, Mode)) {
        let policy = Policy::new(PolicyNumber(1), PolicyParts::default()).unwrap();
        let mut names = LimitNames::default();
        let of_account = account_limit(name, value, &policy, &mut names).unwrap();
        let of_key = key_limit(name, value, &policy, &mut names).unwrap();
        assert_eq!((of_account.name, of_key.name), (name, &*format!("key:{name}")));
        for limit in [of_account, of_key] {
            let rule = limit.rule;
            assert_eq!((rule.quota(), rule.unit(), rule.mode()), expected, "{name} {value}");
        }
    }

    #[track_caller]
    fn refused(name: &str, value: &Value, why: &str) {
        let policy = Policy::new(PolicyNumber(1), PolicyParts::default()).unwrap();
        let refused = account_limit(name, value, &policy, &mut LimitNames::default());
        let told = refused.unwrap_err().why;
        assert!(told.contains(why), "{told}");
    }

    #[test]
    fn a_limit_counts_what_its_name_says_however_its_value_is_written() {
        let (requests, tokens, credits) = (Unit::Requests, Unit::Tokens, Unit::Credits);
        let (enforce, shadow) = (Mode::Enforce, Mode::Shadow);
        check("all", &json!("5/hour"), (Some(5), requests, enforce));
        check("all.tokens", &json!("100000/minute"), (Some(100_000), tokens, enforce));
        check("all.tokens.minute", &json!("9/minute"), (Some(9), tokens, enforce));
        check("all.tokens.shadow", &json!("7/day"), (Some(7), tokens, shadow));
        check("all.shadow", &json!({"limit": 5, "window": "1h"}), (Some(5), requests, shadow));
        check("all.tokens", &json!({"limit": 5, "window": "1h"}), (Some(5), tokens, enforce));
        check("all.tokens", &json!("unlimited"), (None, tokens, enforce));
        check("all.credits", &json!("2.50/day"), (Some(2_500_000_000), credits, enforce));
        let money = json!({"limit": "25.00", "window": "1d", "unit": "credits"});
        check("all.credits", &money, (Some(25_000_000_000), credits, enforce));
        check("model:gpt-*.tokens", &json!("5/hour"), (Some(5), tokens, enforce));
        check("model:gpt-3.5-*", &json!("5/hour"), (Some(5), requests, enforce));
    }

    #[test]
    fn every_term_of_a_rule_is_written_and_read_again() {
        for (name, value) in [
            (
                "all",
                json!({"limit": 9, "window": "3 months", "anchor": "calendar",
                "time_zone": "Europe/Berlin", "reserve": "12.5%", "mode": "shadow"}),
            ),
            ("all", json!({"limit": 9, "window": "day", "anchor": "calendar"})),
            ("all", json!({"limit": 9, "window": "90s", "algorithm": "token-bucket", "burst": 20})),
            (
                "all.credits",
                json!({"limit": "9.5", "window": "1h", "unit": "credits",
                "algorithm": "token-bucket", "burst": "20.25", "reserve": "0.0001%"}),
            ),
            ("all.tokens", json!("unlimited")),
            ("concurrency", json!(7)),
        ] {
            let policy = Policy::new(PolicyNumber(1), PolicyParts::default()).unwrap();
            let mut names = LimitNames::default();
            let mut read = |value: &Value| account_limit(name, value, &policy, &mut names).unwrap();
            let rule = read(&value).rule;
            assert_eq!(read(&written(&rule)).rule, rule, "{value}");
        }
    }

    #[test]
    fn a_term_that_is_none_is_refused() {
        let with = |term: &str, value: Value| {
            let mut long = json!({"limit": 9, "window": "day"});
            long[term] = value;
            long
        };
        refused("all", &with("anchor", json!("noon")), "\"calendar\"");
        refused("all", &with("time_zone", json!("UTC")), "anchor");
        refused("all", &with("reserve", json!("ten")), "\"10%\"");
        refused("all", &with("reserve", json!("101%")), "between 0% and 100%");
        refused("all", &with("burst", json!("many")), "whole number");
        let nowhere = json!({"limit": 9, "window": "day", "anchor": "calendar",
            "time_zone": "Middle/Earth"});
        refused("all", &nowhere, "`Middle/Earth`");
    }

    #[test]
    fn what_contradicts_the_name_is_refused() {
        let requests = json!({"limit": 5, "window": "1h", "unit": "requests"});
        refused("all.tokens", &requests, "by its name it counts tokens");
        refused("all.credits", &json!({"limit": 5, "window": "1h"}), "\"25.00\"");
        refused("all.credits", &json!("-1/day"), "");
        refused("concurrency", &json!("5/hour"), "whole number");
        refused("all.nothing", &json!("5/hour"), "there is no such class");
    }
}
