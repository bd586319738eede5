//! Decimal numbers of foreign files, exact: prices such as `1.5e-07` never pass through a float.

/// `digits` × 10^-`places`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Decimal {
    digits: i128,
    places: i32,
}

impl Decimal {
    /// Reads `12`, `-0.5`, `1.5e-07`, with at most 30 digits; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let (sign, whole) = match whole.strip_prefix('-') {
            Some(whole) => (-1, whole),
            None => (1, whole.strip_prefix('+').unwrap_or(whole)),
        };
        let digits = format!("{whole}{fraction}");
        let sound = (1..=30).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && exponent.abs() <= 30;
        let places = i32::try_from(fraction.len()).ok()? - exponent;
        sound.then_some(())?;
        Some(Self { digits: sign * digits.parse::<i128>().ok()?, places }.shortened())
    }

    /// This × 10^`by`.
    pub(crate) fn shifted(self, by: i32) -> Self {
        Self { digits: self.digits, places: self.places - by }.shortened()
    }

    /// This less `other`; `None` where that has too many digits.
    pub(crate) fn less(self, other: Self) -> Option<Self> {
        let places = self.places.max(other.places);
        let at = |number: Self| {
            let factor = 10_i128.checked_pow(u32::try_from(places - number.places).ok()?)?;
            number.digits.checked_mul(factor)
        };
        Some(Self { digits: at(self)?.checked_sub(at(other)?)?, places }.shortened())
    }

    /// Whether it is above zero.
    pub(crate) fn is_positive(self) -> bool {
        self.digits > 0
    }

    /// As text with at most so many decimals; what is beyond them is cut off.
    pub(crate) fn text(self, decimals_max: u32) -> String {
        let mut number = self;
        while number.places > i32::try_from(decimals_max).unwrap_or(i32::MAX) {
            number.digits /= 10;
            number.places -= 1;
        }
        while number.places < 0 {
            number.digits = number.digits.saturating_mul(10);
            number.places += 1;
        }
        let places = usize::try_from(number.places).unwrap_or(0);
        let digits = format!("{:0>width$}", number.digits.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let sign = if number.digits < 0 { "-" } else { "" };
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            return format!("{sign}{whole}");
        }
        format!("{sign}{whole}.{fraction}")
    }

    /// As text, exactly; `None` if that takes more decimals than so many.
    pub(crate) fn exact(self, decimals_max: u32) -> Option<String> {
        let fits = self.places <= i32::try_from(decimals_max).unwrap_or(i32::MAX);
        fits.then(|| self.text(decimals_max))
    }

    fn shortened(mut self) -> Self {
        while self.digits % 10 == 0 && self.places > 0 {
            self.digits /= 10;
            self.places -= 1;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    #[track_caller]
    fn check(text: &str, by: i32, expected: &str) {
        assert_eq!(Decimal::parse(text).unwrap().shifted(by).text(9), expected, "{text}");
    }

    #[test]
    fn a_price_for_a_token_is_that_for_a_million_exactly() {
        check("1.5e-07", 6, "0.15");
        check("0.00000015", 6, "0.15");
        check("3e-6", 6, "3");
        check("2.5E-6", 6, "2.5");
        check("0.0000000001", 6, "0.0001");
        check("1e-12", 6, "0.000001");
        check("-1.25", 0, "-1.25");
        check("1e3", 0, "1000");
        check("0", 6, "0");
        check("1.1234567891", 0, "1.123456789");
    }

    #[test]
    fn what_is_left_of_a_budget_is_exact() {
        let number = |text| Decimal::parse(text).unwrap();
        assert_eq!(number("10").less(number("0.1")).unwrap().text(9), "9.9");
        assert!(!number("1").less(number("1.0")).unwrap().is_positive());
        assert!(!number("1").less(number("2")).unwrap().is_positive());
    }

    #[test]
    fn what_is_no_decimal_number_is_refused() {
        for text in ["", ".", "-", "e5", "1e", "1e99", "0x1", "NaN", "1_000", "1,5", "--1"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
