//! Times and durations as the API writes and reads them.

use jiff::Timestamp as Civil;
use weir_core::time::{Span, Timestamp};

/// RFC 3339 in UTC. A time that the calendar does not reach is written as its end.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let end = if at.micros() < 0 { Civil::MIN } else { Civil::MAX };
    Civil::from_microsecond(at.micros()).unwrap_or(end).to_string()
}

/// Reads RFC 3339 with any offset.
pub(crate) fn parse_rfc3339(text: &str) -> Result<Timestamp, &'static str> {
    let civil: Civil =
        text.parse().map_err(|_| "it must be a time such as \"2026-01-31T12:00:00Z\"")?;
    Ok(Timestamp::from_micros(civil.as_microsecond()))
}

/// Reads a duration such as `"0s"`, `"30m"`, `"24h"`, `"7d"`.
pub(crate) fn parse_span(text: &str) -> Result<Span, &'static str> {
    const WRONG: &str = "it must be a duration such as \"30m\", \"24h\" or \"7d\"";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().map_err(|_| WRONG)?;
    let micros = match unit {
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000_i64,
        _ => return Err(WRONG),
    };
    number.checked_mul(micros).map(Span::from_micros).ok_or(WRONG)
}

/// A time as HTTP dates have it: whole seconds, rounded up, so that nothing which is dated
/// before can have changed after.
pub(crate) fn http_date(at: Timestamp) -> String {
    let zoned = Civil::from_second(at.secs_ceil()).unwrap_or_default();
    zoned.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Reads an HTTP date of the form that everyone writes (IMF-fixdate), in seconds.
pub(crate) fn parse_http_date(text: &str) -> Option<i64> {
    let parsed = jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S GMT", text.trim()).ok()?;
    Some(parsed.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_as_written() {
        for micros in [0, 1, 1_700_000_000_123_456] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(parse_rfc3339(&rfc3339(at)), Ok(at));
        }
        assert_eq!(rfc3339(Timestamp::from_secs(0)), "1970-01-01T00:00:00Z");
        assert!(rfc3339(Timestamp::MAX).starts_with("9999-12-30"));
        assert!(parse_rfc3339("yesterday").is_err());
        assert_eq!(parse_rfc3339("1970-01-01T02:00:00+02:00"), Ok(Timestamp::from_secs(0)));
    }

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(parse_span("24h"), Ok(Span::from_secs(86_400)));
        assert_eq!(parse_span("0s"), Ok(Span::ZERO));
        for wrong in ["", "h", "1", "-1h", "1 h", "9999999999999d", "1.5h"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn http_dates_are_whole_seconds_rounded_up() {
        let at = Timestamp::from_micros(784_111_776_000_001);
        assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
