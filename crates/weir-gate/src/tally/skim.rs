//! Reads a JSON body of any length as it passes, keeping next to nothing of it.
//!
//! Chunks may end anywhere, inside an escape too. What is kept: the path to where it stands, the
//! value that is looked for (at most [`VALUE_BYTES_MAX`]), and counts. It does not judge the grammar;
//! where brackets do not match it stops.

use super::count::{Produced, Voice};
use super::generic::Pointer;
use crate::json::{DEPTH_MAX, Text, is_space, utf8_bytes};

/// The longest value that is kept, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = 64 << 10;

/// The longest member name that is told apart from others, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// A reader in the middle of a document.
#[derive(Debug)]
pub(super) struct Skim {
    wanted: Wanted,
    counts: bool,
    /// What the member of the document is about that is being read.
    topic: Topic,
    place: Place,
    /// The objects and arrays around this place, from the outside in.
    frames: Vec<Frame>,
    /// The names that lead here, one behind the other.
    names: Vec<u8>,
    /// Whose words the string is that is being read.
    voice: Option<Voice>,
    /// How many frames stand around the value below which nothing counts.
    muted: Option<usize>,
    /// How many frames stand around the value below which everything counts.
    whole: Option<usize>,
    capture: Option<Capture>,
    image_at: Option<u64>,
    found: Found,
}

/// Where the value is that is looked for.
#[derive(Debug)]
enum Wanted {
    /// `usage`.
    Usage,
    /// `usage`, or `usage` in `response`.
    UsageOrInResponse,
    /// At this path.
    At(Vec<Box<str>>),
}

/// What a member of the document is about, as far as that is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Topic {
    /// What was said.
    Words,
    /// Images, if any.
    Data,
    Other,
}

impl Topic {
    fn of(name: &[u8]) -> Self {
        match name {
            b"choices" | b"output" | b"content" | b"text" => Self::Words,
            b"data" => Self::Data,
            _ => Self::Other,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The last value at a wanted path, unless it was null.
    pub(super) value: Option<Vec<u8>>,
    /// A wanted value was too long to be kept.
    pub(super) too_long: bool,
    /// What was produced, counted from the text.
    pub(super) produced: Produced,
    /// The document tells of an error.
    pub(super) error: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Before the document, in the lines of an event.
    Preface,
    Between,
    Scalar,
    Inside {
        name: bool,
        escape: Escape,
    },
    /// It makes no sense: nothing more is read.
    Lost,
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    No,
    Backslash,
    Unit { digits: u8, unit: u16 },
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    array: bool,
    expects_name: bool,
    index: u64,
    names_at: usize,
    name_escaped: bool,
    voice: Option<Voice>,
}

#[derive(Debug)]
struct Capture {
    /// How many frames stand around the value.
    depth: usize,
    /// Where in the chunk at hand it goes on.
    from: usize,
    bytes: Vec<u8>,
}

impl Skim {
    /// For a whole response: its usage, and what it produced.
    pub(super) fn body() -> Self {
        Self { counts: true, ..Self::at(Wanted::Usage) }
    }

    /// For an event of a stream: its usage alone.
    pub(super) fn usage() -> Self {
        Self::at(Wanted::UsageOrInResponse)
    }

    /// For the value at a pointer.
    pub(super) fn value(pointer: &Pointer) -> Self {
        Self::at(Wanted::At(pointer.steps().map(Into::into).collect()))
    }

    /// The document follows field names of an event: it begins with its first bracket.
    pub(super) fn of_event(self) -> Self {
        Self { place: Place::Preface, ..self }
    }

    fn at(wanted: Wanted) -> Self {
        Self {
            wanted,
            counts: false,
            topic: Topic::Other,
            place: Place::Between,
            frames: Vec::new(),
            names: Vec::new(),
            voice: None,
            muted: None,
            whole: None,
            capture: None,
            image_at: None,
            found: Found::default(),
        }
    }

    /// Reads on.
    pub(super) fn feed(&mut self, chunk: &[u8]) {
        self.resume();
        let mut at = 0;
        while at < chunk.len() {
            match self.place {
                Place::Lost => return,
                Place::Preface => match memchr::memchr(b'{', &chunk[at..]) {
                    Some(start) => {
                        at += start;
                        self.place = Place::Between;
                    }
                    None => return,
                },
                Place::Inside { name, escape: Escape::No } => at = self.plain(chunk, at, name),
                Place::Inside { name, escape } => {
                    self.escaped(chunk[at], name, escape);
                    at += 1;
                }
                Place::Scalar if !ends_scalar(chunk[at]) => at += 1,
                Place::Scalar => {
                    self.end_value(chunk, at);
                    self.place = Place::Between;
                }
                Place::Between => {
                    self.structure(chunk, at);
                    at += 1;
                }
            }
        }
        self.keep(chunk, chunk.len());
    }

    /// Ends the document.
    pub(super) fn finish(mut self) -> Found {
        if matches!(self.place, Place::Scalar) && self.frames.is_empty() {
            self.resume();
            self.end_value(&[], 0);
        }
        self.found
    }

    /// Begins another chunk.
    const fn resume(&mut self) {
        if let Some(capture) = &mut self.capture {
            capture.from = 0;
        }
    }

    /// A byte between strings and scalars.
    fn structure(&mut self, chunk: &[u8], at: usize) {
        let byte = chunk[at];
        match byte {
            b'{' | b'[' => {
                let voice = self.begin_value(byte, at);
                if self.frames.len() == usize::from(DEPTH_MAX) {
                    self.place = Place::Lost;
                    return;
                }
                let array = byte == b'[';
                let names_at = self.names.len();
                let frame = Frame {
                    array,
                    expects_name: !array,
                    index: 0,
                    names_at,
                    name_escaped: false,
                    voice,
                };
                self.frames.push(frame);
            }
            b'}' | b']' => {
                let Some(frame) = self.frames.pop().filter(|frame| frame.array == (byte == b']'))
                else {
                    self.place = Place::Lost;
                    return;
                };
                self.names.truncate(frame.names_at);
                self.end_value(chunk, at + 1);
            }
            b',' => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.index += 1;
                    frame.expects_name = !frame.array;
                }
            }
            b':' => {}
            b'"' => {
                let name = self.frames.last().is_some_and(|frame| frame.expects_name);
                if name {
                    self.begin_name();
                } else {
                    self.voice = self.begin_value(byte, at);
                }
                self.place = Place::Inside { name, escape: Escape::No };
            }
            space if is_space(space) => {}
            _ => {
                let _scalars_say_nothing = self.begin_value(byte, at);
                self.place = Place::Scalar;
            }
        }
    }

