//! What one meter costs, given how much of it was used before in the billing period.

use std::str::FromStr;

use smallvec::{SmallVec, smallvec};

use super::rate::{InvalidRate, Rate, pico_text};
use crate::usage::Meter;

/// How the tiers of a [`Tariff`] apply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// One rate, however much is used.
    Flat,
    /// Each unit costs the rate of the tier it falls into.
    Graduated,
    /// All units of the period cost the rate of the tier that the total has reached.
    ///
    /// What was charged is not given back: where the lower rate makes the total smaller than it
    /// was at the end of an earlier tier, units are free until it has caught up. So a rise in
    /// usage never lowers the total, and rates may not rise from tier to tier.
    Volume,
    /// Each started package of `per` units costs the amount of the tier it falls into.
    Package,
}

/// One step of a [`Tariff`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tier {
    /// The last unit of the period (in the meter's units, seconds for [`Meter::Second`]) that
    /// belongs to this tier; `None` on the last tier and only there.
    pub up_to: Option<u64>,
    /// Trillionths of the currency unit per `per` units.
    pub pico: u64,
}

/// Price of one meter over a billing period.
///
/// Its cumulative function F is exact up to the one rounding down to whole pico units, starts at
/// zero and never falls, so a charge `F(after) - F(before)` is never negative and the sum of
/// charges depends on the total only, never on how it was split into calls.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tariff {
    mode: Mode,
    per: u64,
    tiers: SmallVec<[Tier; 1]>,
}

/// Tiers that make no tariff.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTariff {
    /// An amount or number of units that is out of range.
    #[error(transparent)]
    Rate(#[from] InvalidRate),
    /// No tier, or more than [`Tariff::TIERS_MAX`].
    #[error("needs 1 to {max} tiers, flat exactly one; has {found}", max = Tariff::TIERS_MAX)]
    Tiers {
        /// How many there are.
        found: usize,
    },
    /// `up_to` is missing in the middle, given on the last tier, too large, or does not rise.
    #[error("tier {tier}: every tier but the last needs an up_to above the one before it")]
    UpTo {
        /// Which tier, from 1.
        tier: usize,
    },
    /// A package would span two tiers.
    #[error("tier {tier}: up_to must be a multiple of the package size {per}")]
    SplitPackage {
        /// Which tier, from 1.
        tier: usize,
        /// The package size.
        per: u64,
    },
    /// A volume rate rises, which would charge earlier units a second time.
    #[error("tier {tier}: a volume price must not rise; use mode \"graduated\"")]
    RisingVolume {
        /// Which tier, from 1.
        tier: usize,
    },
}

/// A factor on prices in parts per million: 0 to 100 times.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Multiplier(u32);

impl Multiplier {
    /// The list price.
    pub const ONE: Self = Self(1_000_000);

    /// From parts per million, `None` above 100 times.
    pub const fn from_ppm(ppm: u32) -> Option<Self> {
        if ppm <= 100_000_000 { Some(Self(ppm)) } else { None }
    }

    /// Parts per million.
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// `value * self` as a fraction, exactly: `(numerator, denominator)`.
    const fn of(self, value: u128) -> Option<(u128, u128)> {
        if self.0 == Self::ONE.0 {
            return Some((value, 1));
        }
        match value.checked_mul(self.0 as u128) {
            Some(scaled) => Some((scaled, Self::ONE.0 as u128)),
            None => None,
        }
    }
}

impl Tariff {
    /// The most tiers that are taken.
    pub const TIERS_MAX: usize = 32;
    /// The largest `up_to`, in the meter's units.
    pub const UP_TO_MAX: u64 = 1_000_000_000_000_000;

    /// One rate, however much is used.
    pub fn flat(rate: Rate) -> Self {
        let tiers = smallvec![Tier { up_to: None, pico: rate.pico() }];
        Self { mode: Mode::Flat, per: rate.per(), tiers }
    }

