//! What is counted does not depend on where chunks end, is bounded, and never fails.

use bytes::Bytes;
use weir_core::usage::Meter;
use weir_gate::sse::{Piece, Splitter};
use weir_gate::tally::{PLAUSIBLE_MAX, Shape, Tallied, Tally};

/// The first two bytes say how the rest is read and cut.
pub(crate) fn check(data: &[u8]) {
    let [how, cut, body @ ..] = data else { return };
    let shape = match how % 3 {
        0 => Shape::OpenAi,
        1 => Shape::Anthropic,
        _ => Shape::Json("/usage/total".parse().expect("a pointer")),
    };
    let (whole, cut) = (body.len().max(1), usize::from(*cut % 31) + 1);
    let count = if how & 4 == 0 { as_body } else { as_stream };
    let tallied = count(&shape, body, whole);
    assert_eq!(tallied, count(&shape, body, cut), "it depends on where chunks end");
    for usage in tallied.usage.iter().chain([&tallied.produced]) {
        let sum: u128 = Meter::ALL.iter().map(|meter| u128::from(usage.of(*meter))).sum();
        assert!(sum <= 16 * u128::from(PLAUSIBLE_MAX), "{usage:?}");
    }
}

fn as_body(shape: &Shape, body: &[u8], size: usize) -> Tallied {
    let mut tally = Tally::new(shape.clone());
    body.chunks(size).for_each(|chunk| tally.body(chunk));
    tally.finish()
}

fn as_stream(shape: &Shape, body: &[u8], size: usize) -> Tallied {
    let (mut splitter, mut tally) = (Splitter::default(), Tally::new(shape.clone()));
    let mut pieces = Vec::new();
    for chunk in body.chunks(size) {
        splitter.push(Bytes::copy_from_slice(chunk), &mut pieces);
    }
    pieces.extend(splitter.finish());
    for piece in pieces {
        match piece {
            Piece::Event(bytes) | Piece::Rest(bytes) => drop(tally.event(&bytes)),
            Piece::Part { bytes, last } => drop(tally.part(&bytes, last)),
        }
    }
    tally.finish()
}
