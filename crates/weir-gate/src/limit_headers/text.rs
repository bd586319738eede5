//! What headers are written with: items of structured fields (RFC 9651), numbers, amounts.

use weir_core::limit::Unit;

pub(super) fn begin_item(text: &mut Vec<u8>, index: usize, name: &str) {
    if index > 0 {
        text.extend_from_slice(b", ");
    }
    quote(text, name);
}

/// An amount as structured fields can carry it: at most fifteen digits; money in millionths.
pub(super) fn told(unit: Unit, amount: u64) -> u64 {
    match unit {
        Unit::Credits => amount / 1_000,
        Unit::Requests | Unit::Tokens => amount,
    }
    .min(999_999_999_999_999)
}

/// Writes a structured-field string (RFC 9651): ASCII, quotes and backslashes escaped.
fn quote(text: &mut Vec<u8>, name: &str) {
    text.push(b'"');
    if name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        text.extend_from_slice(name.as_bytes());
    } else {
        for letter in name.chars() {
            match u8::try_from(letter) {
                Ok(byte @ (b'"' | b'\\')) => text.extend_from_slice(&[b'\\', byte]),
                Ok(byte @ b' '..=b'~') => text.push(byte),
                _ => text.push(b'?'),
            }
        }
    }
    text.push(b'"');
}

/// Writes a number in decimal: a call tells two dozen, and the formatting machinery costs more than
/// the digits.
pub(super) fn number(text: &mut Vec<u8>, value: u64) {
    text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(super) fn seconds(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or(0)
}
