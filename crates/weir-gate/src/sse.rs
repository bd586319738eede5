//! Server-sent events as bytes: splits a body into whole events and reads an event's fields.
//!
//! Source of the rules: WHATWG HTML, "Server-sent events", 9.2.5 and 9.2.6. Not one byte is lost or
//! changed: what comes out, joined, is what went in.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// The longest event that is kept together, in bytes.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// Splits a stream of bytes into events. Where the chunks of the stream end does not matter.
///
/// Holds back at most [`EVENT_BYTES_MAX`] bytes plus one chunk.
#[derive(Debug, Default)]
pub struct Splitter {
    held: BytesMut,
    place: Place,
    oversize: bool,
}

/// What comes out of a [`Splitter`]; raw bytes, with the blank line that ends an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// A whole event of at most [`EVENT_BYTES_MAX`] bytes. It may hold nothing but a comment, or
    /// nothing at all.
    Event(Bytes),
    /// A part of an event that is too long to be kept together.
    Part {
        /// The bytes; the last part may be empty.
        bytes: Bytes,
        /// Whether the event ends with this part.
        last: bool,
    },
    /// What the stream left behind at its end: an event without its blank line.
    Rest(Bytes),
}

/// The fields of one event that matter here.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    /// The value of `event`, the last one given.
    pub name: Option<&'a [u8]>,
    /// Where in the event's bytes each line of its data lies.
    lines: Vec<Range<usize>>,
    raw: &'a [u8],
}

/// Where in an event the next byte stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// At the start of a line.
    LineStart { line_before: Ending },
    /// Inside a line.
    Line,
    /// Behind a carriage return that ended a line; a line feed may belong to it.
    LineReturn,
    /// Behind a carriage return that ended a blank line; a line feed may belong to it.
    BlankReturn,
}

/// How a line ended. In a stream of bare carriage returns nobody waits for a line feed behind one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Ending {
    /// By a bare carriage return.
    BareReturn,
    /// By a line feed, with or without a carriage return; or there was no line.
    #[default]
    Feed,
}

impl Default for Place {
    fn default() -> Self {
        Self::LineStart { line_before: Ending::Feed }
    }
}

impl Splitter {
    /// Takes the next chunk and appends to `out` what became whole by it. An event that lies within
    /// one chunk is a slice of it, not a copy.
    pub fn push(&mut self, mut chunk: Bytes, out: &mut Vec<Piece>) {
        while let Some(end) = self.event_end(&chunk) {
            let bytes = self.join(chunk.split_to(end));
            if !self.oversize && bytes.len() <= EVENT_BYTES_MAX {
                out.push(Piece::Event(bytes));
            } else {
                out.push(Piece::Part { bytes, last: true });
            }
            self.oversize = false;
        }
        if chunk.is_empty() {
            return;
        }
        self.oversize |= self.held.len() + chunk.len() > EVENT_BYTES_MAX;
        if self.oversize {
            let bytes = self.join(chunk);
            out.push(Piece::Part { bytes, last: false });
        } else {
            self.held.extend_from_slice(&chunk);
        }
    }

    /// Ends the stream and gives back what was held.
    pub fn finish(self) -> Option<Piece> {
        let whole = self.place == Place::BlankReturn;
        let bytes = self.held.freeze();
        match (bytes.is_empty(), whole, self.oversize) {
            (true, _, _) => None,
            (false, true, false) => Some(Piece::Event(bytes)),
            (false, _, true) => Some(Piece::Part { bytes, last: true }),
            (false, false, false) => Some(Piece::Rest(bytes)),
        }
    }

    /// What was held, and `tail` behind it.
    fn join(&mut self, tail: Bytes) -> Bytes {
        if self.held.is_empty() {
            return tail;
        }
        self.held.extend_from_slice(&tail);
        self.held.split().freeze()
    }

