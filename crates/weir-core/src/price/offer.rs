//! A price as it applies to one account: the quote before a call, the charge after it.

use smallvec::SmallVec;

use super::sheet::{Price, Rates};
use super::tariff::{Mode, Multiplier, Tariff};
use crate::money::Nano;
use crate::usage::{Meter, Usage};

/// A price together with the factor at which an account gets it.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The price.
    pub price: &'a Price,
    /// What it is multiplied by, before anything is rounded.
    pub multiplier: Multiplier,
}

/// How much a call may use at most, as far as that is known before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bound {
    /// Prompt tokens: an estimate.
    pub input: u64,
    /// Generated tokens of one choice.
    pub output: u64,
    /// How many choices are generated (`n` or `best_of`), at least 1; the prompt counts once.
    pub choices: u64,
    /// Whether audio may come in or go out; only then do the rates of audio tokens count.
    pub audio: bool,
    /// Everything that is not a token: calls, images, milliseconds, bytes.
    pub other: Usage,
}

impl Bound {
    /// One call of text with one choice.
    pub const fn text(input: u64, output: u64) -> Self {
        let other = Usage::NONE.with(Meter::Request, 1);
        Self { input, output, choices: 1, audio: false, other }
    }
}

/// What a call costs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Charge {
    /// The exact price in pico units.
    pub pico: u128,
    /// The price as it is posted: rounded once, half to even.
    pub amount: Nano,
}

/// A usage that would cost more than [`Nano::BOUND`]: nonsense of an upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the usage would cost more than one posting can hold")]
pub struct TooLarge;

