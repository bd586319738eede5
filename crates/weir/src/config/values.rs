//! What can stand in the file as a value: texts, numbers, times, sizes, money, addresses, lists.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;
use weir_core::key::AddressBlock;
use weir_core::money::{InvalidAmount, Nano};

use super::place::At;
use super::read::{Read, Reading, Value, Want, kind};
use super::units;

/// A number of bytes, at least 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bytes(pub(crate) u64);

/// A share in millionths, from a percentage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Percent(pub(crate) u64);

/// A factor in millionths, from a number with at most six decimals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Factor(pub(crate) u64);

/// An absolute address of the web.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Url(pub(crate) http::Uri);

impl Read for String {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let text = reading.text(value, &Want { what: "a text", example: "\"…\"" })?;
        if text.is_empty() {
            reading.object(value.span().into(), "the text is empty", None);
            return None;
        }
        Some(text)
    }
}

impl Read for bool {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        if let DeValue::Boolean(truth) = value.get_ref() {
            return Some(*truth);
        }
        let found = kind(value.get_ref());
        let message = format!("expected true or false, found {found}");
        reading.object(value.span().into(), message, "write true or false, without quotes");
        None
    }
}

impl Read for u64 {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let place = value.span().into();
        let DeValue::Integer(integer) = value.get_ref() else {
            let message = format!("expected a whole number, found {}", kind(value.get_ref()));
            reading.object(place, message, "write digits without quotes: 512");
            return None;
        };
        let number = Self::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| *number <= WHOLE_MAX);
        if number.is_none() {
            reading.object(place, "not a whole number from 0 to 10^15", None);
        }
        number
    }
}

impl Read for Duration {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let what = "a length of time";
        let place = value.span().into();
        if let DeValue::Integer(integer) = value.get_ref() {
            let number = integer.as_str();
            let hint = format!("add a unit (ms, s, m, h or d) and quotes: \"{number}s\"");
            reading.object(place, format!("expected {what}, found an integer"), hint);
            return None;
        }
        let want = Want { what, example: "\"250ms\", \"30s\", \"5m\", \"1h\" or \"1d\"" };
        let duration = reading.parsed(value, &want, units::duration)?;
        if duration.is_zero() {
            reading.object(place, "must be longer than nothing", None);
            return None;
        }
        Some(duration)
    }
}

impl Read for Bytes {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let want = Want { what: "a size", example: "\"64KB\", \"32MB\" or \"1GiB\"" };
        let bytes = reading.parsed(value, &want, units::size)?;
        if bytes == 0 {
            reading.object(value.span().into(), "must be at least \"1B\"", None);
            return None;
        }
        Some(Self(bytes))
    }
}

impl Read for Percent {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let want = Want { what: "a percentage", example: "\"10%\"" };
        reading.parsed(value, &want, units::percent).map(Self)
    }
}

impl Read for Factor {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let place = value.span().into();
        let text = match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            other => {
                let message = format!("expected a number, found {}", kind(other));
                reading.object(place, message, "write it without quotes: 5 or 2.5");
                return None;
            }
        };
        let ppm = weir_core::money::parse_decimal(text, 6).ok();
        let ppm = ppm.and_then(|ppm| u64::try_from(ppm).ok()).filter(|ppm| *ppm <= WHOLE_MAX);
        if ppm.is_none() {
            let hint = "at most six decimals, not negative, at most 10^9: 5 or 2.5";
            reading.object(place, "not a factor", hint);
        }
        ppm.map(Self)
    }
}

impl Read for Nano {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let place = value.span().into();
        let text = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) => {
                let hint = "money is text, so that it stays exact: put it in quotes, \"25.00\"";
                reading.object(place, "expected an amount of money, found a number", hint);
                return None;
            }
            _ => {
                let want = Want { what: "an amount of money", example: "\"25.00\"" };
                reading.text(value, &want)?
            }
        };
        match text.parse::<Self>() {
            Ok(amount) if !amount.is_negative() => Some(amount),
            Ok(_) => {
                reading.object(place, "an amount here cannot be negative", None);
                None
            }
            Err(error) => {
                let message = format!("not an amount of money: {error}");
                reading.object(place, message, amount_hint(error));
                None
            }
        }
    }
}

impl Read for PathBuf {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let path = String::read(value, reading)?;
        Some(reading.world().folder.join(path))
    }
}

impl Read for SocketAddr {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let what = "an address and a port";
        if let DeValue::Integer(port) = value.get_ref() {
            let hint = format!("did you mean \"127.0.0.1:{}\"?", port.as_str());
            let message = format!("expected {what}, found an integer");
            reading.object(value.span().into(), message, hint);
            return None;
        }
        let example = "\"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::]:8080\"";
        reading.parsed(value, &Want { what, example }, |text| {
            text.parse().map_err(|_| guess_address(text))
        })
    }
}

impl Read for AddressBlock {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let example = "\"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\"";
        let want = Want { what: "an address or a block of addresses", example };
        reading.parsed(value, &want, |text| Self::parse(text).map_err(|_| None))
    }
}

impl Read for Url {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let want = Want { what: "a web address", example: "\"https://api.example.com\"" };
        reading.parsed(value, &want, |text| {
            let uri: http::Uri = text.parse().map_err(|_| None)?;
            let web = matches!(uri.scheme_str(), Some("http" | "https"));
            match uri.authority() {
                Some(authority) if web && !authority.as_str().contains('@') => Ok(Self(uri)),
                Some(_) if uri.scheme().is_none() => Err(Some(format!("http://{text}"))),
                _ => Err(None),
            }
        })
    }
}

impl<T: Read> Read for Vec<At<T>> {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let place = value.span().into();
        let DeValue::Array(array) = value.get_ref() else {
            let message = format!("expected a list, found {}", kind(value.get_ref()));
            let hint = match value.get_ref() {
                DeValue::String(text) => format!("write it in brackets: [{text:?}]"),
                _ => "write it in brackets: [\"…\", \"…\"]".to_owned(),
            };
            reading.object(place, message, hint);
            return None;
        };
        let read = |item: &Value<'_>| {
            let place = item.span().into();
            T::read(item, reading).map(|value| At { value, place })
        };
        Some(array.iter().filter_map(read).collect())
    }
}

fn guess_address(text: &str) -> Option<String> {
    let with_host =
        |host: &str, port: &str| port.parse::<u16>().is_ok().then(|| format!("{host}:{port}"));
    match text.rsplit_once(':') {
        Some(("", port)) => with_host("0.0.0.0", port),
        Some(("localhost", port)) => with_host("127.0.0.1", port),
        None => with_host("127.0.0.1", text),
        Some(_) => None,
    }
}

fn amount_hint(error: InvalidAmount) -> &'static str {
    match error {
        InvalidAmount::Syntax => "digits and at most one point: \"25.00\"",
        InvalidAmount::TooFine(_) => "round it, or raise the number of units that it is for",
        InvalidAmount::TooLarge => "the most that can be kept is about 9.2 billion",
    }
}

/// Larger numbers are slips of the finger, and sums of them would have to be watched.
const WHOLE_MAX: u64 = 1_000_000_000_000_000;
