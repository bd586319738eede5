//! Usage of any other API: a value at a JSON pointer, or in a header.

use std::str::FromStr;

use weir_core::usage::{Meter, Usage};

use super::count::Figure;
use super::seen::Seen;
use crate::json::{Kind, Malformed, Scanner};

/// What a bare number counts: it is charged like that many calls.
const UNIT: Meter = Meter::Request;

/// A JSON pointer (RFC 6901): `/usage/units`, `/items/0/n`, or nothing for the whole document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pointer(Box<[Box<str>]>);

/// Text that is no JSON pointer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPointer {
    /// It has no slash at its start.
    #[error("a JSON pointer starts with \"/\"")]
    NoSlash,
    /// A tilde that is neither `~0` nor `~1`.
    #[error("in a JSON pointer \"~\" is written \"~0\" and \"/\" in a name \"~1\"")]
    Tilde,
    /// Deeper than documents are read.
    #[error("a JSON pointer of more than 32 steps")]
    TooDeep,
}

impl Pointer {
    /// The names, or positions in arrays, from the outside in.
    pub(super) fn steps(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl FromStr for Pointer {
    type Err = InvalidPointer;

    fn from_str(text: &str) -> Result<Self, InvalidPointer> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let steps = text.strip_prefix('/').ok_or(InvalidPointer::NoSlash)?;
        let steps: Box<[Box<str>]> = steps.split('/').map(step).collect::<Result<_, _>>()?;
        if steps.len() > 32 { Err(InvalidPointer::TooDeep) } else { Ok(Self(steps)) }
    }
}

/// Reads the value at the pointer: a number is that many units ([`Meter::Request`]); an object has
/// meters by their names, exclusive, `second` in seconds. The last one counts.
pub(super) fn value(scan: &mut Scanner<'_>, seen: &mut Seen) -> Result<(), Malformed> {
    if scan.kind()? != Kind::Object {
        report(Figure::read(scan)?, seen);
        return Ok(());
    }
    let mut usage = None;
    scan.object(|scan, name| {
        let Some(meter) = Meter::by_name(&name.decode()) else { return scan.skip() };
        let figure = Figure::read_scaled(scan, if meter == Meter::Second { 3 } else { 0 })?;
        seen.implausible |= figure.odd;
        if let Some(amount) = figure.amount {
            usage = Some(usage.unwrap_or(Usage::NONE).with(meter, amount));
        }
        Ok::<(), Malformed>(())
    })?;
    seen.reported = usage.or(seen.reported);
    Ok(())
}

/// Reads the value of a header: a decimal number of units.
pub(super) fn header(value: Option<&[u8]>, seen: &mut Seen) {
    let Some(value) = value else { return };
    let text = std::str::from_utf8(value).unwrap_or_default();
    report(Figure::of_text(text.trim(), 0), seen);
}

fn report(figure: Figure, seen: &mut Seen) {
    seen.implausible |= figure.odd;
    if let Some(amount) = figure.amount {
        seen.reported = Some(Usage::NONE.with(UNIT, amount));
    }
}

fn step(written: &str) -> Result<Box<str>, InvalidPointer> {
    let mut parts = written.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (letter, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', &part[1..]),
            Some(b'1') => ('/', &part[1..]),
            _ => return Err(InvalidPointer::Tilde),
        };
        name.push(letter);
        name.push_str(rest);
    }
    Ok(name.into())
}