    /// Reads on in `chunk` up to the end of an event: the position behind it.
    fn event_end(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = chunk.get(at) {
            match (self.place, byte) {
                (Place::Line, _) => {
                    let Some(end) = memchr::memchr2(b'\n', b'\r', &chunk[at..]) else { break };
                    at += end;
                    self.place = match chunk[at] {
                        b'\n' => Place::default(),
                        _ => Place::LineReturn,
                    };
                }
                (Place::LineReturn, b'\n') => self.place = Place::default(),
                (Place::LineReturn, _) => {
                    self.place = Place::LineStart { line_before: Ending::BareReturn };
                    continue;
                }
                (Place::LineStart { .. }, b'\n') | (Place::BlankReturn, b'\n') => {
                    self.place = Place::default();
                    return Some(at + 1);
                }
                (Place::LineStart { line_before: Ending::BareReturn }, b'\r') => {
                    return Some(at + 1);
                }
                (Place::LineStart { line_before: Ending::Feed }, b'\r') => {
                    self.place = Place::BlankReturn
                }
                (Place::LineStart { .. }, _) => self.place = Place::Line,
                (Place::BlankReturn, _) => {
                    self.place = Place::LineStart { line_before: Ending::BareReturn };
                    return Some(at);
                }
            }
            at += 1;
        }
        None
    }
}

impl Piece {
    /// The raw bytes.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Event(bytes) | Self::Part { bytes, .. } | Self::Rest(bytes) => bytes,
        }
    }
}

impl<'a> Fields<'a> {
    /// Reads the fields of one event. Comments and other fields are passed over.
    pub fn of(raw: &'a [u8]) -> Self {
        let mut fields = Self { raw, ..Self::default() };
        let mut start = if raw.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        while start < raw.len() {
            let rest = &raw[start..];
            let length = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = &rest[..length];
            let colon = memchr::memchr(b':', line).unwrap_or(length);
            let space = usize::from(line.get(colon + 1) == Some(&b' '));
            let value = (colon + 1 + space).min(length)..length;
            match &line[..colon] {
                b"event" => fields.name = Some(&line[value]),
                b"data" => fields.lines.push(start + value.start..start + value.end),
                _ => {}
            }
            start += length + 1;
        }
        fields
    }

