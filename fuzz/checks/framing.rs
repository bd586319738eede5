//! Where requests begin and end does not depend on how their bytes arrive.

use weir_gate::framing::FramingWatch;

/// The first byte says how the rest is cut.
pub(crate) fn check(data: &[u8]) {
    let Some((cut, body)) = data.split_first() else { return };
    let whole = watched(body, body.len().max(1));
    assert_eq!(whole, watched(body, usize::from(*cut % 31) + 1));
}

fn watched(body: &[u8], size: usize) -> String {
    let mut watch = FramingWatch::new(4_096);
    body.chunks(size).for_each(|chunk| watch.feed(chunk));
    let phase = watch.phase();
    let verdicts: Vec<_> = (0..8).map(|_| watch.verdict()).collect();
    format!("{phase:?} {verdicts:?}")
}
