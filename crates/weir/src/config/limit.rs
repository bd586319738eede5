//! The grammar of limits: a text, a table, or a list of both.

use std::sync::Arc;

use toml::de::DeValue;
use weir_core::calendar::Zone;
use weir_core::limit::{Algorithm, Anchor, InvalidRule, Mode, Period, Rule, Terms, Unit};
use weir_core::model::ModelPattern;
use weir_core::money::Nano;
use weir_core::plan::Target;

use super::place::{At, Place};
use super::read::{Read, Reading, Section, Value, Want, kind};
use super::values::Percent;
use super::zone;

/// One limit of a plan, a key type or a route.
#[derive(Clone, Debug)]
pub(crate) struct LimitFile {
    /// The name that it is known by.
    pub(crate) name: String,
    /// The key under which it stands.
    pub(crate) key: At<String>,
    /// Which calls it counts; `None` for the limits of a route.
    pub(crate) target: Option<Target>,
    /// The checked rule.
    pub(crate) rule: Rule,
}

/// Reads a table of limits: class, `all` or `model:PATTERN` to one rule or several.
///
/// `prefix` is put before every name. `concurrency` is a key only below `key_limits`.
pub(crate) fn read_limits(
    section: Section<'_, '_>,
    prefix: &str,
    reading: &mut Reading<'_>,
) -> Vec<LimitFile> {
    let entries = section.entries(reading, |name, value, reading| {
        let target = read_target(name, prefix, reading)?;
        let rules = match target {
            Target::InFlight => read_concurrency(value, reading).into_iter().collect(),
            _ => read_rules(value, reading),
        };
        Some(named_limits(&format!("{prefix}{}", name.value), name, Some(&target), rules, reading))
    });
    entries.into_iter().flat_map(|entry| entry.value).collect()
}

/// Gives each rule of one key its name: the unit where that is not requests, `shadow` where it
/// does not enforce, and, where several would then be called the same, the window for all but the
/// longest. So the main limit keeps its name when a second one joins it, or when another plan has
/// only that one: counts go by names.
pub(crate) fn named_limits(
    base: &str,
    key: &At<String>,
    target: Option<&Target>,
    rules: Vec<At<Rule>>,
    reading: &mut Reading<'_>,
) -> Vec<LimitFile> {
    let plain = |rule: &Rule| {
        let unit = match rule.unit() {
            Unit::Requests => String::new(),
            unit => format!(".{}", unit.name()),
        };
        let mode = if rule.mode() == Mode::Shadow { ".shadow" } else { "" };
        format!("{base}{unit}{mode}")
    };
    let mut limits: Vec<LimitFile> = Vec::new();
    for At { value: rule, place } in &rules {
        let mut name = plain(rule);
        let longest = rules
            .iter()
            .filter(|other| plain(&other.value) == name)
            .all(|other| other.value.window() <= rule.window());
        if !longest {
            name = format!("{name}.{}", rule.terms().period);
        }
        if limits.iter().any(|limit| limit.name == name) {
            let hint = "one of them never decides: keep the smaller, or give it another window";
            reading.object(*place, "two limits of the same unit and window", hint);
            continue;
        }
        let (key, rule) = (key.clone(), rule.clone());
        limits.push(LimitFile { name, key, target: target.cloned(), rule });
    }
    limits
}

/// One rule, or a list of them.
pub(crate) fn read_rules(value: &Value<'_>, reading: &mut Reading<'_>) -> Vec<At<Rule>> {
    let read = |value: &Value<'_>, reading: &mut Reading<'_>| {
        let place = value.span().into();
        read_rule(value, reading).map(|value| At { value, place })
    };
    match value.get_ref() {
        DeValue::Array(items) => {
            if items.is_empty() {
                let hint = "write \"unlimited\", or leave the key out";
                reading.object(value.span().into(), "an empty list of limits", hint);
            }
            items.iter().filter_map(|item| read(item, reading)).collect()
        }
        _ => read(value, reading).into_iter().collect(),
    }
}

