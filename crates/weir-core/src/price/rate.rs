//! The text of a rate: `"0.15/1M"` is 15 hundredths of the currency unit per million.

use std::fmt;
use std::str::FromStr;

use crate::money::{InvalidAmount, parse_decimal};

/// Money per so many units, exact: `pico / per` trillionths of the currency unit per unit.
///
/// Written `"0.15/1M"`, `"0.6/1k"`, `"0.02"` (per one) or `"0"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    pico: u64,
    per: u64,
}

/// Text that is no rate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidRate {
    /// Neither an amount nor an amount per so many units.
    #[error("not a price such as \"0.15/1M\" or \"0.02\"")]
    Syntax,
    /// A price below zero would pay the caller.
    #[error("a price cannot be negative")]
    Negative,
    /// More decimals than can be kept exactly.
    #[error("more than {DECIMALS} decimals; the nearest that can be kept is \"{nearest}\"")]
    TooFine {
        /// The nearest amount that can be kept; ties go to the even last digit.
        nearest: String,
    },
    /// Above one million currency units.
    #[error("more than 1000000 currency units")]
    TooLarge,
    /// A number of units that is none, zero or out of range.
    #[error("not a number of units such as \"1000\", \"1k\" or \"1M\", from 1 to {max}")]
    Count {
        /// The largest that is taken.
        max: u64,
    },
}

impl Rate {
    /// Nothing per unit.
    pub const FREE: Self = Self { pico: 0, per: 1 };

    /// Trillionths of the currency unit for [`Rate::per`] units.
    pub const fn pico(self) -> u64 {
        self.pico
    }

    /// How many units the amount is for, at least 1.
    pub const fn per(self) -> u64 {
        self.per
    }

    /// From an amount in pico units as [`parse_amount`] gives it and a number of units.
    ///
    /// # Errors
    ///
    /// [`InvalidRate`] when either is out of its range.
    pub const fn new(pico: u64, per: u64) -> Result<Self, InvalidRate> {
        if pico > PICO_MAX {
            return Err(InvalidRate::TooLarge);
        }
        if per == 0 || per > PER_MAX {
            return Err(InvalidRate::Count { max: PER_MAX });
        }
        Ok(Self { pico, per })
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        match text.split_once('/') {
            Some((amount, per)) => Self::new(parse_amount(amount)?, parse_count(per, PER_MAX)?),
            None => Self::new(parse_amount(text)?, 1),
        }
    }
}

/// The text that reads back as this rate.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pico_text(u128::from(self.pico)))?;
        match self.per {
            1 => Ok(()),
            per if per.is_multiple_of(1_000_000) => write!(f, "/{}M", per / 1_000_000),
            per if per.is_multiple_of(1_000) => write!(f, "/{}k", per / 1_000),
            per => write!(f, "/{per}"),
        }
    }
}

/// Reads a price's amount (`"0.60"`) as trillionths of the currency unit.
///
/// # Errors
///
/// [`InvalidRate`] when it is no decimal number from 0 to one million with at most 12 decimals.
pub fn parse_amount(text: &str) -> Result<u64, InvalidRate> {
    if text.len() > TEXT_MAX {
        return Err(InvalidRate::Syntax);
    }
    let pico = match parse_decimal(text, DECIMALS) {
        Ok(pico) => pico,
        Err(InvalidAmount::Syntax) => return Err(InvalidRate::Syntax),
        Err(InvalidAmount::TooLarge) => return Err(InvalidRate::TooLarge),
        Err(InvalidAmount::TooFine(_)) => return Err(too_fine(text)),
    };
    if pico < 0 {
        return Err(InvalidRate::Negative);
    }
    u64::try_from(pico).ok().filter(|pico| *pico <= PICO_MAX).ok_or(InvalidRate::TooLarge)
}

/// Reads a number of units: an integer, alone or with `k` (thousand) or `M` (million).
///
/// # Errors
///
/// [`InvalidRate::Count`] for anything else, for zero, and above `max`.
pub fn parse_count(text: &str, max: u64) -> Result<u64, InvalidRate> {
    let (digits, scale) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count = if plain { digits.parse::<u64>().ok() } else { None };
    count
        .and_then(|count| count.checked_mul(scale))
        .filter(|count| (1..=max).contains(count))
        .ok_or(InvalidRate::Count { max })
}