    /// A tariff in tiers, the amounts being for `per` units each.
    ///
    /// # Errors
    ///
    /// [`InvalidTariff`] names the first tier that is wrong.
    pub fn new(mode: Mode, per: u64, tiers: &[Tier]) -> Result<Self, InvalidTariff> {
        let found = tiers.len();
        let most = if mode == Mode::Flat { 1 } else { Self::TIERS_MAX };
        if found == 0 || found > most {
            return Err(InvalidTariff::Tiers { found });
        }
        let mut before: Option<Tier> = None;
        for (index, tier) in tiers.iter().enumerate() {
            let number = index + 1;
            Rate::new(tier.pico, per)?;
            let floor = before.and_then(|before| before.up_to).unwrap_or(0);
            match tier.up_to {
                None if number == found => {}
                Some(up_to) if number < found && up_to > floor && up_to <= Self::UP_TO_MAX => {
                    if mode == Mode::Package && !up_to.is_multiple_of(per) {
                        return Err(InvalidTariff::SplitPackage { tier: number, per });
                    }
                }
                _ => return Err(InvalidTariff::UpTo { tier: number }),
            }
            if mode == Mode::Volume && before.is_some_and(|before| tier.pico > before.pico) {
                return Err(InvalidTariff::RisingVolume { tier: number });
            }
            before = Some(*tier);
        }
        Ok(Self { mode, per, tiers: tiers.into() })
    }

    /// How the tiers apply.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// How many units (seconds for [`Meter::Second`]) each amount is for.
    pub const fn per(&self) -> u64 {
        self.per
    }

    /// The tiers, in order.
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// The amount of one tier as decimal text, with the multiplier in it, at most 12 decimals
    /// (rounded down beyond them: the charge itself is exact).
    pub fn amount_text(tier: Tier, multiplier: Multiplier) -> String {
        let scaled = u128::from(tier.pico) * u128::from(multiplier.ppm());
        pico_text(scaled / u128::from(Multiplier::ONE.ppm()))
    }

    /// F: what `total` of `meter` costs in a period, in pico units rounded down.
    ///
    /// `None` where that leaves what can be computed (far above any amount that can be charged).
    pub fn cumulative(&self, meter: Meter, total: u64, multiplier: Multiplier) -> Option<u128> {
        let scale = scale(meter);
        let amounts = self.amounts(u128::from(total), scale)?;
        let (numerator, denominator) = multiplier.of(amounts)?;
        Some(numerator / (denominator * self.divisor(scale)))
    }

    /// The most that `units` more of `meter` can cost at or after the position `before`, in pico
    /// units rounded up: at least `F(p + units) - F(p)` for every `p >= before`.
    pub fn worst(&self, meter: Meter, units: u64, before: u64, by: Multiplier) -> Option<u128> {
        let scale = scale(meter);
        let dearest = self.ahead(u128::from(before), scale).map(|tier| tier.pico).max()?;
        let count = match self.mode {
            Mode::Package => u128::from(units).div_ceil(u128::from(self.per) * scale),
            Mode::Flat | Mode::Graduated | Mode::Volume => u128::from(units),
        };
        let (numerator, denominator) = by.of(count.checked_mul(u128::from(dearest))?)?;
        Some(numerator.div_ceil(denominator * self.divisor(scale)))
    }

    /// Tiers that units beyond `before` may fall into.
    fn ahead(&self, before: u128, scale: u128) -> impl Iterator<Item = &Tier> {
        self.tiers.iter().filter(move |tier| end(tier, scale).is_none_or(|end| end > before))
    }

    /// The sum of amount times count, still to be divided by [`Tariff::divisor`].
    fn amounts(&self, total: u128, scale: u128) -> Option<u128> {
        let package = u128::from(self.per) * scale;
        let (mut sum, mut start): (u128, u128) = (0, 0);
        for tier in &self.tiers {
            let stop = end(tier, scale).map_or(total, |end| end.min(total));
            let count = match self.mode {
                Mode::Volume => stop,
                Mode::Package => (stop - start).div_ceil(package),
                Mode::Flat | Mode::Graduated => stop - start,
            };
            let amount = count.checked_mul(u128::from(tier.pico))?;
            sum = match self.mode {
                Mode::Volume => sum.max(amount),
                Mode::Flat | Mode::Graduated | Mode::Package => sum.checked_add(amount)?,
            };
            if stop == total {
                break;
            }
            start = stop;
        }
        Some(sum)
    }

    fn divisor(&self, scale: u128) -> u128 {
        match self.mode {
            Mode::Package => 1,
            Mode::Flat | Mode::Graduated | Mode::Volume => u128::from(self.per) * scale,
        }
    }
}

/// Reads a flat tariff as a [`Rate`] is written.
impl FromStr for Tariff {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        text.parse().map(Self::flat)
    }
}

/// How many counted amounts make one priced unit: time is counted in milliseconds.
const fn scale(meter: Meter) -> u128 {
    match meter {
        Meter::Second => 1_000,
        _ => 1,
    }
}

fn end(tier: &Tier, scale: u128) -> Option<u128> {
    tier.up_to.map(|up_to| u128::from(up_to) * scale)
}

#[cfg(test)]
#[path = "tariff_tests.rs"]
mod tests;
