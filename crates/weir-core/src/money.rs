//! Money as integers: a ledger in nano units of the currency, prices in pico units.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

/// An amount of money in billionths of the currency unit, signed: ±9.2 billion units.
///
/// Arithmetic saturates nowhere: overflow is a bug and panics in every profile, because the sums
/// that Weir forms are bounded at the door ([`Nano::BOUND`] per posting).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Nano(i64);

/// Text that is no amount of money.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAmount {
    /// Not of the form `-?digits(.digits)?`.
    #[error("not a decimal number such as \"25.00\"")]
    Syntax,
    /// More decimals than can be kept exactly.
    #[error("more than {0} decimals")]
    TooFine(u32),
    /// Too large to be kept.
    #[error("larger than can be kept")]
    TooLarge,
}

impl Nano {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount of one posting: one billion currency units.
    pub const BOUND: Self = Self(1_000_000_000 * NANO);
    /// The largest amount that can be kept.
    pub const MAX: Self = Self(i64::MAX);

    /// From billionths of the currency unit.
    pub const fn new(nano: i64) -> Self {
        Self(nano)
    }

    /// Billionths of the currency unit.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// `self + other`, or `None` where that cannot be kept.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self - other`, or `None` where that cannot be kept.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// `self + other`, held at the ends of what can be kept.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `self - other`, held at the ends of what can be kept.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether this is less than nothing.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The amount if it is positive, else nothing.
    #[must_use]
    pub fn or_zero(self) -> Self {
        self.max(Self::ZERO)
    }
}

impl Add for Nano {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        match self.checked_add(other) {
            Some(sum) => sum,
            None => overflow(),
        }
    }
}

impl Sub for Nano {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        match self.0.checked_sub(other.0) {
            Some(difference) => Self(difference),
            None => overflow(),
        }
    }
}

impl Neg for Nano {
    type Output = Self;

    fn neg(self) -> Self {
        Self::ZERO - self
    }
}

impl AddAssign for Nano {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Nano {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Nano {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// The decimal string of the amount: at least two decimals, at most nine, no trailing zeros
/// beyond the second.
impl fmt::Display for Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (mut whole, mut fraction) = (magnitude / ONE, magnitude % ONE);
        let mut places = 9;
        while places > 2 && fraction.is_multiple_of(10) {
            fraction /= 10;
            places -= 1;
        }
        // From the last digit to the first, by hand: every answer of a priced call tells two.
        let mut text = Backwards { bytes: [0; TEXT_BYTES_MAX], free: TEXT_BYTES_MAX };
        for _ in 0..places {
            text.digit(&mut fraction);
        }
        text.byte(b'.');
        text.digit(&mut whole);
        while whole > 0 {
            text.digit(&mut whole);
        }
        if self.0 < 0 {
            text.byte(b'-');
        }
        f.write_str(std::str::from_utf8(&text.bytes[text.free..]).map_err(|_| fmt::Error)?)
    }
}

/// Text that is written from its end.
struct Backwards {
    bytes: [u8; TEXT_BYTES_MAX],
    free: usize,
}

impl Backwards {
    /// Writes the last digit of a number and takes it off.
    fn digit(&mut self, number: &mut u64) {
        let digit = u8::try_from(*number % 10).unwrap_or_default();
        *number /= 10;
        self.byte(b'0' + digit);
    }

    fn byte(&mut self, byte: u8) {
        self.free -= 1; // no number has more digits than there is room for
        self.bytes[self.free] = byte;
    }
}

impl FromStr for Nano {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let scaled = parse_decimal(text, 9)?;
        i64::try_from(scaled).map(Self).map_err(|_| InvalidAmount::TooLarge)
    }
}

/// Reads `-?digits(.digits)?` as an integer of `10^-decimals` units.
///
/// # Errors
///
/// [`InvalidAmount`] for anything else: exponents, signs alone, spaces, more decimals.
pub fn parse_decimal(text: &str, decimals: u32) -> Result<i128, InvalidAmount> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return Err(InvalidAmount::Syntax),
        Some(parts) => parts,
        None => (digits, ""),
    };
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return Err(InvalidAmount::Syntax);
    }
    let fraction = fraction.trim_end_matches('0');
    let places = u32::try_from(fraction.len()).map_err(|_| InvalidAmount::TooFine(decimals))?;
    if places > decimals {
        return Err(InvalidAmount::TooFine(decimals));
    }
    let mut value: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        value = value
            .checked_mul(10)
            .and_then(|shifted| shifted.checked_add(i128::from(byte - b'0')))
            .ok_or(InvalidAmount::TooLarge)?;
    }
    let scale = 10_i128.checked_pow(decimals - places).ok_or(InvalidAmount::TooLarge)?;
    let value = value.checked_mul(scale).ok_or(InvalidAmount::TooLarge)?;
    Ok(if negative { -value } else { value })
}

#[expect(clippy::panic, reason = "postings are bounded, so that sums cannot leave i64")]
#[cold]
fn overflow() -> ! {
    panic!("an amount of money left the range that can be kept")
}

/// Billionths in one currency unit.
const NANO: i64 = 1_000_000_000;
const ONE: u64 = NANO.unsigned_abs();
/// A sign, ten digits, a point, nine decimals.
const TEXT_BYTES_MAX: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: Result<i64, InvalidAmount>) {
        assert_eq!(text.parse::<Nano>().map(Nano::get), expected, "{text}");
    }

    #[test]
    fn decimal_strings_are_read_exactly() {
        check("25.00", Ok(25_000_000_000));
        check("0.000000001", Ok(1));
        check("-3.5", Ok(-3_500_000_000));
        check("0.0000000010", Ok(1));
        check("0.0000000001", Err(InvalidAmount::TooFine(9)));
        check("9999999999999", Err(InvalidAmount::TooLarge));
        for text in ["", "-", ".5", "5.", "1e3", " 1", "+1", "1,5", "NaN", "--1"] {
            check(text, Err(InvalidAmount::Syntax));
        }
    }

    #[test]
    fn an_amount_is_written_with_two_to_nine_decimals() {
        let amounts = [
            (0, "0.00"),
            (1, "0.000000001"),
            (-3_500_000_000, "-3.50"),
            (25_000_000_000, "25.00"),
            (120_000_000, "0.12"),
            (123_400_000, "0.1234"),
        ];
        for (nano, text) in amounts {
            assert_eq!(Nano::new(nano).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn an_amount_reads_back_as_written(nano in any::<i64>()) {
            prop_assert_eq!(Nano::new(nano).to_string().parse(), Ok(Nano::new(nano)));
        }
    }
}
