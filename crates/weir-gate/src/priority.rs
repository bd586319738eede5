//! How urgent a call says it is: `Priority` (RFC 9218) or `X-Priority`, within what its key may use.

use http::{HeaderMap, HeaderValue};
use weir_core::key::Urgency;

use crate::names;

/// What a request says of its urgency.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// What it is treated as.
    pub urgency: Urgency,
    /// Whether it says anything, so that it is told what it was treated as.
    pub told: bool,
}

/// The urgency of a call, at most `most`. RFC 9218's u=0 is critical, 1 and 2 are high, 3 is the
/// default, 4 to 7 are low; where both headers are sent, `Priority` counts.
pub fn of(headers: &HeaderMap, most: Urgency) -> Said {
    let (number, word) = (headers.get(&names::PRIORITY), headers.get(&names::X_PRIORITY));
    let asked = number
        .and_then(|number| by_number(number.to_str().ok()?))
        .or_else(|| by_word(word?.to_str().ok()?))
        .unwrap_or_default();
    Said { urgency: asked.min(most), told: number.is_some() || word.is_some() }
}

/// Tells a client what its call was treated as.
pub fn echo(headers: &mut HeaderMap, urgency: Urgency) {
    let (number, word) = match urgency {
        Urgency::Critical => ("u=0", "critical"),
        Urgency::High => ("u=1", "high"),
        Urgency::Normal => ("u=3", "normal"),
        Urgency::Low => ("u=5", "low"),
    };
    headers.insert(&names::PRIORITY, HeaderValue::from_static(number));
    headers.insert(&names::X_PRIORITY, HeaderValue::from_static(word));
}

fn by_number(text: &str) -> Option<Urgency> {
    let level = text.split(',').find_map(|item| item.trim().strip_prefix("u="))?;
    match level.split(';').next()?.trim() {
        "0" => Some(Urgency::Critical),
        "1" | "2" => Some(Urgency::High),
        "3" => Some(Urgency::Normal),
        "4" | "5" | "6" | "7" => Some(Urgency::Low),
        _ => None,
    }
}

fn by_word(text: &str) -> Option<Urgency> {
    match text.trim() {
        "critical" => Some(Urgency::Critical),
        "high" => Some(Urgency::High),
        "normal" => Some(Urgency::Normal),
        "low" => Some(Urgency::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&'static str, &str)], most: Urgency, expected: Urgency) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let said = of(&headers, most);
        assert_eq!((said.urgency, said.told), (expected, !pairs.is_empty()), "{pairs:?}");
    }

    #[test]
    fn a_call_is_as_urgent_as_it_says_and_its_key_allows() {
        check(&[], Urgency::Critical, Urgency::Normal);
        check(&[("priority", "u=0")], Urgency::Critical, Urgency::Critical);
        check(&[("priority", "u=0")], Urgency::Normal, Urgency::Normal);
        check(&[("priority", "i, u=5")], Urgency::Critical, Urgency::Low);
        check(&[("x-priority", "high")], Urgency::Critical, Urgency::High);
        check(&[("priority", "u=9"), ("x-priority", "low")], Urgency::High, Urgency::Low);
        check(&[("priority", "u=1"), ("x-priority", "low")], Urgency::High, Urgency::High);
    }
}