    /// The data, lines joined by a line feed; none if the event has no data.
    pub fn data(&self) -> Option<Cow<'a, [u8]>> {
        match self.lines.as_slice() {
            [] => None,
            [line] => Some(Cow::Borrowed(&self.raw[line.clone()])),
            lines => {
                let lines: Vec<&[u8]> = lines.iter().map(|line| &self.raw[line.clone()]).collect();
                Some(Cow::Owned(lines.join(&b'\n')))
            }
        }
    }

    /// Where in the event's bytes the byte number `at` of its data lies.
    pub(crate) fn position(&self, mut at: usize) -> Option<usize> {
        for line in &self.lines {
            if at <= line.len() {
                return Some(line.start + at);
            }
            at -= line.len() + 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Events, rest and parts (parts of one event joined), as text.
    fn split(chunks: &[&[u8]]) -> Vec<(char, Vec<u8>)> {
        let mut splitter = Splitter::default();
        let mut pieces = Vec::new();
        for chunk in chunks {
            splitter.push(Bytes::copy_from_slice(chunk), &mut pieces);
        }
        pieces.extend(splitter.finish());
        let mut out: Vec<(char, Vec<u8>)> = Vec::new();
        let mut open = false;
        for piece in pieces {
            let (sort, bytes, goes_on) = match piece {
                Piece::Event(bytes) => ('e', bytes, false),
                Piece::Part { bytes, last } => ('p', bytes, !last),
                Piece::Rest(bytes) => ('r', bytes, false),
            };
            match out.last_mut().filter(|_| open) {
                Some((_, joined)) => joined.extend_from_slice(&bytes),
                None => out.push((sort, bytes.to_vec())),
            }
            open = goes_on;
        }
        out
    }

    #[track_caller]
    fn check(input: &str, want: &[&str]) {
        let want: Vec<(char, Vec<u8>)> = want
            .iter()
            .map(|piece| piece.split_at(1))
            .map(|(sort, text)| (sort.chars().next().unwrap(), text.as_bytes().to_vec()))
            .collect();
        assert_eq!(split(&[input.as_bytes()]), want, "in one chunk");
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        assert_eq!(split(&bytes), want, "byte by byte");
    }

    #[test]
    fn an_event_ends_with_its_blank_line_in_every_line_ending() {
        check("data: a\n\ndata: b\n\n", &["edata: a\n\n", "edata: b\n\n"]);
        check("data: a\r\n\r\ndata: b\r\n\r\n", &["edata: a\r\n\r\n", "edata: b\r\n\r\n"]);
        check("data: a\r\rdata: b\r\r", &["edata: a\r\r", "edata: b\r\r"]);
        check("data: a\n\r\ndata: b\r\n\n", &["edata: a\n\r\n", "edata: b\r\n\n"]);
        check("data: a\n\rdata: b\n\r", &["edata: a\n\r", "edata: b\n\r"]);
    }

    #[test]
    fn comments_and_several_lines_belong_to_their_event() {
        check(
            ": ping\n\nevent: x\ndata: a\ndata: b\nid: 1\n\n",
            &["e: ping\n\n", "eevent: x\ndata: a\ndata: b\nid: 1\n\n"],
        );
    }

    #[test]
    fn what_lacks_its_blank_line_is_given_back_as_rest() {
        check("data: a\n\ndata: [DONE]", &["edata: a\n\n", "rdata: [DONE]"]);
        check("data: [DONE]\n", &["rdata: [DONE]\n"]);
        check("", &[]);
    }

    #[test]
    fn a_blank_line_of_bare_returns_is_not_waited_for() {
        let mut out = Vec::new();
        Splitter::default().push(Bytes::from_static(b"data: a\r\r"), &mut out);
        assert_eq!(out, [Piece::Event(Bytes::from_static(b"data: a\r\r"))]);
    }

    #[test]
    fn an_event_within_a_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\nda");
        let mut out = Vec::new();
        Splitter::default().push(chunk.clone(), &mut out);
        let starts: Vec<*const u8> =
            out.into_iter().map(|piece| piece.into_bytes().as_ptr()).collect();
        assert_eq!(starts, [chunk.as_ptr(), chunk[9..].as_ptr()]);
    }

    #[test]
    fn an_event_that_is_too_long_passes_in_parts_and_the_next_is_whole_again() {
        let long = format!("data: {}\n\n", "x".repeat(2 * EVENT_BYTES_MAX));
        let input = format!("{long}data: b\n\n");
        let want = [('p', long.clone().into_bytes()), ('e', b"data: b\n\n".to_vec())];
        assert_eq!(split(&[input.as_bytes()]), want);
        assert_eq!(split(&input.as_bytes().chunks(70_001).collect::<Vec<_>>()), want);

        let mut splitter = Splitter::default();
        let mut out = Vec::new();
        for chunk in long.as_bytes().chunks(1000) {
            splitter.push(Bytes::copy_from_slice(chunk), &mut out);
            assert!(splitter.held.len() <= EVENT_BYTES_MAX);
        }
        assert!(out.len() > 1);
    }

    #[test]
    fn the_longest_event_that_is_kept_together_is_exactly_that_long() {
        let fits = format!("data: {}\n\n", "x".repeat(EVENT_BYTES_MAX - 8));
        assert_eq!(split(&fits.as_bytes().chunks(4096).collect::<Vec<_>>())[0].0, 'e');
        let over = format!("data: {}\n\n", "x".repeat(EVENT_BYTES_MAX - 7));
        assert_eq!(split(&[over.as_bytes()])[0].0, 'p');
        assert_eq!(split(&over.as_bytes().chunks(EVENT_BYTES_MAX).collect::<Vec<_>>())[0].0, 'p');
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        let fields = Fields::of(
            b"\xef\xbb\xbfevent: x\ndata:a\r\ndata:  b\rdata\n: data: no\ndatas: no\n\n",
        );
        assert_eq!(fields.name, Some(b"x".as_slice()));
        assert_eq!(fields.data().unwrap().as_ref(), b"a\n b\n");
        assert!(Fields::of(b": ping\n\n").data().is_none());
        assert_eq!(Fields::of(b"data: a").data().unwrap().as_ref(), b"a");
    }

    #[test]
    fn a_place_in_the_data_is_found_again_in_the_event() {
        let raw = b"event: x\ndata: ab\ndata: cd\n\n";
        let fields = Fields::of(raw);
        let data = fields.data().unwrap();
        for (at, byte) in data.iter().enumerate().filter(|(_, byte)| **byte != b'\n') {
            assert_eq!(raw[fields.position(at).unwrap()], *byte);
        }
        assert_eq!(fields.position(99), None);
    }

    proptest! {
        #[test]
        fn chunk_boundaries_never_matter_and_nothing_is_lost(
            input in "(data: |event:|[\n\r]|\r\n|[a: \u{feff}]){0,40}",
            cuts in prop::collection::vec(0usize..200, 0..12),
        ) {
            let bytes = input.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                chunks.push(&bytes[from..cut]);
                from = cut;
            }
            let pieces = split(&chunks);
            prop_assert_eq!(&pieces, &split(&[bytes]));
            let joined: Vec<u8> = pieces.into_iter().flat_map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(joined, bytes);
        }
    }
}
