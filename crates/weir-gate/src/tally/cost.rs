//! Adds what a call cost to the usage that its response reports.

use std::ops::Range;

use bytes::Bytes;

use crate::json::{Kind, Malformed, Scanner, Text};
use crate::sse::Fields;

/// Where in an object its member `cost` is, or belongs.
#[derive(Clone, Debug)]
struct Slot {
    at: Range<usize>,
    lead: &'static str,
}

/// `raw` with `"cost": cost` in its usage object: that of a JSON body or of one raw event of a
/// stream, at the top or in `response`. A cost that is there is replaced; every other byte stays.
///
/// `cost` is a decimal number such as `0.000132`. Bytes without a usage object come back as they are,
/// and so they do if `cost` is no number.
pub fn rewrite_usage_cost(raw: &Bytes, cost: &str) -> Bytes {
    if !is_number(cost) {
        return raw.clone();
    }
    match place(raw) {
        Some(slot) => {
            let mut text = Vec::with_capacity(raw.len() + slot.lead.len() + cost.len());
            text.extend_from_slice(&raw[..slot.at.start]);
            text.extend_from_slice(slot.lead.as_bytes());
            text.extend_from_slice(cost.as_bytes());
            text.extend_from_slice(&raw[slot.at.end..]);
            text.into()
        }
        None => raw.clone(),
    }
}

fn place(raw: &[u8]) -> Option<Slot> {
    if raw.trim_ascii_start().first() == Some(&b'{') {
        return slot(raw);
    }
    let fields = Fields::of(raw);
    let data = fields.data()?;
    let slot = slot(&data)?;
    let at = fields.position(slot.at.start)?..fields.position(slot.at.end)?;
    Some(Slot { at, ..slot })
}

/// In a document: the slot of the usage that counts, which is the last one.
fn slot(document: &[u8]) -> Option<Slot> {
    let mut found = None;
    let mut scan = Scanner::new(document);
    let read: Result<(), Malformed> = scan.object(|scan, name| {
        let object = scan.kind()? == Kind::Object;
        if object && name.is("usage") {
            found = Some(slot_in(scan)?);
            Ok(())
        } else if object && name.is("response") {
            scan.object(|scan, name| {
                if scan.kind()? == Kind::Object && name.is("usage") {
                    found = Some(slot_in(scan)?);
                    return Ok(());
                }
                scan.skip()
            })
        } else {
            scan.skip()
        }
    });
    read.and_then(|()| scan.end()).ok().and(found)
}

fn slot_in(scan: &mut Scanner<'_>) -> Result<Slot, Malformed> {
    let inside = scan.at() + 1;
    let mut slot = Slot { at: inside..inside, lead: "\"cost\":" };
    let mut there = false;
    scan.object(|scan, name: Text<'_>| {
        let start = scan.at();
        scan.skip()?;
        let end = scan.at();
        if name.is("cost") {
            slot = Slot { at: start..end, lead: "" };
            there = true;
        } else if !there {
            slot = Slot { at: end..end, lead: ",\"cost\":" };
        }
        Ok::<(), Malformed>(())
    })?;
    Ok(slot)
}

fn is_number(text: &str) -> bool {
    let mut scan = Scanner::new(text.as_bytes());
    scan.number().is_ok_and(|number| number == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_cost(raw: &'static str, want: &str) {
        let rewritten = rewrite_usage_cost(&Bytes::from_static(raw.as_bytes()), "0.0132");
        assert_eq!(String::from_utf8_lossy(&rewritten), want);
    }

    #[test]
    fn a_cost_is_added_to_the_usage_and_nothing_else_changes() {
        check_cost(
            r#" {"a" : 1, "usage": { "x":1 } }"#,
            r#" {"a" : 1, "usage": { "x":1,"cost":0.0132 } }"#,
        );
        check_cost(r#"{"usage":{}}"#, r#"{"usage":{"cost":0.0132}}"#);
        check_cost(r#"{"usage":{"cost":{"v":1},"x":1}}"#, r#"{"usage":{"cost":0.0132,"x":1}}"#);
        check_cost(
            "event: e\r\ndata: {\"response\":{\"usage\":{\"x\":1}}}\r\n\r\n",
            "event: e\r\ndata: {\"response\":{\"usage\":{\"x\":1,\"cost\":0.0132}}}\r\n\r\n",
        );
        check_cost(
            "data: {\"usage\":\ndata: {\"x\":1\ndata: }}\n\n",
            "data: {\"usage\":\ndata: {\"x\":1,\"cost\":0.0132\ndata: }}\n\n",
        );
        for same in [
            "data: [DONE]\n\n",
            "",
            ": ping\n\n",
            "data: {\"usage\":null}\n\n",
            "{\"usage\":{}",
            "{\"usage\":{}} x",
        ] {
            check_cost(same, same);
        }
        let raw = Bytes::from_static(b"{\"usage\":{}}");
        for not_a_number in ["", "1,\"x\":2", ".5", "NaN"] {
            assert_eq!(rewrite_usage_cost(&raw, not_a_number), raw);
        }
    }
}
