//! All prices by name, and the terms on which one account gets them.

use std::collections::BTreeMap;

use super::offer::Offer;
use super::sheet::Price;
use super::tariff::Multiplier;
use crate::time::Timestamp;

/// The list prices of a policy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PriceBook(BTreeMap<Box<str>, Price>);

/// Two prices have one name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the price \"{name}\" is there twice")]
pub struct DuplicatePrice {
    /// The name.
    pub name: Box<str>,
}

/// A name without a price: such work is refused, never free.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no price of that name")]
pub struct UnknownPrice;

/// The terms of one account, in force for some time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contract {
    /// Prices of its own, which replace list prices of the same name or add to them.
    pub own: PriceBook,
    /// What list prices are multiplied by; its own prices are not.
    pub multiplier: Multiplier,
    /// The first moment at which it is in force.
    pub from: Timestamp,
    /// The first moment at which it no longer is.
    pub until: Option<Timestamp>,
}

impl PriceBook {
    /// A book of these prices.
    ///
    /// # Errors
    ///
    /// [`DuplicatePrice`] when two have the same name.
    pub fn new(prices: impl IntoIterator<Item = Price>) -> Result<Self, DuplicatePrice> {
        let mut book = BTreeMap::new();
        for price in prices {
            if let Some(twice) = book.insert(price.name().into(), price) {
                return Err(DuplicatePrice { name: twice.name });
            }
        }
        Ok(Self(book))
    }

    /// The list price of that name.
    pub fn price(&self, name: &str) -> Option<&Price> {
        self.0.get(name)
    }

    /// Every price, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Price> {
        self.0.values()
    }

    /// The price of that name as an account with `contract` gets it at `now`.
    ///
    /// # Errors
    ///
    /// [`UnknownPrice`] when neither the contract nor the list has it.
    pub fn offer<'a>(
        &'a self,
        name: &str,
        contract: Option<&'a Contract>,
        now: Timestamp,
    ) -> Result<Offer<'a>, UnknownPrice> {
        let contract = contract.filter(|contract| contract.is_in_force(now));
        if let Some(price) = contract.and_then(|contract| contract.own.price(name)) {
            return Ok(Offer { price, multiplier: Multiplier::ONE });
        }
        let multiplier = contract.map_or(Multiplier::ONE, |contract| contract.multiplier);
        self.price(name).map(|price| Offer { price, multiplier }).ok_or(UnknownPrice)
    }
}

impl Contract {
    /// Whether it applies at `now`.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::Rates;
    use crate::usage::{Meter, Usage};

    fn price(name: &str, request: &str) -> Price {
        let rates = Rates::default().with(Meter::Request, request.parse().unwrap());
        Price::new(name, rates, Vec::new()).unwrap()
    }

    fn book(prices: &[(&str, &str)]) -> PriceBook {
        PriceBook::new(prices.iter().map(|(name, request)| price(name, request))).unwrap()
    }

    fn contract() -> Contract {
        Contract {
            own: book(&[("a", "0.5"), ("own", "0.7")]),
            multiplier: Multiplier::from_ppm(900_000).unwrap(),
            from: Timestamp::from_secs(100),
            until: Some(Timestamp::from_secs(200)),
        }
    }

    #[track_caller]
    fn check(name: &str, at_s: i64, expected: Result<&str, UnknownPrice>) {
        let (list, contract) = (book(&[("a", "1"), ("b", "1")]), contract());
        let offer = list.offer(name, Some(&contract), Timestamp::from_secs(at_s));
        let usage = Usage::NONE.with(Meter::Request, 1);
        let amount = offer.map(|offer| offer.charge(&usage, &Usage::NONE).unwrap().amount);
        assert_eq!(amount, expected.map(|text| text.parse().unwrap()), "{name} at {at_s}");
    }

    #[test]
    fn a_contract_replaces_and_multiplies_list_prices_while_it_is_in_force() {
        check("a", 99, Ok("1"));
        check("a", 100, Ok("0.5"));
        check("b", 100, Ok("0.9"));
        check("own", 199, Ok("0.7"));
        check("a", 200, Ok("1"));
        check("b", 200, Ok("1"));
    }

    #[test]
    fn what_has_no_price_is_never_free() {
        check("c", 150, Err(UnknownPrice));
        check("own", 200, Err(UnknownPrice));
        check("", 150, Err(UnknownPrice));
    }

    #[test]
    fn a_name_has_one_price() {
        let twice = PriceBook::new([price("a", "1"), price("b", "1"), price("a", "2")]);
        assert_eq!(twice, Err(DuplicatePrice { name: "a".into() }));
    }
}