impl Offer<'_> {
    /// The most that a call within `bound` can cost, rounded up; at most [`Nano::BOUND`].
    ///
    /// `before` is what the account used of this price in the billing period. It counts every
    /// tier from there on and every long context that the prompt may reach, and the dearest kind
    /// of prompt and of generated token, so that no [`Offer::charge`] of a call within the bound
    /// is above it, whatever other calls of the account settle in the meantime.
    pub fn quote_worst(&self, bound: &Bound, before: &Usage) -> Nano {
        let reachable = self.price.long.iter().filter(|context| bound.input > context.above);
        std::iter::once(&self.price.rates)
            .chain(reachable.map(|context| &context.rates))
            .map(|rates| self.worst_under(rates, bound, before))
            .try_fold(0, |most: u128, worst| Some(most.max(worst?)))
            .and_then(|pico| i64::try_from(pico.div_ceil(PICO_PER_NANO)).ok())
            .map_or(Nano::BOUND, |nano| Nano::new(nano).min(Nano::BOUND))
    }

    /// The largest output bound, at most that of `bound`, for which the quote fits `available`;
    /// `None` when even no output at all does not fit.
    pub fn affordable_output(&self, bound: &Bound, before: &Usage, available: Nano) -> Option<u64> {
        let fits = |output| self.quote_worst(&Bound { output, ..*bound }, before) <= available;
        if !fits(0) {
            return None;
        }
        let (mut low, mut high) = (0, bound.output);
        while low < high {
            let middle = high - (high - low) / 2;
            if fits(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Some(low)
    }

    /// What `usage` costs after `before` was used of this price in the billing period.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] above [`Nano::BOUND`], or when the totals of the period leave 64 bits.
    pub fn charge(&self, usage: &Usage, before: &Usage) -> Result<Charge, TooLarge> {
        let rates = self.price.rates_at(usage.input());
        let mut pools: SmallVec<[(Meter, &Tariff, u64); 6]> = SmallVec::new();
        for (meter, amount) in usage.amounts() {
            let Some((counted_as, tariff)) = self.price.tariff(rates, meter) else { continue };
            match pools.iter_mut().find(|(_, known, _)| std::ptr::eq(*known, tariff)) {
                Some((_, _, sum)) => *sum = sum.checked_add(amount).ok_or(TooLarge)?,
                None => pools.push((counted_as, tariff, amount)),
            }
        }
        let mut pico: u128 = 0;
        for (meter, tariff, units) in pools {
            let start = self.position(rates, tariff, before).ok_or(TooLarge)?;
            let end = start.checked_add(units).ok_or(TooLarge)?;
            let until = |total| tariff.cumulative(meter, total, self.multiplier).ok_or(TooLarge);
            pico = pico.checked_add(until(end)? - until(start)?).ok_or(TooLarge)?;
        }
        let amount = round_half_even(pico).filter(|amount| *amount <= Nano::BOUND);
        Ok(Charge { pico, amount: amount.ok_or(TooLarge)? })
    }

    /// How much was used before of everything that this tariff is charged for.
    fn position(&self, rates: &Rates, tariff: &Tariff, before: &Usage) -> Option<u64> {
        before
            .amounts()
            .filter(|(meter, _)| {
                let charged = self.price.tariff(rates, *meter);
                charged.is_some_and(|(_, known)| std::ptr::eq(known, tariff))
            })
            .try_fold(0, |sum: u64, (_, amount)| sum.checked_add(amount))
    }

    /// The most under one set of rates, in pico units; `None` if it cannot be computed.
    fn worst_under(&self, rates: &Rates, bound: &Bound, before: &Usage) -> Option<u128> {
        let output = bound.output.checked_mul(bound.choices.max(1))?;
        let kinds = if bound.audio { 4 } else { 3 };
        let input = self.worst_of(rates, &INPUT[..kinds], bound.input, before)?;
        let kinds = if bound.audio { 3 } else { 2 };
        let mut sum =
            input.checked_add(self.worst_of(rates, &OUTPUT[..kinds], output, before)?)?;
        for meter in OTHER {
            let worst = self.worst_of(rates, &[meter], bound.other.of(meter), before)?;
            sum = sum.checked_add(worst)?;
        }
        Some(sum)
    }

    /// The most that `units` may cost, shared out among the meters of `kinds` in any way.
    fn worst_of(&self, rates: &Rates, kinds: &[Meter], units: u64, before: &Usage) -> Option<u128> {
        let mut seen: SmallVec<[&Tariff; 4]> = SmallVec::new();
        let (mut dearest, mut sum) = (0, 0_u128);
        let mut by_package = false;
        if units == 0 {
            return Some(0);
        }
        for meter in kinds {
            let Some((meter, tariff)) = self.price.tariff(rates, *meter) else { continue };
            if seen.iter().any(|known| std::ptr::eq(*known, tariff)) {
                continue;
            }
            seen.push(tariff);
            let position = self.position(rates, tariff, before)?;
            let worst = tariff.worst(meter, units, position, self.multiplier)?;
            dearest = dearest.max(worst);
            sum = sum.checked_add(worst)?;
            by_package |= tariff.mode() == Mode::Package;
        }
        // Each kind starts packages of its own. Otherwise no mixture costs more than the dearest
        // kind alone, but for a pico unit in each kind, which the charge's rounding swallows.
        Some(if by_package { sum } else { dearest })
    }
}

/// Pico units as nano units, the half going to the even neighbour.
fn round_half_even(pico: u128) -> Option<Nano> {
    let (whole, rest) = (pico / PICO_PER_NANO, pico % PICO_PER_NANO);
    let half = PICO_PER_NANO / 2;
    let up = rest > half || (rest == half && whole % 2 == 1);
    i64::try_from(whole + u128::from(up)).ok().map(Nano::new)
}

const PICO_PER_NANO: u128 = 1_000;
/// The kinds of prompt token, audio last.
const INPUT: [Meter; 4] = [
    Meter::InputTokens,
    Meter::CachedInputTokens,
    Meter::CacheWriteTokens,
    Meter::AudioInputTokens,
];
/// The kinds of generated token, audio last.
const OUTPUT: [Meter; 3] = [Meter::OutputTokens, Meter::ReasoningTokens, Meter::AudioOutputTokens];
/// What is not a token.
const OTHER: [Meter; 4] = [Meter::Image, Meter::Request, Meter::Second, Meter::Byte];
