//! `[plans.NAME]`: limits and billing under a name.

use std::collections::BTreeMap;
use std::str::FromStr;

use weir_core::alert::threshold::Threshold;
use weir_core::key::KeyType;
use weir_core::limit::Rule;
use weir_core::plan::Billing;

use super::limit::{LimitFile, read_concurrency, read_limits};
use super::place::At;
use super::read::{Read, Reading, Section, Value, Want};
use super::values::Factor;
use super::words::{closest, quoted};

/// What `[plans.NAME]` says.
#[derive(Clone, Debug)]
pub(crate) struct PlanFile {
    /// How its calls are paid.
    pub(crate) billing: Billing,
    /// By how much endpoint limits are multiplied, in millionths.
    pub(crate) endpoint_multiplier_ppm: u64,
    /// How many calls may run at a time.
    pub(crate) concurrency: Option<At<Rule>>,
    /// Limits per account.
    pub(crate) limits: Vec<LimitFile>,
    /// Limits per key, by the key's type.
    pub(crate) key_limits: BTreeMap<KeyType, Vec<LimitFile>>,
    /// When a wallet is low.
    pub(crate) alerts: Vec<Threshold>,
}

impl PlanFile {
    /// Reads `[plans.NAME]`.
    pub(crate) fn read(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Self {
        let billing = section.or("billing", Billing::None, reading);
        let multiplier = section.get::<Factor>("endpoint_multiplier", reading);
        if let Some(low) = multiplier.as_ref().filter(|at| at.value.0 < ONE_PPM) {
            reading.under("endpoint_multiplier", |reading| {
                let hint = "the endpoint limits of the routes are those of the smallest plan: 1";
                reading.object(low.place, "must be at least 1", hint);
            });
        }
        let concurrency = section.value("concurrency").and_then(|value| {
            reading.under("concurrency", |reading| read_concurrency(value, reading))
        });
        Self {
            billing,
            endpoint_multiplier_ppm: multiplier.map_or(ONE_PPM, |at| at.value.0),
            concurrency,
            limits: read_plan_limits(section, reading),
            key_limits: read_key_limits(section, reading),
            alerts: read_alerts(section, billing, reading),
        }
    }
}

fn read_plan_limits(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Vec<LimitFile> {
    let Some(value) = section.value("limits") else { return Vec::new() };
    reading.under("limits", |reading| match Section::of(value, reading) {
        Some(limits) => read_limits(limits, "", reading),
        None => Vec::new(),
    })
}

fn read_key_limits(
    section: &mut Section<'_, '_>,
    reading: &mut Reading<'_>,
) -> BTreeMap<KeyType, Vec<LimitFile>> {
    let types = section.named("key_limits", reading, |name, value, reading| {
        let kind = KeyType::by_name(&name.value);
        if kind.is_none() {
            let names = KeyType::ALL.map(KeyType::name);
            let hint = match closest(&name.value, names.into_iter()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("one of {}", quoted(&names)),
            };
            reading.object(name.place, format!("`{}` is not a type of key", name.value), hint);
        }
        let limits = read_limits(Section::of(value, reading)?, "key:", reading);
        Some((kind?, limits))
    });
    types.into_iter().map(|named| named.value).collect()
}

fn read_alerts(
    section: &mut Section<'_, '_>,
    billing: Billing,
    reading: &mut Reading<'_>,
) -> Vec<Threshold> {
    let Some(alerts) = section.get::<Vec<At<Threshold>>>("alerts", reading) else {
        return Vec::new();
    };
    if billing == Billing::None {
        reading.under("alerts", |reading| {
            let hint = "add billing = \"wallet\", or remove the alerts";
            reading.object(alerts.place, "a plan without a wallet has no balance to watch", hint);
        });
    }
    alerts.value.into_iter().map(|at| at.value).collect()
}

impl Read for Billing {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &[("none", Self::None), ("wallet", Self::Wallet)])
    }
}

impl Read for Threshold {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let example = "\"5.00\" (an amount), \"20%\" (of the last top-up) or \"24h\" (of use)";
        let want = Want { what: "an alert", example };
        let text = reading.text(value, &want)?;
        text.parse()
            .map_err(|error: <Self as FromStr>::Err| {
                reading.object(value.span().into(), error.to_string(), want.hint());
            })
            .ok()
    }
}

const ONE_PPM: u64 = 1_000_000;