    fn begin_name(&mut self) {
        let counted = self.muted.is_none() && self.whole.is_some();
        self.voice = counted.then_some(Voice::Answer);
        if let Some(frame) = self.frames.last_mut() {
            frame.expects_name = false;
            frame.name_escaped = false;
            self.names.truncate(frame.names_at);
        }
    }

    fn end_name(&mut self) {
        let Some(frame) = self.frames.last().filter(|frame| frame.name_escaped) else { return };
        let decoded = Text::of_raw(&self.names[frame.names_at..], true).decode().into_owned();
        self.names.truncate(frame.names_at);
        self.names.extend_from_slice(decoded.as_bytes());
    }

    /// Notes that a value begins with `byte`; returns whose words its strings are.
    fn begin_value(&mut self, byte: u8, at: usize) -> Option<Voice> {
        let depth = self.frames.len();
        if self.capture.is_none() && self.is_wanted() {
            self.capture = Some(Capture { depth, from: at, bytes: Vec::new() });
        }
        let frame = *self.frames.last()?;
        if !self.counts {
            return None;
        }
        if depth == 1 {
            let name = self.name(0);
            let (is_error, topic) = (name == b"error", Topic::of(name));
            self.found.error |= is_error && matches!(byte, b'{' | b'"');
            self.topic = topic;
        }
        if self.topic == Topic::Data && depth == 3 && byte == b'"' {
            self.note_image();
        }
        if self.muted.is_some() || self.topic != Topic::Words {
            return None;
        }
        if self.whole.is_some() {
            return Some(Voice::Answer);
        }
        if frame.array {
            return frame.voice;
        }
        let name = self.name(depth - 1);
        if Voice::is_aside(name) {
            self.muted = Some(depth);
            return None;
        }
        let voice = match (frame.voice, name) {
            (Some(Voice::Reasoning), b"text") => Some(Voice::Reasoning),
            _ => Voice::of(name),
        };
        if name == b"input" && byte == b'{' {
            self.whole = Some(depth);
        }
        voice
    }