/// The rule of so many calls at a time.
pub(crate) fn read_concurrency(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<At<Rule>> {
    let place = value.span().into();
    let most = u64::read(value, reading)?;
    let mut terms = Terms::new(Some(most), Period::HOUR);
    terms.algorithm = Algorithm::Concurrency;
    if most == 0 {
        reading.object(place, "0 would refuse every call", "leave it out for any number");
        return None;
    }
    match Rule::new(terms) {
        Ok(value) => Some(At { value, place }),
        Err(error) => {
            reading.object(place, error.to_string(), error.hint());
            None
        }
    }
}

fn read_target(name: &At<String>, prefix: &str, reading: &mut Reading<'_>) -> Option<Target> {
    let text = name.value.as_str();
    if let Some(model) = text.strip_prefix("model:") {
        return match ModelPattern::parse(model) {
            Ok(pattern) => Some(Target::Model(pattern)),
            Err(error) => {
                let hint = "write \"model:gpt-4o\" or \"model:gpt-*\"";
                reading.object(name.place, error.to_string(), hint);
                None
            }
        };
    }
    match text {
        "all" => Some(Target::All),
        "concurrency" if !prefix.is_empty() => Some(Target::InFlight),
        "concurrency" => {
            let hint = "it stands beside `limits`: concurrency = 20";
            reading.object(name.place, "`concurrency` is not a limit per window", hint);
            None
        }
        _ if is_class(text) => Some(Target::Class(Arc::from(text))),
        _ => {
            let hint = "a class (read, write, ai, training, …), all, or \"model:PATTERN\"";
            reading.object(name.place, format!("`{text}` is not what a limit can count"), hint);
            None
        }
    }
}

/// Whether a text can be the name of an operation class.
pub(crate) fn is_class(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| word(byte) || byte == b'-')
        && !["all", "concurrency", "key", "model", "route"].contains(&text)
}