/// The decimal text of an amount in pico units, without trailing zeros.
pub(super) fn pico_text(pico: u128) -> String {
    let (whole, fraction) = (pico / PICO, pico % PICO);
    if fraction == 0 {
        return whole.to_string();
    }
    format!("{whole}.{fraction:012}").trim_end_matches('0').to_owned()
}

fn too_fine(text: &str) -> InvalidRate {
    if text.starts_with('-') {
        return InvalidRate::Negative;
    }
    let point = text.find('.').unwrap_or(text.len());
    let cut = (point + 1 + DECIMALS as usize).min(text.len());
    let Ok(kept) = parse_decimal(&text[..cut], DECIMALS) else { return InvalidRate::TooLarge };
    let rest = &text.as_bytes()[cut..];
    let above_half = match rest.first() {
        Some(b'6'..=b'9') => true,
        Some(b'5') => kept % 2 == 1 || rest[1..].iter().any(|digit| *digit != b'0'),
        _ => false,
    };
    let nearest = kept.unsigned_abs() + u128::from(above_half);
    InvalidRate::TooFine { nearest: pico_text(nearest) }
}

/// The most units that one amount may be for: a million million.
pub const PER_MAX: u64 = 1_000_000_000_000;
/// The largest amount of a rate: one million currency units.
const PICO_MAX: u64 = 1_000_000_000_000_000_000;
const PICO: u128 = 1_000_000_000_000;
const DECIMALS: u32 = 12;
const TEXT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(u64, u64), InvalidRate>) {
        assert_eq!(text.parse::<Rate>().map(|rate| (rate.pico, rate.per)), expected, "{text}");
    }

    #[test]
    fn rates_are_read_exactly() {
        check("0.15/1M", Ok((150_000_000_000, 1_000_000)));
        check("0.6/1k", Ok((600_000_000_000, 1_000)));
        check("0.02", Ok((20_000_000_000, 1)));
        check("0", Ok((0, 1)));
        check("1/3M", Ok((1_000_000_000_000, 3_000_000)));
        check("1000000/1", Ok((PICO_MAX, 1)));
        check("0.0000000000010", Ok((1, 1)));
    }

    #[test]
    fn a_rate_is_written_as_people_write_it() {
        for text in ["0.15/1M", "0.6/1k", "0.02", "1/3M", "2/250k", "5/1001"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_amount_has_at_most_64_characters() {
        let longest = format!("0.5{}", "0".repeat(61));
        assert_eq!(parse_amount(&longest), Ok(500_000_000_000));
        assert_eq!(parse_amount(&format!("{longest}0")), Err(InvalidRate::Syntax));
        assert_eq!(parse_amount(&format!("{longest}00")), Err(InvalidRate::Syntax));
    }

    #[test]
    fn what_is_no_rate_is_refused_with_a_hint() {
        for text in ["", "/1M", "x", "1e-6", "0.15 /1M", ".5", "$1"] {
            check(text, Err(InvalidRate::Syntax));
        }
        for text in ["1/", "1/0", "1/-1", "1/1G", "1/k", "1/1.5M", "1/1000001M", "1/+1", "1/1é"] {
            check(text, Err(InvalidRate::Count { max: PER_MAX }));
        }
        check("-0.15/1M", Err(InvalidRate::Negative));
        check("-0.0000000000001", Err(InvalidRate::Negative));
        check("1000000.000000000001", Err(InvalidRate::TooLarge));
        check("99999999999999999999999999999999999999999", Err(InvalidRate::TooLarge));
    }

    #[track_caller]
    fn check_nearest(text: &str, expected: &str) {
        let nearest = expected.to_owned();
        check(text, Err(InvalidRate::TooFine { nearest }));
    }

    #[test]
    fn a_rate_too_fine_to_keep_names_the_nearest_that_can_be_kept() {
        check_nearest("0.0000000000004", "0");
        check_nearest("0.0000000000015", "0.000000000002");
        check_nearest("0.0000000000025", "0.000000000002");
        check_nearest("0.00000000000250001", "0.000000000003");
        check_nearest("0.0000000000025100", "0.000000000003");
        check_nearest("0.00000000000251", "0.000000000003");
        check_nearest("0.000000000002500000", "0.000000000002");
        check_nearest("0.9999999999996/1k", "1");
        check_nearest("1.1234567890126", "1.123456789013");
    }

    proptest! {
        #[test]
        fn a_rate_reads_back_as_written(pico in 0..=PICO_MAX, per in 1..=PER_MAX) {
            let rate = Rate::new(pico, per).unwrap();
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,40}") {
            let _ = text.parse::<Rate>();
        }
    }
}