    /// Notes that a value ended before `end`; its frame, if it had one, is gone.
    fn end_value(&mut self, chunk: &[u8], end: usize) {
        let depth = self.frames.len();
        self.muted = self.muted.filter(|muted| *muted != depth);
        self.whole = self.whole.filter(|whole| *whole != depth);
        if self.capture.as_ref().is_some_and(|capture| capture.depth == depth) {
            self.keep(chunk, end);
            if let Some(capture) = self.capture.take()
                && capture.bytes != b"null"
            {
                self.found.value = Some(capture.bytes);
            }
        }
    }

    /// Keeps what of the wanted value lies in `chunk` before `end`.
    fn keep(&mut self, chunk: &[u8], end: usize) {
        let Some(capture) = &mut self.capture else { return };
        let more = &chunk[capture.from..end];
        if capture.bytes.len() + more.len() > VALUE_BYTES_MAX {
            self.found.too_long = true;
            self.capture = None;
        } else {
            capture.bytes.extend_from_slice(more);
            capture.from = end;
        }
    }

    /// Reads in a string up to its end, an escape, or the chunk's end; returns where it stopped.
    fn plain(&mut self, chunk: &[u8], at: usize, name: bool) -> usize {
        let rest = &chunk[at..];
        let length = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        self.hear(length);
        if name {
            self.spell(&rest[..length]);
        }
        match rest.get(length) {
            None => return chunk.len(),
            Some(b'\\') => {
                if name {
                    self.spell(b"\\");
                    self.note_escaped_name();
                }
                self.place = Place::Inside { name, escape: Escape::Backslash };
            }
            Some(_) => {
                self.place = Place::Between;
                self.voice = None;
                if name {
                    self.end_name();
                } else {
                    self.end_value(chunk, at + length + 1);
                }
            }
        }
        at + length + 1
    }

    /// Reads one byte of an escape.
    fn escaped(&mut self, byte: u8, name: bool, escape: Escape) {
        if name {
            self.spell(&[byte]);
        }
        let next = match escape {
            Escape::Unit { digits, unit } => {
                let Some(digit) =
                    char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok())
                else {
                    self.place = Place::Lost;
                    return;
                };
                let unit = unit << 4 | digit;
                if digits == 3 {
                    self.hear(utf8_bytes(unit));
                    Escape::No
                } else {
                    Escape::Unit { digits: digits + 1, unit }
                }
            }
            Escape::Backslash if byte == b'u' => Escape::Unit { digits: 0, unit: 0 },
            Escape::Backslash | Escape::No => {
                self.hear(1);
                Escape::No
            }
        };
        self.place = Place::Inside { name, escape: next };
    }

    fn hear(&mut self, text_bytes: usize) {
        if let Some(voice) = self.voice {
            self.found.produced.hear(voice, text_bytes);
        }
    }

    fn spell(&mut self, bytes: &[u8]) {
        let from = self.frames.last().map_or(0, |frame| frame.names_at);
        let room = (from + NAME_BYTES_MAX).saturating_sub(self.names.len());
        self.names.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn note_escaped_name(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.name_escaped = true;
        }
    }

    /// An item of `data` is an image once it has one, under either name.
    fn note_image(&mut self) {
        let item = self.frames[1];
        let is_image = matches!(self.name(2), b"b64_json" | b"url");
        if is_image && item.array && self.image_at != Some(item.index) {
            self.image_at = Some(item.index);
            self.found.produced.image();
        }
    }

    fn is_wanted(&self) -> bool {
        match (&self.wanted, self.frames.len()) {
            (Wanted::Usage | Wanted::UsageOrInResponse, 1) => self.stands_at(0, "usage"),
            (Wanted::UsageOrInResponse, 2) => {
                self.stands_at(0, "response") && self.stands_at(1, "usage")
            }
            (Wanted::At(path), depth) if path.len() == depth => {
                path.iter().enumerate().all(|(depth, step)| self.stands_at(depth, step))
            }
            _ => false,
        }
    }

    /// Whether the frame number `depth` is at the member or the item of that name.
    fn stands_at(&self, depth: usize, step: &str) -> bool {
        let frame = self.frames[depth];
        if frame.array {
            step.parse() == Ok(frame.index)
        } else {
            self.name(depth) == step.as_bytes()
        }
    }

    /// The name of the member that the frame number `depth` is at; empty in an array.
    fn name(&self, depth: usize) -> &[u8] {
        let Some(frame) = self.frames.get(depth) else { return b"" };
        let end = self.frames.get(depth + 1).map_or(self.names.len(), |inner| inner.names_at);
        &self.names[frame.names_at..end]
    }
}

const fn ends_scalar(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b',' | b'}' | b']' | b':' | b'{' | b'[' | b'"')
}
