//! Thresholds as operators and customers write them: `"5.00"`, `"20%"`, `"24h"`.

use std::fmt;
use std::str::FromStr;

use crate::money::{Nano, parse_decimal};
use crate::time::Span;

/// A level of credit at which someone wants to be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Threshold {
    /// An amount of money: `"5.00"`.
    Absolute(Nano),
    /// A share of the latest top-up in parts per million, at most all of it: `"20%"`.
    PercentOfLastTopUp(u32),
    /// How long the credit lasts at the present burn rate, one minute to a year: `"24h"`.
    Runway(Span),
}

/// Text that is no threshold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidThreshold {
    /// Neither money, nor a percentage, nor a time.
    #[error("not a threshold such as \"5.00\", \"20%\" or \"24h\"")]
    Syntax,
    /// Money that is not above zero or above [`Nano::BOUND`]; depletion is told anyhow.
    #[error("the amount must be above zero and at most 1000000000")]
    Amount,
    /// A share that is not above zero or above 100 %.
    #[error("the share must be above 0% and at most 100%")]
    Percent,
    /// A time below a minute or above a year.
    #[error("the time must be from 1m to 366d")]
    Time,
}

impl Threshold {
    /// What it amounts to in money, `None` while that is not known: a share without a top-up, a
    /// time without a burn rate. At a burn rate of zero any time amounts to nothing.
    pub fn value(self, last_top_up: Nano, burn_per_hour: Option<Nano>) -> Option<Nano> {
        match self {
            Self::Absolute(amount) => Some(amount),
            Self::PercentOfLastTopUp(_) if last_top_up <= Nano::ZERO => None,
            Self::PercentOfLastTopUp(ppm) => {
                Some(share(last_top_up, i128::from(ppm), i128::from(WHOLE_PPM)))
            }
            Self::Runway(span) => {
                Some(share(burn_per_hour?, i128::from(span.micros()), i128::from(HOUR_MICROS)))
            }
        }
    }
}

impl FromStr for Threshold {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Self, InvalidThreshold> {
        if let Some(percent) = text.strip_suffix('%') {
            let ppm = parse_decimal(percent, 4).map_err(|_| InvalidThreshold::Syntax)?;
            return u32::try_from(ppm)
                .ok()
                .filter(|ppm| (1..=WHOLE_PPM).contains(ppm))
                .map(Self::PercentOfLastTopUp)
                .ok_or(InvalidThreshold::Percent);
        }
        let unit = UNITS.into_iter().find(|(suffix, _)| text.ends_with(*suffix));
        if let Some((suffix, micros)) = unit {
            return parse_time(text.trim_end_matches(suffix), text, micros).map(Self::Runway);
        }
        let amount: Nano = text.parse().map_err(|_| InvalidThreshold::Syntax)?;
        if amount <= Nano::ZERO || amount > Nano::BOUND {
            return Err(InvalidThreshold::Amount);
        }
        Ok(Self::Absolute(amount))
    }
}

/// The text that reads back as this threshold.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(amount) => amount.fmt(f),
            Self::PercentOfLastTopUp(ppm) => {
                let (whole, fraction) = (ppm / 10_000, ppm % 10_000);
                if fraction == 0 {
                    return write!(f, "{whole}%");
                }
                let fraction = format!("{fraction:04}");
                write!(f, "{whole}.{}%", fraction.trim_end_matches('0'))
            }
            Self::Runway(span) => {
                let micros = span.micros();
                let fits = |(_, unit): &(char, i64)| micros % unit == 0;
                let (suffix, unit) = UNITS.into_iter().find(fits).unwrap_or(('s', 1_000_000));
                write!(f, "{}{suffix}", micros / unit)
            }
        }
    }
}

/// Reads the digits before the one letter of a time.
fn parse_time(digits: &str, text: &str, unit_micros: i64) -> Result<Span, InvalidThreshold> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || digits.len() + 1 != text.len() {
        return Err(InvalidThreshold::Syntax);
    }
    let count = digits.parse::<i64>().map_err(|_| InvalidThreshold::Time)?;
    count
        .checked_mul(unit_micros)
        .filter(|micros| (60_000_000..=366 * 24 * HOUR_MICROS).contains(micros))
        .map(Span::from_micros)
        .ok_or(InvalidThreshold::Time)
}

/// `amount * part / whole`, rounded down and held at what can be kept.
fn share(amount: Nano, part: i128, whole: i128) -> Nano {
    i64::try_from(i128::from(amount.or_zero().get()) * part / whole).map_or(Nano::MAX, Nano::new)
}

const WHOLE_PPM: u32 = 1_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;
/// Letters of units of time, the longest first.
const UNITS: [(char, i64); 4] =
    [('d', 24 * HOUR_MICROS), ('h', HOUR_MICROS), ('m', 60_000_000), ('s', 1_000_000)];

#[cfg(test)]
mod tests {
    use super::*;
    use InvalidThreshold::{Amount, Percent, Syntax, Time};

    #[track_caller]
    fn check(text: &str, expected: Result<Threshold, InvalidThreshold>) {
        assert_eq!(text.parse(), expected, "{text}");
        if let Ok(threshold) = expected {
            assert_eq!(threshold.to_string().parse(), expected, "{text} written again");
        }
    }

    #[test]
    fn thresholds_are_read_in_three_kinds() {
        check("5.00", Ok(Threshold::Absolute(Nano::new(5_000_000_000))));
        check("0.000000001", Ok(Threshold::Absolute(Nano::new(1))));
        check("20%", Ok(Threshold::PercentOfLastTopUp(200_000)));
        check("0.0125%", Ok(Threshold::PercentOfLastTopUp(125)));
        check("100%", Ok(Threshold::PercentOfLastTopUp(1_000_000)));
        check("24h", Ok(Threshold::Runway(Span::from_secs(86_400))));
        check("90m", Ok(Threshold::Runway(Span::from_secs(5_400))));
        check("3d", Ok(Threshold::Runway(Span::from_secs(259_200))));
        check("61s", Ok(Threshold::Runway(Span::from_secs(61))));
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        for text in ["", "%", "h", "x", "5 %", "1.5h", "-1h", "hh", "1hh", "1e3", "0.00001%"] {
            check(text, Err(Syntax));
        }
        check("0", Err(Amount));
        check("-5", Err(Amount));
        check("1000000000.01", Err(Amount));
        check("0%", Err(Percent));
        check("100.0001%", Err(Percent));
        check("-1%", Err(Percent));
        check("59s", Err(Time));
        check("367d", Err(Time));
        check("99999999999999999999d", Err(Time));
    }

    #[test]
    fn a_threshold_amounts_to_money_as_soon_as_that_is_known() {
        let (top_up, burn) = (Nano::new(1_000), Nano::new(60));
        let value =
            |text: &str, top_up, burn| text.parse::<Threshold>().unwrap().value(top_up, burn);
        assert_eq!(value("20%", top_up, None), Some(Nano::new(200)));
        assert_eq!(value("20%", Nano::ZERO, None), None);
        assert_eq!(value("90m", top_up, Some(burn)), Some(Nano::new(90)));
        assert_eq!(value("90m", top_up, Some(Nano::ZERO)), Some(Nano::ZERO));
        assert_eq!(value("90m", top_up, None), None);
        assert_eq!(value("366d", top_up, Some(Nano::MAX)), Some(Nano::MAX));
    }
}
