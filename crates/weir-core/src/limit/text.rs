//! Limits as text: `"100/hour"`, `"5/day"`, `"10/90s"`, `"unlimited"`; windows as `"90s"` or `"month"`.

use std::fmt;
use std::str::FromStr;

use super::rule::{InvalidRule, Rule};
use super::terms::{Period, Terms};
use crate::time::Span;

/// Text that is no limit, no window.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidLimit {
    /// Nothing between number and window.
    #[error("a limit is written as a number, a slash and a window")]
    NoSlash,
    /// The part before the slash is no whole number.
    #[error("\"{0}\" is not a whole number")]
    Number(String),
    /// The part before the slash is more than is counted exactly.
    #[error("\"{0}\" is larger than {max}", max = Rule::QUOTA_MAX)]
    NumberTooLarge(String),
    /// The window is none that is known.
    #[error("\"{0}\" is not a window")]
    Window(String),
    /// Well written, but out of range.
    #[error(transparent)]
    Rule(#[from] InvalidRule),
}

impl InvalidLimit {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::NoSlash => "write \"100/hour\", \"10/90s\" or \"unlimited\"".into(),
            Self::Number(text) => number_hint(text),
            Self::NumberTooLarge(_) => InvalidRule::QuotaTooLarge(0).hint().into(),
            Self::Window(text) => match near_window(text) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => {
                    "write second, minute, hour, day, month, or a length such as 90s, 5m, 1h, 1d"
                        .into()
                }
            },
            Self::Rule(invalid) => invalid.hint().into(),
        }
    }
}

impl FromStr for Rule {
    type Err = InvalidLimit;

    /// The default kind of limit (requests, fixed window from the first request) from its text.
    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let text = text.trim();
        if text == UNLIMITED_TEXT {
            return Ok(Self::unlimited());
        }
        let (number, window) = text.split_once('/').ok_or(InvalidLimit::NoSlash)?;
        let quota = parse_quota(number.trim())?;
        let period = window.trim().parse()?;
        Ok(Self::new(Terms::new(Some(quota), period))?)
    }
}

impl fmt::Display for Rule {
    /// Quota and window as they are written; other terms do not show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quota() {
            Some(quota) => write!(f, "{quota}/{}", self.terms().period),
            None => f.write_str(UNLIMITED_TEXT),
        }
    }
}

impl FromStr for Period {
    type Err = InvalidLimit;

    /// A name (`hour`), a length (`250ms`, `90s`, `5m`, `1h`, `7d`) or `3 months`, without its range
    /// checked.
    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        if let Some((_, period)) = NAMED.into_iter().find(|(name, _)| *name == text) {
            return Ok(period);
        }
        let unknown = || InvalidLimit::Window(text.into());
        if let Some(months) = text.strip_suffix(" months") {
            return months.parse().map(Self::Months).map_err(|_| unknown());
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        let (_, micros) =
            SUFFIXES.into_iter().find(|(known, _)| *known == suffix).ok_or_else(unknown)?;
        let number: i64 = number.parse().map_err(|_| unknown())?;
        let micros = number.checked_mul(micros).ok_or(InvalidRule::PeriodOutOfRange)?;
        Ok(Self::Span(Span::from_micros(micros)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = NAMED.into_iter().find(|(_, period)| period == self) {
            return f.write_str(name);
        }
        match self {
            Self::Months(months) => write!(f, "{months} months"),
            Self::Span(span) => {
                let whole = SUFFIXES.into_iter().find(|(_, unit)| span.micros() % unit == 0);
                let (suffix, unit) = whole.unwrap_or(("us", 1));
                write!(f, "{}{suffix}", span.micros() / unit)
            }
        }
    }
}

fn parse_quota(text: &str) -> Result<u64, InvalidLimit> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidLimit::Number(text.into()));
    }
    match text.parse() {
        Ok(quota) if quota <= Rule::QUOTA_MAX => Ok(quota),
        _ => Err(InvalidLimit::NumberTooLarge(text.into())),
    }
}

fn number_hint(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !matches!(c, '_' | ',' | ' ' | '\'')).collect();
    let zeros = match plain.as_bytes().last() {
        Some(b'k' | b'K') => "000",
        Some(b'm' | b'M') => "000000",
        _ => "",
    };
    let digits = if zeros.is_empty() { plain.as_str() } else { &plain[..plain.len() - 1] };
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("write {digits}{zeros}");
    }
    "write digits only, such as 1000".into()
}

/// The window that was probably meant: common short forms, plurals, other case, a missing number.
fn near_window(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
    let (number, word) = lower.split_at(digits);
    let word = word.trim();
    let (_, name, suffix) = NEAR.into_iter().find(|(forms, _, _)| forms.contains(&word))?;
    match number {
        "" if !name.is_empty() => Some(name.into()),
        _ if suffix.is_empty() => None,
        "" => Some(format!("7{suffix}")),
        _ if word.starts_with('w') => {
            Some(format!("{}{suffix}", number.parse::<u64>().ok()?.checked_mul(7)?))
        }
        _ => Some(format!("{number}{suffix}")),
    }
}