fn read_rule(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Rule> {
    let place: Place = value.span().into();
    match value.get_ref() {
        DeValue::String(_) => {
            let want = Want { what: "a limit", example: "\"100/hour\"" };
            let text = reading.text(value, &want)?;
            match text.parse::<Rule>() {
                Ok(rule) if rule.quota() == Some(0) => object_to_zero(place, reading),
                Ok(rule) => Some(rule),
                Err(error) => {
                    reading.object(place, error.to_string(), error.hint());
                    None
                }
            }
        }
        DeValue::Table(_) => {
            let mut section = Section::of(value, reading)?;
            let rule = read_rule_table(&mut section, reading);
            section.finish(reading);
            rule
        }
        DeValue::Integer(number) => {
            let hint = format!("say in what time: \"{}/hour\"", number.as_str());
            reading.object(place, "expected a limit, found an integer", hint);
            None
        }
        other => {
            let message = format!("expected a limit, found {}", kind(other));
            let hint = "write \"100/hour\", or { limit = 100, window = \"1h\" }";
            reading.object(place, message, hint);
            None
        }
    }
}

/// Where the parts of a rule stand, so that an error about one of them can point at it.
struct Places {
    limit: Place,
    window: Place,
    anchor: Place,
    burst: Place,
    reserve: Place,
}

fn read_rule_table(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Option<Rule> {
    let whole = section.place();
    let unit = section.or("unit", Unit::Requests, reading);
    let quota = read_quota(section, unit, reading);
    let algorithm = section.get::<Algorithm>("algorithm", reading);
    let window = match &quota {
        Some(At { value: None, .. }) => section.get::<Period>("window", reading),
        _ => section.need("window", "window = \"1h\"", reading),
    };
    let anchor = read_anchor(section, reading);
    let burst = read_burst(section, unit, reading);
    let reserve = section.get::<Percent>("reserve", reading);
    let mode = section.or("mode", Mode::Enforce, reading);
    let place = |place: Option<Place>| place.unwrap_or(whole);
    let places = Places {
        limit: place(quota.as_ref().map(|at| at.place)),
        window: place(window.as_ref().map(|at| at.place)),
        anchor: place(anchor.as_ref().map(|at| at.place)),
        burst: place(burst.as_ref().map(|at| at.place)),
        reserve: place(reserve.as_ref().map(|at| at.place)),
    };
    let quota = quota?.value;
    if quota == Some(0) {
        return object_to_zero(places.limit, reading);
    }
    let period = match (window, quota) {
        (Some(window), _) => window.value,
        (None, None) => Period::HOUR,
        (None, Some(_)) => return None,
    };
    let reserve_ppm = reserve.map_or(0, |at| u32::try_from(at.value.0).unwrap_or(u32::MAX));
    let terms = Terms {
        quota,
        period,
        algorithm: algorithm.map_or(Algorithm::FixedWindow, |at| at.value),
        anchor: anchor?.value,
        burst: burst.map(|at| at.value),
        unit,
        reserve_ppm,
        mode,
    };
    Rule::new(terms).map_err(|error| object_to_rule(error, &places, reading)).ok()
}

fn object_to_rule(error: InvalidRule, places: &Places, reading: &mut Reading<'_>) {
    let place = match error {
        InvalidRule::QuotaTooLarge(_) => places.limit,
        InvalidRule::PeriodOutOfRange | InvalidRule::NoCalendarCycle => places.window,
        InvalidRule::CalendarNeedsFixedWindow(_) => places.anchor,
        InvalidRule::BurstNeedsBucket(_) | InvalidRule::BurstOutOfRange => places.burst,
        InvalidRule::ReserveOutOfRange => places.reserve,
    };
    reading.object(place, error.to_string(), error.hint());
}

fn object_to_zero(place: Place, reading: &mut Reading<'_>) -> Option<Rule> {
    let hint = "to keep keys from calls, give the routes a scope; \"unlimited\" is no limit";
    reading.object(place, "a limit of 0 refuses every call", hint);
    None
}

/// Units per window; `None` inside is unlimited.
fn read_quota(
    section: &mut Section<'_, '_>,
    unit: Unit,
    reading: &mut Reading<'_>,
) -> Option<At<Option<u64>>> {
    let unlimited = section.value("limit").is_some_and(
        |value| matches!(value.get_ref(), DeValue::String(text) if text == "unlimited"),
    );
    if unlimited {
        return section.get::<String>("limit", reading).map(|at| at.map(|_| None));
    }
    let example = match unit {
        Unit::Credits => "limit = \"25.00\"",
        Unit::Requests | Unit::Tokens => "limit = 100",
    };
    match unit {
        Unit::Credits => {
            let amount = section.need::<Nano>("limit", example, reading)?;
            Some(amount.map(|amount| u64::try_from(amount.get()).ok()))
        }
        Unit::Requests | Unit::Tokens => {
            Some(section.need::<u64>("limit", example, reading)?.map(Some))
        }
    }
}

fn read_burst(
    section: &mut Section<'_, '_>,
    unit: Unit,
    reading: &mut Reading<'_>,
) -> Option<At<u64>> {
    match unit {
        Unit::Credits => {
            let amount = section.get::<Nano>("burst", reading)?;
            Some(amount.map(|amount| amount.get().unsigned_abs()))
        }
        Unit::Requests | Unit::Tokens => section.get("burst", reading),
    }
}

/// Where windows begin; `None` after a problem.
fn read_anchor(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Option<At<Anchor>> {
    let place = section.place();
    let calendar = section.get::<ByCalendar>("anchor", reading);
    let zone = section.get::<Zone>("time_zone", reading);
    match (calendar, zone) {
        (Some(At { value: ByCalendar(true), place }), zone) => {
            let zone = zone.map_or_else(Zone::default, |zone| zone.value);
            Some(At { value: Anchor::Calendar(zone), place })
        }
        (_, Some(zone)) => {
            let hint = "add anchor = \"calendar\", or remove time_zone";
            reading.object(zone.place, "only calendar windows have a time zone", hint);
            None
        }
        (_, None) => Some(At { value: Anchor::FirstRequest, place }),
    }
}

struct ByCalendar(bool);

impl Read for ByCalendar {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &[("first-request", false), ("calendar", true)]).map(Self)
    }
}

impl Read for Zone {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let want = Want { what: "a time zone", example: "\"Europe/Berlin\" or \"UTC\"" };
        reading.parsed(value, &want, zone::find)
    }
}

impl Read for Unit {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let units = [Self::Requests, Self::Tokens, Self::Credits];
        reading.choice(value, &units.map(|unit| (unit.name(), unit)))
    }
}

impl Read for Algorithm {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let windows = [Self::FixedWindow, Self::SlidingWindow, Self::TokenBucket];
        reading.choice(value, &windows.map(|algorithm| (algorithm.name(), algorithm)))
    }
}

impl Read for Mode {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &[("enforce", Self::Enforce), ("shadow", Self::Shadow)])
    }
}

impl Read for Period {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let place = value.span().into();
        let want = Want { what: "a window", example: "\"90s\", \"1h\", \"1d\" or \"month\"" };
        let text = reading.text(value, &want)?;
        match text.parse() {
            Ok(period) => Some(period),
            Err(error) => {
                reading.object(place, error.to_string(), error.hint());
                None
            }
        }
    }
}
