//! One price: a tariff for each meter, and other rates for long prompts.

use super::tariff::Tariff;
use crate::usage::Meter;

/// What is charged for each meter.
///
/// A token meter without a tariff of its own is counted and charged as another one, so that
/// nothing is free by accident: cached input, cache writes and audio input as input, reasoning
/// and audio output as output. Tiers then count both together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rates(Vec<(Meter, Tariff)>);

impl Rates {
    /// The same rates with `tariff` for `meter`, in the place of any that was there.
    #[must_use]
    pub fn with(mut self, meter: Meter, tariff: Tariff) -> Self {
        match self.0.binary_search_by_key(&meter, |(known, _)| *known) {
            Ok(index) => self.0[index].1 = tariff,
            Err(index) => self.0.insert(index, (meter, tariff)),
        }
        self
    }

    /// The tariff given for `meter` itself.
    pub fn own(&self, meter: Meter) -> Option<&Tariff> {
        self.0.iter().find(|(known, _)| *known == meter).map(|(_, tariff)| tariff)
    }

    /// The meters that have a tariff of their own, with it, in the order of [`Meter::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Meter, &Tariff)> {
        self.0.iter().map(|(meter, tariff)| (*meter, tariff))
    }

    /// Which meter's tariff here is charged for `meter`, if any.
    fn counted_as(&self, meter: Meter) -> Option<(Meter, &Tariff)> {
        [Some(meter), stand_in(meter)]
            .into_iter()
            .flatten()
            .find_map(|meter| self.own(meter).map(|tariff| (meter, tariff)))
    }
}

/// Rates for calls with a long prompt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LongContext {
    /// They apply when the call has more prompt tokens (of every kind) than this.
    pub above: u64,
    /// What then replaces all token rates of the call. A meter that is not priced here, neither
    /// by itself nor as another one, keeps the price's ordinary rate.
    pub rates: Rates,
}

/// The price of a model, or of any other work, under a name.
///
/// Invariant: it has at least one rate, and its long contexts ascend by `above`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Price {
    pub(super) name: Box<str>,
    pub(super) rates: Rates,
    pub(super) long: Vec<LongContext>,
}

/// Parts that make no price.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPrice {
    /// The name is empty or longer than [`Price::NAME_MAX`] bytes.
    #[error("a price's name has 1 to {max} bytes", max = Price::NAME_MAX)]
    Name,
    /// Nothing is priced; what is meant to be free says so: `request = "0"`.
    #[error("prices nothing; write request = \"0\" if it is meant to be free")]
    NoRates,
    /// Two long contexts begin above the same number of tokens, or there are too many.
    #[error("long contexts must differ in where they begin, and be at most {max}", max = Price::LONG_MAX)]
    LongContext,
}

impl Price {
    /// The longest name in bytes.
    pub const NAME_MAX: usize = 200;
    /// The most long contexts of one price.
    pub const LONG_MAX: usize = 8;

    /// A price from its ordinary rates and those for long prompts, in any order.
    ///
    /// # Errors
    ///
    /// [`InvalidPrice`] when one of its invariants does not hold.
    pub fn new(name: &str, rates: Rates, mut long: Vec<LongContext>) -> Result<Self, InvalidPrice> {
        if name.is_empty() || name.len() > Self::NAME_MAX {
            return Err(InvalidPrice::Name);
        }
        if rates.0.is_empty() || long.iter().any(|context| context.rates.0.is_empty()) {
            return Err(InvalidPrice::NoRates);
        }
        long.sort_by_key(|context| context.above);
        let repeated = long.windows(2).any(|pair| pair[0].above == pair[1].above);
        if repeated || long.len() > Self::LONG_MAX {
            return Err(InvalidPrice::LongContext);
        }
        Ok(Self { name: name.into(), rates, long })
    }

    /// The name, as routes, models and contracts refer to it.
    pub const fn name(&self) -> &str {
        &self.name
    }

    /// The ordinary rates.
    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Whether an amount of `meter` has a rate, its own or that of the meter it is counted as.
    pub fn charges(&self, meter: Meter) -> bool {
        self.rates.counted_as(meter).is_some()
    }

    /// The rates for long prompts, ascending by where they begin.
    pub fn long_contexts(&self) -> &[LongContext] {
        &self.long
    }

    /// The rates of a call with so many prompt tokens.
    pub(super) fn rates_at(&self, input_tokens: u64) -> &Rates {
        self.long
            .iter()
            .rev()
            .find(|context| input_tokens > context.above)
            .map_or(&self.rates, |context| &context.rates)
    }

    /// Which tariff is charged for `meter` under `active`, one of this price's rates.
    pub(super) fn tariff<'a>(
        &'a self,
        active: &'a Rates,
        meter: Meter,
    ) -> Option<(Meter, &'a Tariff)> {
        active.counted_as(meter).or_else(|| self.rates.counted_as(meter))
    }
}

/// The meter whose rate a meter takes when it has none.
const fn stand_in(meter: Meter) -> Option<Meter> {
    match meter {
        Meter::CachedInputTokens | Meter::CacheWriteTokens | Meter::AudioInputTokens => {
            Some(Meter::InputTokens)
        }
        Meter::ReasoningTokens | Meter::AudioOutputTokens => Some(Meter::OutputTokens),
        Meter::InputTokens
        | Meter::OutputTokens
        | Meter::Image
        | Meter::Request
        | Meter::Second
        | Meter::Byte => None,
    }
}
