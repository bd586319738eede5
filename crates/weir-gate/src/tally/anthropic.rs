//! Anthropic's usage and streams (messages).
//!
//! Source: docs.anthropic.com, "Streaming messages" and "Prompt caching". The input figures are
//! already exclusive; in a stream `message_start` has the input, `message_delta` the output so far,
//! cumulative. Figures only grow, so of each the largest counts.

use weir_core::usage::{Meter, Usage};

use super::count::{Figure, PLAUSIBLE_MAX, listen};
use super::seen::{EventKind, Seen};
use crate::json::{Kind, Malformed, Scanner};

/// Where a usage object stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// In `message_start`: output is only a beginning.
    Start,
    /// In `message_delta`, or in a whole message.
    Whole,
}

/// Reads one event of a stream.
pub(super) fn event(name: Option<&[u8]>, data: &[u8], seen: &mut Seen) -> EventKind {
    let mut sort = None;
    let mut spoke = false;
    let mut scan = Scanner::new(data);
    let read = scan.object(|scan, member| {
        let kind = scan.kind()?;
        match (member.decode().as_ref(), kind) {
            ("type", Kind::String) => sort = Some(scan.string()?.decode().into_owned()),
            ("delta" | "content_block", Kind::Object) => {
                spoke |= listen(scan, b"", &mut seen.produced)?
            }
            ("usage", _) => usage(scan, Stage::Whole, seen)?,
            ("message", Kind::Object) => scan.object(|scan, member| {
                if member.is("usage") { usage(scan, Stage::Start, seen) } else { scan.skip() }
            })?,
            _ => scan.skip()?,
        }
        Ok::<(), Malformed>(())
    });
    let named = sort.as_deref().map(str::as_bytes).or(name);
    match named {
        Some(b"message_stop") => EventKind::Terminal,
        Some(b"error") => EventKind::Error,
        _ if spoke && read.is_ok() => EventKind::Content,
        _ => EventKind::Other,
    }
}

/// Reads a usage value and joins it to what was reported before.
pub(super) fn usage(
    scan: &mut Scanner<'_>,
    stage: Stage,
    seen: &mut Seen,
) -> Result<(), Malformed> {
    let kind = scan.kind()?;
    if kind != Kind::Object {
        seen.implausible |= kind != Kind::Null;
        return scan.skip();
    }
    let mut reported = Usage::NONE;
    let mut any = false;
    let mut output = false;
    let mut input = false;
    let mut cache_creation = 0;
    scan.object(|scan, name| {
        let meter = match name.decode().as_ref() {
            "input_tokens" => Meter::InputTokens,
            "cache_read_input_tokens" => Meter::CachedInputTokens,
            "cache_creation_input_tokens" => Meter::CacheWriteTokens,
            "output_tokens" => Meter::OutputTokens,
            "cache_creation" => {
                cache_creation = by_lifetime(scan, seen)?;
                return Ok(());
            }
            _ => return scan.skip(),
        };
        let figure = Figure::read(scan)?;
        seen.implausible |= figure.odd;
        if let Some(amount) = figure.amount {
            reported.record(meter, amount);
            any = true;
            output |= meter == Meter::OutputTokens;
            input |= meter != Meter::OutputTokens;
        }
        Ok::<(), Malformed>(())
    })?;
    if !any {
        return Ok(());
    }
    let write = reported.of(Meter::CacheWriteTokens).max(cache_creation);
    reported.record(Meter::CacheWriteTokens, write);
    let before = seen.reported.unwrap_or(Usage::NONE);
    for meter in
        [Meter::InputTokens, Meter::CachedInputTokens, Meter::CacheWriteTokens, Meter::OutputTokens]
    {
        reported.record(meter, reported.of(meter).max(before.of(meter)));
    }
    let first = seen.reported.is_none();
    seen.input_untold = !input && (first || seen.input_untold);
    seen.output_pending = (first || seen.output_pending) && !(output && stage == Stage::Whole);
    seen.reported = Some(reported);
    seen.carried = true;
    Ok(())
}

/// The sum of what was written into the cache, listed by how long it is kept.
fn by_lifetime(scan: &mut Scanner<'_>, seen: &mut Seen) -> Result<u64, Malformed> {
    let mut sum: u64 = 0;
    let kind = scan.kind()?;
    if kind != Kind::Object {
        seen.implausible |= kind != Kind::Null;
        return scan.skip().map(|()| 0);
    }
    scan.object(|scan, _| {
        let figure = Figure::read(scan)?;
        seen.implausible |= figure.odd;
        sum = sum.saturating_add(figure.amount.unwrap_or(0));
        Ok::<(), Malformed>(())
    })?;
    Ok(sum.min(PLAUSIBLE_MAX))
}
