//! `[prices.NAME]`: what each meter costs.

use toml::de::DeValue;
use weir_core::price::rate::{PER_MAX, parse_amount, parse_count};
use weir_core::price::tariff::{InvalidTariff, Mode, Tariff, Tier};
use weir_core::price::{LongContext, Price, Rates};
use weir_core::usage::Meter;

use super::place::At;
use super::read::{Read, Reading, Section, Value, Want, kind};

/// Reads `[prices.NAME]`; `None` after a problem.
pub(crate) fn read_price(
    name: &At<String>,
    section: &mut Section<'_, '_>,
    reading: &mut Reading<'_>,
) -> Option<Price> {
    if ["free", "model"].contains(&name.value.as_str()) {
        let hint = "give it another name";
        reading.object(name.place, format!("\"{}\" has a meaning of its own", name.value), hint);
    }
    let place = section.place();
    let (rates, sound) = read_rates(section, reading);
    let long = section.get::<Vec<At<LongContext>>>("long_context", reading);
    let long = long.map(|list| list.value.into_iter().map(|at| at.value).collect());
    if !sound {
        return None;
    }
    Price::new(&name.value, rates, long.unwrap_or_default())
        .map_err(|error| reading.object(place, error.to_string(), None))
        .ok()
}

/// The tariffs of a table by meter, and whether all of them are sound.
fn read_rates(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> (Rates, bool) {
    let mut rates = Rates::default();
    let mut sound = true;
    for meter in Meter::ALL {
        if section.value(meter.name()).is_none() {
            continue;
        }
        match section.get::<Tariff>(meter.name(), reading) {
            Some(tariff) => rates = rates.with(meter, tariff.value),
            None => sound = false,
        }
    }
    (rates, sound)
}

impl Read for LongContext {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let mut section = Section::of(value, reading)?;
        let above = section.need::<Count>("above", "above = \"200k\"", reading);
        let (rates, sound) = read_rates(&mut section, reading);
        section.finish(reading);
        let above = above?.value.0;
        sound.then_some(Self { above, rates })
    }
}

impl Read for Tariff {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let place = value.span().into();
        match value.get_ref() {
            DeValue::String(_) => {
                let want = Want { what: "a price", example: EXAMPLE };
                let text = reading.text(value, &want)?;
                text.parse()
                    .map_err(|error: <Self as std::str::FromStr>::Err| {
                        reading.object(place, error.to_string(), format!("write {EXAMPLE}"));
                    })
                    .ok()
            }
            DeValue::Table(_) => read_tiers(value, reading),
            DeValue::Integer(_) | DeValue::Float(_) => {
                let hint = format!("a price is text, so that it stays exact: {EXAMPLE}");
                reading.object(place, "expected a price, found a number", hint);
                None
            }
            other => {
                let message = format!("expected a price, found {}", kind(other));
                reading.object(place, message, format!("write {EXAMPLE}"));
                None
            }
        }
    }
}

fn read_tiers(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Tariff> {
    let mut section = Section::of(value, reading)?;
    let place = section.place();
    let per = section.or("per", Count(1), reading).0;
    let mode = section.or("mode", Mode::Graduated, reading);
    let example = "tiers = [{ up_to = \"10M\", amount = \"0.60\" }, { amount = \"0.45\" }]";
    let tiers = section.need::<Vec<Option<At<Tier>>>>("tiers", example, reading);
    section.finish(reading);
    let At { value: tiers, place: list } = tiers?;
    let tiers: Vec<At<Tier>> = tiers.into_iter().collect::<Option<_>>()?;
    let plain: Vec<Tier> = tiers.iter().map(|at| at.value).collect();
    let error = match Tariff::new(mode, per, &plain) {
        Ok(tariff) => return Some(tariff),
        Err(error) => error,
    };
    let tier =
        |number: usize| number.checked_sub(1).and_then(|at| tiers.get(at)).map(|at| at.place);
    let (at, hint) = match &error {
        InvalidTariff::Rate(_) => (None, "see `per` and the amounts"),
        InvalidTariff::Tiers { .. } => (Some(list), "add a tier: { amount = \"0.45\" }"),
        InvalidTariff::UpTo { tier: number } => {
            (tier(*number), "tiers ascend by up_to, and the last one has none")
        }
        InvalidTariff::SplitPackage { tier: number, .. } => {
            (tier(*number), "end each tier with a whole package")
        }
        InvalidTariff::RisingVolume { tier: number } => {
            (tier(*number), "the rate of a higher tier then also holds for what came before")
        }
    };
    reading.object(at.unwrap_or(place), error.to_string(), hint);
    None
}

/// A list whose unsound members keep their place in it.
impl Read for Vec<Option<At<Tier>>> {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let DeValue::Array(items) = value.get_ref() else {
            let found = kind(value.get_ref());
            let hint = "write [{ up_to = \"10M\", amount = \"0.60\" }, { amount = \"0.45\" }]";
            reading.object(value.span().into(), format!("expected a list, found {found}"), hint);
            return None;
        };
        let read = |item: &Value<'_>| {
            let place = item.span().into();
            Tier::read(item, reading).map(|value| At { value, place })
        };
        Some(items.iter().map(read).collect())
    }
}

impl Read for Tier {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let mut section = Section::of(value, reading)?;
        let bounded = section.value("up_to").is_some();
        let up_to = section.get::<Count>("up_to", reading);
        let amount = section.need::<Amount>("amount", "amount = \"0.60\"", reading);
        section.finish(reading);
        if bounded && up_to.is_none() {
            return None;
        }
        Some(Self { up_to: up_to.map(|at| at.value.0), pico: amount?.value.0 })
    }
}

impl Read for Mode {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let modes =
            [("graduated", Self::Graduated), ("volume", Self::Volume), ("package", Self::Package)];
        reading.choice(value, &modes)
    }
}

/// A number of units: `1000`, `"1k"`, `"10M"`.
struct Count(u64);

impl Read for Count {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let place = value.span().into();
        let text = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().to_owned(),
            _ => {
                let want = Want { what: "a number of units", example: "\"1M\"" };
                reading.text(value, &want)?
            }
        };
        match parse_count(&text, PER_MAX) {
            Ok(count) => Some(Self(count)),
            Err(error) => {
                reading.object(place, error.to_string(), "write it like this: \"1M\"");
                None
            }
        }
    }
}

/// The amount of a tier in trillionths of the currency unit.
struct Amount(u64);

impl Read for Amount {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let place = value.span().into();
        let text = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) => {
                let hint = "an amount is text, so that it stays exact: \"0.60\"";
                reading.object(place, "expected an amount, found a number", hint);
                return None;
            }
            _ => reading.text(value, &Want { what: "an amount", example: "\"0.60\"" })?,
        };
        match parse_amount(&text) {
            Ok(pico) => Some(Self(pico)),
            Err(error) => {
                reading.object(place, error.to_string(), "write it like this: \"0.60\"");
                None
            }
        }
    }
}

const EXAMPLE: &str = "\"0.15/1M\" (per so many) or \"0.02\" (each)";
