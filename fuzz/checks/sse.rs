//! Events do not depend on where the chunks of a stream end, and no byte is lost.

use bytes::Bytes;
use weir_gate::sse::{Fields, Piece, Splitter};

/// The first byte says how the rest is cut.
pub(crate) fn check(data: &[u8]) {
    let Some((cut, body)) = data.split_first() else { return };
    let whole = split(body, body.len().max(1));
    let cut = split(body, usize::from(*cut % 31) + 1);
    assert_eq!(joined(&whole), body, "a byte is lost or made");
    assert_eq!(joined(&cut), body);
    assert_eq!(events(&whole), events(&cut));
    for event in events(&whole) {
        let _data = Fields::of(&event).data();
    }
}

fn split(body: &[u8], size: usize) -> Vec<Piece> {
    let mut splitter = Splitter::default();
    let mut pieces = Vec::new();
    for chunk in body.chunks(size) {
        splitter.push(Bytes::copy_from_slice(chunk), &mut pieces);
    }
    pieces.extend(splitter.finish());
    pieces
}

fn bytes_of(piece: &Piece) -> &Bytes {
    match piece {
        Piece::Event(bytes) | Piece::Rest(bytes) | Piece::Part { bytes, .. } => bytes,
    }
}

fn joined(pieces: &[Piece]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| bytes_of(piece).to_vec()).collect()
}

fn events(pieces: &[Piece]) -> Vec<Bytes> {
    pieces.iter().map(bytes_of).cloned().collect()
}
