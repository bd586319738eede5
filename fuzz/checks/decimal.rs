//! Decimals against digits that are moved by hand, and back from what is printed.

use weir_core::money::{Nano, parse_decimal};
use weir_core::price::Rate;

/// The first byte is the number of decimals.
pub(crate) fn check(data: &[u8]) {
    let Some((decimals, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let decimals = u32::from(decimals % 19);
    match (parse_decimal(text, decimals), naive(text, decimals)) {
        (Ok(read), Some(digits)) => {
            // The smallest number has no positive counterpart; nothing that large is read.
            assert_eq!(read.unsigned_abs().to_string(), digits, "{text:?} by {decimals}");
            assert_eq!(read < 0, text.starts_with('-') && digits != "0");
        }
        (Err(_), Some(digits)) => assert!(digits.len() >= 38, "{text:?} by {decimals} is refused"),
        (Ok(read), None) => panic!("{text:?} by {decimals} is read as {read}"),
        (Err(_), None) => {}
    }
    if let Ok(amount) = text.parse::<Nano>() {
        assert_eq!(amount.to_string().parse(), Ok(amount));
    }
    if let Ok(rate) = text.parse::<Rate>() {
        assert_eq!(rate.to_string().parse(), Ok(rate), "{text:?}");
    }
}

/// The digits of the number of units; none for what is no such number.
fn naive(text: &str, decimals: u32) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = match digits.find('.') {
        Some(place) if place + 1 < digits.len() => (&digits[..place], &digits[place + 1..]),
        Some(_) => return None,
        None => (digits, ""),
    };
    if whole.is_empty() || !whole.chars().chain(part.chars()).all(|it| it.is_ascii_digit()) {
        return None;
    }
    let part = part.trim_end_matches('0');
    let missing = usize::try_from(decimals).ok()?.checked_sub(part.len())?;
    let all = format!("{whole}{part}{}", "0".repeat(missing));
    let all = all.trim_start_matches('0');
    Some(if all.is_empty() { "0".to_owned() } else { all.to_owned() })
}
