//! LiteLLM's public price list (`model_prices_and_context_window.json`) as prices of Weir.
//!
//! Numbers are read as they are written, never as floating point. What has no counterpart is told
//! model by model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::value::RawValue;
use weir_core::price::Rate;

use super::super::decimal::Decimal;

/// What was read of a price list.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    prices: BTreeMap<String, Listed>,
    /// What is not taken over, or not as it was.
    pub(super) notes: Vec<String>,
    /// Members that say nothing of prices, in any of the models.
    pub(super) others: BTreeSet<String>,
}

/// The price of one model.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) rates: BTreeMap<&'static str, String>,
    /// By the prompt length above which they hold.
    pub(super) long: BTreeMap<u64, BTreeMap<&'static str, String>>,
    pub(super) max_output_tokens: Option<u64>,
}

type Members = BTreeMap<String, Box<RawValue>>;

/// Reads the models that `wanted` names.
///
/// # Errors
///
/// When the text is no JSON object.
pub(super) fn read(text: &str, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Sheet> {
    let all: Members = serde_json::from_str(text).context("not a JSON object of models")?;
    let mut sheet = Sheet::default();
    // The list explains itself in an entry of its own.
    for (name, raw) in all.iter().filter(|(name, _)| *name != "sample_spec" && wanted(name)) {
        match serde_json::from_str::<Members>(raw.get()) {
            Ok(members) => sheet.take(name, &members),
            Err(_) => sheet.notes.push(format!("{name}: no object; it is left out")),
        }
    }
    Ok(sheet)
}

impl Sheet {
    fn take(&mut self, name: &str, members: &Members) {
        let mut listed = Listed::default();
        for (member, raw) in members {
            let text = raw.get().trim_matches('"');
            if text == "null" {
                continue;
            }
            match counterpart(member) {
                Some((meter, per, above)) => {
                    let place = match above {
                        None => &mut listed.rates,
                        Some(above) => listed.long.entry(above).or_default(),
                    };
                    match rate(text, per) {
                        Ok(rate) => note_clash(&mut self.notes, name, member, place, meter, rate),
                        Err(why) => {
                            self.notes
                                .push(format!("{name}: {member} = {text} is left out: {why}"));
                        }
                    }
                }
                None if member == "max_output_tokens" => match text.parse::<u64>() {
                    Ok(most) if most > 0 => listed.max_output_tokens = Some(most),
                    _ => {
                        self.notes.push(format!("{name}: {member} = {text} is no number of tokens"))
                    }
                },
                None if is_about_money(member) => {
                    self.notes.push(format!(
                        "{name}: {member} = {text} is left out: Weir has no meter for it"
                    ));
                }
                None => drop(self.others.insert(member.clone())),
            }
        }
        listed.long.retain(|_, rates| !rates.is_empty());
        if listed.rates.is_empty() {
            self.notes
                .push(format!("{name}: it has no price that can be taken over; it is left out"));
            return;
        }
        if listed.rates.values().all(|rate| free(rate)) {
            self.notes.push(format!("{name}: it costs nothing"));
        }
        self.prices.insert(name.to_owned(), listed);
    }

    /// How many prices there are.
    pub(super) fn len(&self) -> usize {
        self.prices.len()
    }

    /// The prices, by name.
    pub(super) fn prices(&self) -> impl Iterator<Item = (&str, &Listed)> {
        self.prices.iter().map(|(name, listed)| (name.as_str(), listed))
    }

    /// A configuration of these prices, with one plan so that it can be checked.
    pub(super) fn file(&self, source: &str) -> String {
        let mut file = format!(
            "# Prices from {source}, by weir import litellm-prices. Copy [models] and [prices] into your\n\
             # configuration; the plan is there so that weir check takes this file as it is.\n\n\
             [plans.payg]\nbilling = \"wallet\"\n"
        );
        for (name, listed) in &self.prices {
            let quoted = toml::Value::from(name.as_str());
            if let Some(most) = listed.max_output_tokens {
                // Writing to a String cannot fail, here and below.
                let _ = write!(file, "\n[models.{quoted}]\nmax_output_tokens = {most}\n");
            }
            let _ = write!(file, "\n[prices.{quoted}]\n");
            for (meter, rate) in &listed.rates {
                let _ = writeln!(file, "{meter} = \"{rate}\"");
            }
            let long = listed.long.iter().map(|(above, rates)| {
                let rates = rates.iter().map(|(meter, rate)| format!(", {meter} = \"{rate}\""));
                format!("{{ above = {above}{} }}", rates.collect::<String>())
            });
            let long: Vec<_> = long.collect();
            if !long.is_empty() {
                let _ = writeln!(file, "long_context = [{}]", long.join(", "));
            }
        }
        file
    }
}

/// The meter that a member prices, for how many units Weir writes it, and above which prompt length.
fn counterpart(member: &str) -> Option<(&'static str, Per, Option<u64>)> {
    let find = |name: &str| METERS.iter().find(|(theirs, ..)| *theirs == name);
    if let Some((_, meter, per)) = find(member) {
        return Some((meter, *per, None));
    }
    let (base, above) = member.rsplit_once("_above_")?;
    let thousands: u64 = above.strip_suffix("k_tokens")?.parse().ok()?;
    let (_, meter, per) = find(base).filter(|(.., per)| *per == Per::Million)?;
    Some((meter, *per, Some(thousands.checked_mul(1_000).filter(|above| *above > 0)?)))
}

/// A price for one unit as Weir writes it, exactly.
fn rate(text: &str, per: Per) -> Result<String, String> {
    let price = Decimal::parse(text).ok_or("it is no decimal number")?;
    let (shift, suffix) = match per {
        Per::One => (0, ""),
        Per::Million => (6, "/1M"),
    };
    let amount =
        price.shifted(shift).exact(DECIMALS_MAX).ok_or("it is finer than Weir can keep")?;
    let rate = format!("{amount}{suffix}");
    rate.parse::<Rate>().map_err(|why| why.to_string())?;
    Ok(rate)
}

/// Two members may price one meter: the first that costs something counts.
fn note_clash(
    notes: &mut Vec<String>,
    name: &str,
    member: &str,
    rates: &mut BTreeMap<&'static str, String>,
    meter: &'static str,
    rate: String,
) {
    match rates.get(meter) {
        Some(known) if free(known) || *known == rate => drop(rates.insert(meter, rate)),
        Some(_) if free(&rate) => {}
        Some(known) => notes.push(format!(
            "{name}: {member} = {rate} is left out: {meter} is priced at {known} already"
        )),
        None => drop(rates.insert(meter, rate)),
    }
}

fn free(rate: &str) -> bool {
    rate.split('/').next() == Some("0")
}

fn is_about_money(member: &str) -> bool {
    ["cost", "price", "pricing"].iter().any(|word| member.contains(word))
}

/// For how many units an amount is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Per {
    One,
    Million,
}

/// What LiteLLM calls the price of one unit, and the meter it is.
const METERS: [(&str, &str, Per); 13] = [
    ("input_cost_per_token", "input_tokens", Per::Million),
    ("output_cost_per_token", "output_tokens", Per::Million),
    ("cache_read_input_token_cost", "cached_input_tokens", Per::Million),
    ("cache_creation_input_token_cost", "cache_write_tokens", Per::Million),
    ("output_cost_per_reasoning_token", "reasoning_tokens", Per::Million),
    ("input_cost_per_audio_token", "audio_input_tokens", Per::Million),
    ("output_cost_per_audio_token", "audio_output_tokens", Per::Million),
    ("output_cost_per_image", "image", Per::One),
    ("input_cost_per_image", "image", Per::One),
    ("input_cost_per_request", "request", Per::One),
    ("output_cost_per_request", "request", Per::One),
    ("input_cost_per_second", "second", Per::One),
    ("output_cost_per_second", "second", Per::One),
];
const DECIMALS_MAX: u32 = 12;