const UNLIMITED_TEXT: &str = "unlimited";

const NAMED: [(&str, Period); 5] = [
    ("second", Period::SECOND),
    ("minute", Period::MINUTE),
    ("hour", Period::HOUR),
    ("day", Period::DAY),
    ("month", Period::MONTH),
];

/// Longest first, so that the largest whole unit is written.
const SUFFIXES: [(&str, i64); 5] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
];

/// Forms, the name without a number, the suffix with one.
const NEAR: [(&[&str], &str, &str); 7] = [
    (&["ms", "msec", "millisecond", "milliseconds"], "", "ms"),
    (&["s", "sec", "secs", "second", "seconds"], "second", "s"),
    (&["m", "min", "mins", "minute", "minutes"], "minute", "m"),
    (&["h", "hr", "hrs", "hour", "hours"], "hour", "h"),
    (&["d", "day", "days", "daily"], "day", "d"),
    (&["w", "week", "weeks", "weekly"], "", "d"),
    (&["mo", "mon", "month", "months", "monthly"], "month", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, quota: u64, period: Period) {
        let rule: Rule = text.parse().unwrap();
        assert_eq!((rule.quota(), rule.terms().period), (Some(quota), period));
        assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
    }

    #[track_caller]
    fn refused(text: &str, error: &str, hint: &str) {
        let invalid = text.parse::<Rule>().unwrap_err();
        assert_eq!(
            (invalid.to_string().as_str(), invalid.hint().as_str()),
            (error, hint),
            "{text}"
        );
    }

    #[test]
    fn a_limit_reads_as_it_is_written() {
        check("100/hour", 100, Period::HOUR);
        check(" 5 / day ", 5, Period::DAY);
        check("10/month", 10, Period::MONTH);
        check("10/3 months", 10, Period::Months(3));
        check("10/90s", 10, Period::Span(Span::from_secs(90)));
        check("1/250ms", 1, Period::Span(Span::from_millis(250)));
        check("0/second", 0, Period::SECOND);
        check("9007199254740992/400d", 1 << 53, Period::Span(Rule::PERIOD_MAX));
        assert_eq!("60/60m".parse::<Rule>().unwrap().to_string(), "60/hour");
        assert_eq!("unlimited".parse::<Rule>().unwrap().quota(), None);
        assert_eq!("unlimited".parse::<Rule>().unwrap().to_string(), "unlimited");
    }

    #[test]
    fn an_error_names_the_part_that_is_wrong_and_what_to_write() {
        let window = "write second, minute, hour, day, month, or a length such as 90s, 5m, 1h, 1d";
        refused(
            "",
            "a limit is written as a number, a slash and a window",
            "write \"100/hour\", \"10/90s\" or \"unlimited\"",
        );
        refused("100/hr", "\"hr\" is not a window", "did you mean \"hour\"?");
        refused("100/Hours", "\"Hours\" is not a window", "did you mean \"hour\"?");
        refused("100/90 sec", "\"90 sec\" is not a window", "did you mean \"90s\"?");
        refused("100/week", "\"week\" is not a window", "did you mean \"7d\"?");
        refused("100/2weeks", "\"2weeks\" is not a window", "did you mean \"14d\"?");
        refused("100/", "\"\" is not a window", window);
        refused("100/s", "\"s\" is not a window", "did you mean \"second\"?");
        refused("100/-1s", "\"-1s\" is not a window", window);
        refused("1_000/day", "\"1_000\" is not a whole number", "write 1000");
        refused("10k/day", "\"10k\" is not a whole number", "write 10000");
        refused("5m/day", "\"5m\" is not a whole number", "write 5000000");
        refused("-5/day", "\"-5\" is not a whole number", "write digits only, such as 1000");
        refused("1.5/day", "\"1.5\" is not a whole number", "write digits only, such as 1000");
        refused(
            "99999999999999999999/day",
            "\"99999999999999999999\" is larger than 9007199254740992",
            "write \"unlimited\" for no limit",
        );
        refused(
            "9007199254740993/day",
            "\"9007199254740993\" is larger than 9007199254740992",
            "write \"unlimited\" for no limit",
        );
        refused("5/3mo", "\"3mo\" is not a window", window);
        let range = "window must be between 1ms and 400d, or 1 to 12 months";
        let hint = "write a window such as \"90s\", \"1h\", \"1d\" or \"month\"";
        refused("5/0s", range, hint);
        refused("5/401d", range, hint);
        refused("5/9223372036854775807d", range, hint);
        refused(
            "5/99999999999999999999d",
            "\"99999999999999999999d\" is not a window",
            "did you mean \"99999999999999999999d\"?",
        );
    }
}
