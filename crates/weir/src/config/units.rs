//! Times, sizes and percentages as text, with a guess at what was meant when they are not.

use std::time::Duration;

/// Reads `250ms`, `30s`, `5m`, `1h` or `1d`.
///
/// # Errors
///
/// A guess at what was meant, where there is one.
pub(crate) fn duration(text: &str) -> Result<Duration, Option<String>> {
    let (digits, unit) = split_number(text);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(guess_duration(text)),
    };
    let number: u64 = digits.parse().map_err(|_| guess_duration(text))?;
    let millis = number.checked_mul(millis).filter(|millis| *millis <= DURATION_MS_MAX);
    millis.map(Duration::from_millis).ok_or(None)
}

/// Reads `512B`, `64KB`, `32MB`, `1GB` (powers of 1000) or `KiB`, `MiB`, `GiB` (powers of 1024).
///
/// # Errors
///
/// A guess at what was meant, where there is one.
pub(crate) fn size(text: &str) -> Result<u64, Option<String>> {
    let (digits, unit) = split_number(text);
    let number: u64 = digits.parse().map_err(|_| guess_size(text))?;
    let scale: u64 = match unit {
        "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(guess_size(text)),
    };
    number.checked_mul(scale).ok_or(None)
}

/// Reads `10%` or `2.5%` as millionths.
///
/// # Errors
///
/// A guess at what was meant, where there is one.
pub(crate) fn percent(text: &str) -> Result<u64, Option<String>> {
    let Some(number) = text.strip_suffix('%') else {
        let (digits, rest) = split_number(text.trim());
        let guess = (rest.is_empty() && !digits.is_empty()).then(|| format!("{digits}%"));
        return Err(guess);
    };
    let ppm = weir_core::money::parse_decimal(number, 4).map_err(|_| None)?;
    u64::try_from(ppm).map_err(|_| None)
}

/// The leading digits of a text, and what follows them.
pub(crate) fn split_number(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// The unit of time that a word means, as it is written in durations.
pub(crate) fn time_unit(word: &str) -> Option<&'static str> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    })
}

fn guess_duration(text: &str) -> Option<String> {
    let (digits, rest) = split_number(text.trim());
    let unit = time_unit(rest)?;
    Some(format!("{digits}{unit}")).filter(|guess| !digits.is_empty() && guess != text)
}

fn guess_size(text: &str) -> Option<String> {
    let (digits, rest) = split_number(text.trim());
    let unit = match rest.trim().to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => "B",
        "k" | "kb" => "KB",
        "m" | "mb" | "megabytes" => "MB",
        "g" | "gb" | "gigabytes" => "GB",
        "ki" | "kib" => "KiB",
        "mi" | "mib" => "MiB",
        "gi" | "gib" => "GiB",
        _ => return None,
    };
    Some(format!("{digits}{unit}")).filter(|guess| !digits.is_empty() && guess != text)
}

/// A hundred years.
const DURATION_MS_MAX: u64 = 100 * 366 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: PartialEq + std::fmt::Debug>(
        parse: impl Fn(&str) -> Result<T, Option<String>>,
        text: &str,
        expected: Result<T, Option<&str>>,
    ) {
        assert_eq!(parse(text), expected.map_err(|guess| guess.map(str::to_owned)), "{text}");
    }

    #[test]
    fn durations_have_one_number_and_one_unit() {
        check(duration, "250ms", Ok(Duration::from_millis(250)));
        check(duration, "5m", Ok(Duration::from_secs(300)));
        check(duration, "1d", Ok(Duration::from_secs(86_400)));
        check(duration, "30sec", Err(Some("30s")));
        check(duration, "5 min", Err(Some("5m")));
        check(duration, "2 Hours", Err(Some("2h")));
        for text in ["", "s", "30", "-1s", "1h30m", "1.5h", "99999999999999999999s", "999999d"] {
            check(duration, text, Err(None));
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary_by_their_unit() {
        check(size, "32MB", Ok(32_000_000));
        check(size, "1KiB", Ok(1024));
        check(size, "32M", Err(Some("32MB")));
        check(size, "32 mb", Err(Some("32MB")));
        for text in ["", "MB", "32", "-1B", "99999999999999GB"] {
            check(size, text, Err(None));
        }
    }

    #[test]
    fn percentages_are_exact() {
        check(percent, "10%", Ok(100_000));
        check(percent, "2.5%", Ok(25_000));
        check(percent, "10", Err(Some("10%")));
        for text in ["", "%", "-1%", "0.00001%", "10 %"] {
            check(percent, text, Err(None));
        }
    }
}
