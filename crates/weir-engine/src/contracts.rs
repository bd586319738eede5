//! Contracts: prices and terms of one account, as the admin API takes them and the record keeps
//! them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_core::money::{Nano, parse_decimal};
use weir_core::price::rate::{PER_MAX, parse_amount, parse_count};
use weir_core::price::{
    Contract, LongContext, Mode, Multiplier, Price, PriceBook, Rates, Tariff, Tier,
};
use weir_core::time::Timestamp;
use weir_core::usage::Meter;

use crate::change::ChangeError;

/// A contract as it is kept with its account. Prices are written as in the configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ContractRecord {
    /// Prices of its own by name.
    #[serde(default)]
    pub prices: BTreeMap<String, Map<String, Value>>,
    /// What list prices are multiplied by: `"0.9"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<String>,
    /// From when on it is in force, in microseconds since the Unix epoch; absent: always was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_us: Option<i64>,
    /// When it ends, in microseconds since the Unix epoch; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<i64>,
    /// What the account promised to spend in a month, a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<String>,
    /// How far its balance may fall below zero while it is in force, a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit_line: Option<String>,
}

/// A contract that makes sense.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) contract: Contract,
    pub(crate) credit_line: Option<Nano>,
    /// The least that is spent in a month.
    pub(crate) commitment: Option<Nano>,
}

/// Reads a contract as it is kept.
///
/// # Errors
///
/// [`ChangeError::Invalid`] names the member.
pub(crate) fn read(kept: &Value) -> Result<Terms, ChangeError> {
    let record = ContractRecord::deserialize(kept).map_err(|why| wrong("", why))?;
    let prices = record.prices.iter().map(|(name, price)| read_price(name, price));
    let own = PriceBook::new(prices.collect::<Result<Vec<_>, _>>()?)
        .map_err(|why| wrong(".prices", why))?;
    let multiplier = match &record.multiplier {
        None => Multiplier::ONE,
        Some(text) => parse_decimal(text, 6)
            .ok()
            .and_then(|ppm| u32::try_from(ppm).ok())
            .and_then(Multiplier::from_ppm)
            .ok_or_else(|| {
                wrong(".multiplier", "it must be from 0 to 100 with 6 decimals at most")
            })?,
    };
    let from = Timestamp::from_micros(record.from_us.unwrap_or(0));
    let until = record.until_us.map(Timestamp::from_micros);
    if until.is_some_and(|until| until <= from) {
        return Err(wrong(".until", "it must be after `from`"));
    }
    let commitment = amount(".commitment", record.commitment.as_deref())?;
    let credit_line = amount(".credit_line", record.credit_line.as_deref())?;
    Ok(Terms { contract: Contract { own, multiplier, from, until }, credit_line, commitment })
}

fn read_price(name: &str, written: &Map<String, Value>) -> Result<Price, ChangeError> {
    let place = format!(".prices.{name}");
    let rates = read_rates(&place, written, &["long_context"])?;
    let long = match written.get("long_context") {
        None => Vec::new(),
        Some(Value::Array(list)) => {
            list.iter().map(|item| read_long(&place, item)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(wrong(&format!("{place}.long_context"), "it must be a list")),
    };
    Price::new(name, rates, long).map_err(|why| wrong(&place, why))
}

fn read_long(place: &str, item: &Value) -> Result<LongContext, ChangeError> {
    let place = format!("{place}.long_context");
    let Value::Object(written) = item else { return Err(wrong(&place, "it must be an object")) };
    let above = count(&format!("{place}.above"), written.get("above"))?
        .ok_or_else(|| wrong(&format!("{place}.above"), "it is missing"))?;
    Ok(LongContext { above, rates: read_rates(&place, written, &["above"])? })
}

fn read_rates(
    place: &str,
    written: &Map<String, Value>,
    others: &[&str],
) -> Result<Rates, ChangeError> {
    let mut rates = Rates::default();
    for (name, value) in written.iter().filter(|(name, _)| !others.contains(&name.as_str())) {
        let place = format!("{place}.{name}");
        let meter = Meter::by_name(name).ok_or_else(|| {
            let meters: Vec<&str> = Meter::ALL.iter().map(|meter| meter.name()).collect();
            wrong(&place, format!("there is no such meter; there are: {}", meters.join(", ")))
        })?;
        rates = rates.with(meter, read_tariff(&place, value)?);
    }
    Ok(rates)
}

fn read_tariff(place: &str, value: &Value) -> Result<Tariff, ChangeError> {
    match value {
        Value::String(text) => text.parse().map_err(|why| wrong(place, why)),
        Value::Object(written) => read_tiers(place, written),
        _ => Err(wrong(place, "write a price as text, so that it stays exact: \"0.15/1M\"")),
    }
}

fn read_tiers(place: &str, written: &Map<String, Value>) -> Result<Tariff, ChangeError> {
    let known = ["per", "mode", "tiers"];
    if let Some(other) = written.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(wrong(&format!("{place}.{other}"), "there are `per`, `mode` and `tiers`"));
    }
    let per = count(&format!("{place}.per"), written.get("per"))?.unwrap_or(1);
    let mode = match written.get("mode").map(Value::as_str) {
        None | Some(Some("graduated")) => Mode::Graduated,
        Some(Some("volume")) => Mode::Volume,
        Some(Some("package")) => Mode::Package,
        Some(_) => {
            let why = "it must be graduated, volume or package";
            return Err(wrong(&format!("{place}.mode"), why));
        }
    };
    let Some(Value::Array(list)) = written.get("tiers") else {
        return Err(wrong(&format!("{place}.tiers"), "it must be a list"));
    };
    let mut tiers = Vec::with_capacity(list.len().min(Tariff::TIERS_MAX));
    for tier in list {
        let up_to = count(&format!("{place}.tiers.up_to"), tier.get("up_to"))?;
        let place = format!("{place}.tiers.amount");
        let amount = tier.get("amount").and_then(Value::as_str);
        let amount = amount.ok_or_else(|| wrong(&place, "it must be text such as \"0.60\""))?;
        tiers.push(Tier { up_to, pico: parse_amount(amount).map_err(|why| wrong(&place, why))? });
    }
    Tariff::new(mode, per, &tiers).map_err(|why| wrong(place, why))
}

fn count(place: &str, value: Option<&Value>) -> Result<Option<u64>, ChangeError> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(wrong(place, "it must be a number of units such as \"1M\"")),
    };
    parse_count(&text, PER_MAX).map(Some).map_err(|why| wrong(place, why))
}

fn amount(place: &str, text: Option<&str>) -> Result<Option<Nano>, ChangeError> {
    let Some(text) = text else { return Ok(None) };
    let amount: Nano = text.parse().map_err(|why| wrong(place, why))?;
    if amount.is_negative() || amount > Nano::BOUND {
        return Err(wrong(place, "it must be from 0 to 1000000000"));
    }
    Ok(Some(amount))
}

fn wrong(place: &str, why: impl std::fmt::Display) -> ChangeError {
    ChangeError::invalid(&format!("contract{place}"), why)
}
