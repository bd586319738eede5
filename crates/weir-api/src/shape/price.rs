//! Prices and models as the APIs show them.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use weir_core::policy::{Policy, RoutePrice};
use weir_core::price::{Contract, Mode, Multiplier, Price, Rates, Tariff};
use weir_core::time::Timestamp;
use weir_core::usage::Meter;

/// The price of a model or of other work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Price)]
pub(crate) struct PriceShape {
    /// Its name.
    pub(crate) name: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: String,
    /// What each meter costs.
    rates: BTreeMap<&'static str, TariffShape>,
    /// Rates for long prompts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    long_context: Vec<LongContextShape>,
}

/// Rates for calls with a long prompt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LongContext)]
pub(crate) struct LongContextShape {
    /// They apply when the prompt has more tokens than this.
    above: u64,
    /// What replaces the rates of these meters then.
    rates: BTreeMap<&'static str, TariffShape>,
}

/// What a meter costs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tariff)]
pub(crate) struct TariffShape {
    /// For how many units the amounts are.
    per: u64,
    /// How tiers work: `flat`, `graduated`, `volume`, `package`.
    mode: &'static str,
    /// The tiers, ascending; a flat tariff has one.
    tiers: Vec<TierShape>,
}

/// A tier.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tier)]
pub(crate) struct TierShape {
    /// Up to so many units in the billing period; `null`: all above.
    #[schema(required = true)]
    up_to: Option<u64>,
    /// A decimal string.
    #[schema(example = "0.15")]
    amount: String,
}

/// A model that can be used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub(crate) struct ModelShape {
    /// Its name, or the beginning of names: `gpt-*`.
    pub(crate) id: String,
    /// The name of its price; `null`: it has none and cannot be used where calls are charged.
    #[schema(required = true)]
    price: Option<String>,
    /// The most output tokens of one call; `null`: no bound.
    #[schema(required = true)]
    max_output_tokens: Option<u64>,
}

/// Every price as an account with this contract gets it, by name.
pub(crate) fn prices(
    policy: &Policy,
    contract: Option<&Contract>,
    currency: &str,
    now: Timestamp,
) -> Vec<PriceShape> {
    let own = contract.filter(|contract| contract.is_in_force(now));
    let mut names: Vec<&str> = policy.prices().iter().map(Price::name).collect();
    names.extend(own.into_iter().flat_map(|contract| contract.own.iter()).map(Price::name));
    names.sort_unstable();
    names.dedup();
    let offers = names.into_iter().filter_map(|name| policy.prices().offer(name, own, now).ok());
    offers.map(|offer| PriceShape::of(offer.price, offer.multiplier, currency)).collect()
}

/// Every model that is named, or that has a price which nothing else goes by.
pub(crate) fn models(
    policy: &Policy,
    contract: Option<&Contract>,
    now: Timestamp,
) -> Vec<ModelShape> {
    let own = contract.filter(|contract| contract.is_in_force(now));
    let of_own = |name: &str| own.and_then(|contract| contract.own.price(name)).map(Price::name);
    let mut models: BTreeMap<String, ModelShape> = BTreeMap::new();
    for terms in policy.models() {
        let id = terms.pattern.to_string();
        let price = of_own(&id).or_else(|| policy.price_name_of_model(&id)).map(str::to_owned);
        let max_output_tokens = terms.max_output_tokens;
        models.insert(id.clone(), ModelShape { id, price, max_output_tokens });
    }
    let of_routes = policy.routes().iter().filter_map(|route| match &route.price {
        RoutePrice::Named(name) => Some(&**name),
        RoutePrice::ByModel | RoutePrice::Free => None,
    });
    let of_models = policy.models().iter().filter_map(|terms| terms.price.as_deref());
    let elsewhere: Vec<&str> = of_routes.chain(of_models).collect();
    let names = policy.prices().iter().chain(own.into_iter().flat_map(|own| own.own.iter()));
    for name in names.map(Price::name).filter(|name| !elsewhere.contains(name)) {
        models.entry(name.to_owned()).or_insert_with(|| ModelShape {
            id: name.to_owned(),
            price: Some(name.to_owned()),
            max_output_tokens: policy.model(name).and_then(|terms| terms.max_output_tokens),
        });
    }
    models.into_values().collect()
}

impl PriceShape {
    fn of(price: &Price, multiplier: Multiplier, currency: &str) -> Self {
        let long_context = price.long_contexts().iter().map(|context| LongContextShape {
            above: context.above,
            rates: rates(&context.rates, multiplier),
        });
        Self {
            name: price.name().to_owned(),
            currency: currency.to_owned(),
            rates: rates(price.rates(), multiplier),
            long_context: long_context.collect(),
        }
    }
}

fn rates(rates: &Rates, multiplier: Multiplier) -> BTreeMap<&'static str, TariffShape> {
    rates
        .iter()
        .map(|(meter, tariff): (Meter, &Tariff)| {
            let tiers = tariff.tiers().iter().map(|tier| TierShape {
                up_to: tier.up_to,
                amount: Tariff::amount_text(*tier, multiplier),
            });
            let shape = TariffShape {
                per: tariff.per(),
                mode: match tariff.mode() {
                    Mode::Flat => "flat",
                    Mode::Graduated => "graduated",
                    Mode::Volume => "volume",
                    Mode::Package => "package",
                },
                tiers: tiers.collect(),
            };
            (meter.name(), shape)
        })
        .collect()
}
