//! Watches one response.

use weir_core::ledger::Flags;
use weir_core::usage::{Meter, Usage};

use super::count::Produced;
use super::generic::Pointer;
use super::seen::{EventKind, Seen};
use super::skim::Skim;
use super::{anthropic, generic, openai, plain};
use crate::json::{Malformed, Scanner};
use crate::sse::Fields;

/// Where the usage of a call is to be found (`usage = "…"` of a route).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Shape {
    /// OpenAI's JSON and streams: chat, completions, embeddings, images, audio, Responses.
    OpenAi,
    /// Anthropic's messages, JSON and streams.
    Anthropic,
    /// A number, or an object of meters, in a JSON body or in the events of a stream.
    Json(Pointer),
    /// A number in a response header.
    Header,
    /// The time the call took.
    Duration,
    /// The bytes of the response body.
    Bytes,
    /// Nowhere.
    None,
}

/// Counts one response. Feed it either a body ([`Self::body`], chunk by chunk) or the events of a
/// stream ([`Self::event`], [`Self::part`]); chunk boundaries of a body never matter.
#[derive(Debug)]
pub struct Tally {
    shape: Shape,
    seen: Seen,
    /// The body so far, or an event that comes in parts.
    skim: Option<Skim>,
    body_bytes: u64,
}

/// The result of a [`Tally`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tallied {
    /// What the upstream reported; none if it reported nothing that can be used. Where a stream
    /// broke off before its output was reported, output is what was produced ([`Flags::ESTIMATED`]).
    /// Where [`Flags::IMPLAUSIBLE`] is set a figure may be as large as [`super::PLAUSIBLE_MAX`]: whoever
    /// charges bounds it by what the call could have cost.
    pub usage: Option<Usage>,
    /// Whether that is of output alone: the upstream said nothing of input.
    pub input_untold: bool,
    /// Output as counted from the text itself ([`super::estimated_tokens`]), of a whole body that
    /// reports what makes sense as reported; it never has input.
    pub produced: Usage,
    /// [`Flags::IMPLAUSIBLE`], [`Flags::ESTIMATED`] or nothing.
    pub flags: Flags,
    /// How many bytes of the answer's body there were.
    pub body_bytes: u64,
    /// Whether the stream came to its end; always false for a body.
    pub terminal_seen: bool,
    /// Whether the upstream told of an error inside its response.
    pub error_seen: bool,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(shape: Shape) -> Self {
        Self { shape, seen: Seen::default(), skim: None, body_bytes: 0 }
    }

    /// Takes the next bytes of a body that is no event stream.
    pub fn body(&mut self, chunk: &[u8]) {
        self.body_bytes =
            self.body_bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        match &self.shape {
            Shape::OpenAi | Shape::Anthropic => {
                self.skim.get_or_insert_with(Skim::body).feed(chunk)
            }
            Shape::Json(pointer) => {
                self.skim.get_or_insert_with(|| Skim::value(pointer)).feed(chunk)
            }
            Shape::Header | Shape::Duration | Shape::Bytes | Shape::None => {}
        }
    }

    /// Takes a body that is here whole, by a shorter way where it is as bodies usually are.
    pub fn whole(&mut self, body: &[u8]) {
        match self.reported_plainly(body) {
            Some(seen) => {
                self.seen = seen;
                self.body_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
            }
            None => self.body(body),
        }
    }

    /// What a whole body reports, if nothing about it is odd.
    fn reported_plainly(&self, body: &[u8]) -> Option<Seen> {
        if !matches!(self.shape, Shape::OpenAi | Shape::Anthropic) {
            return None;
        }
        let mut seen = Seen::default();
        if !plain::read(body, |scan| self.read_usage(scan, &mut seen)) {
            return None;
        }
        let told =
            !seen.implausible && !seen.output_pending && !seen.output_untold && !seen.input_untold;
        let reported = seen.reported.filter(|_| told)?;
        seen.produced = Produced::told(reported.output());
        seen.produced_at_report = seen.produced;
        Some(seen)
    }

    /// Takes one whole event of a stream, raw. What a stream leaves behind at its end is taken too.
    pub fn event(&mut self, raw: &[u8]) -> EventKind {
        self.body_bytes =
            self.body_bytes.saturating_add(u64::try_from(raw.len()).unwrap_or(u64::MAX));
        self.seen.carried = false;
        let fields = Fields::of(raw);
        let Some(data) = fields.data() else { return EventKind::Other };
        let kind = if data.trim_ascii() == b"[DONE]" {
            EventKind::Terminal
        } else {
            match &self.shape {
                Shape::OpenAi => openai::event(fields.name, &data, &mut self.seen),
                Shape::Anthropic => anthropic::event(fields.name, &data, &mut self.seen),
                Shape::Json(pointer) => {
                    let mut skim = Skim::value(pointer);
                    skim.feed(&data);
                    self.close(skim);
                    EventKind::Other
                }
                Shape::Header | Shape::Duration | Shape::Bytes | Shape::None => EventKind::Other,
            }
        };
        if self.seen.carried {
            self.seen.produced_at_report = self.seen.produced;
        }
        self.seen.terminal |= kind == EventKind::Terminal;
        self.seen.error |= kind == EventKind::Error;
        kind
    }

    /// Takes a part of an event that is too long to be kept together ([`crate::sse::Piece::Part`]):
    /// usage in it is found, its text is not counted. The kind is told by the event's `event` field,
    /// with the first part; of the others it is [`EventKind::Other`].
    pub fn part(&mut self, raw: &[u8], last: bool) -> EventKind {
        self.body_bytes =
            self.body_bytes.saturating_add(u64::try_from(raw.len()).unwrap_or(u64::MAX));
        self.seen.carried = false;
        let first = self.skim.is_none();
        let skim = match &self.shape {
            Shape::OpenAi | Shape::Anthropic => {
                Some(self.skim.get_or_insert_with(|| Skim::usage().of_event()))
            }
            Shape::Json(pointer) => {
                Some(self.skim.get_or_insert_with(|| Skim::value(pointer).of_event()))
            }
            Shape::Header | Shape::Duration | Shape::Bytes | Shape::None => None,
        };
        if let Some(skim) = skim {
            skim.feed(raw);
        }
        let kind = match (first, &self.shape) {
            (true, Shape::OpenAi) => openai::kind_by_name(raw),
            _ => EventKind::Other,
        };
        if last && let Some(skim) = self.skim.take() {
            self.close(skim);
        }
        self.seen.terminal |= kind == EventKind::Terminal;
        kind
    }

    /// Takes the response header that carries the usage, or its absence.
    pub fn header(&mut self, value: Option<&[u8]>) {
        if self.shape == Shape::Header {
            generic::header(value, &mut self.seen);
        }
    }

    /// Takes the time the call took, in milliseconds, where that is counted; the last word counts.
    pub fn lasted(&mut self, millis: impl FnOnce() -> u64) {
        if self.shape == Shape::Duration {
            self.seen.reported = Some(Usage::NONE.with(Meter::Second, millis()));
        }
    }

    /// Whether the event taken last carried reported usage, so that a cost could be added to it
    /// ([`super::rewrite_usage_cost`]).
    pub const fn carries_usage(&self) -> bool {
        self.seen.carried
    }

    /// What a running call has used as far as is known: what was reported, and output as produced
    /// until it is reported. Input is in it only if it was reported. Cheap. Of an upstream that
    /// reports nonsense only what it produced is believed: no lie ends a stream for want of credit.
    pub fn produced_so_far(&self) -> Usage {
        match self.shape {
            Shape::Bytes => self.bytes(),
            _ if self.seen.implausible => self.seen.produced.usage(),
            _ => self.seen.so_far().unwrap_or_else(|| self.seen.produced.usage()),
        }
    }

    /// The result.
    pub fn finish(mut self) -> Tallied {
        if let Some(skim) = self.skim.take() {
            self.close(skim);
        }
        let usage = match self.shape {
            Shape::Bytes => Some(self.bytes()),
            _ => self.seen.so_far(),
        };
        let produced = self.seen.produced.usage();
        let mut flags = Flags::default();
        if self.seen.implausible {
            flags = flags.and(Flags::IMPLAUSIBLE);
        }
        if usage.is_some() && self.seen.is_completed() {
            flags = flags.and(Flags::ESTIMATED);
        }
        Tallied {
            usage,
            input_untold: self.seen.input_untold,
            produced,
            flags,
            body_bytes: self.body_bytes,
            terminal_seen: self.seen.terminal,
            error_seen: self.seen.error,
        }
    }

    fn bytes(&self) -> Usage {
        Usage::NONE.with(Meter::Byte, self.body_bytes)
    }

    /// Takes over what was found in a body, or in an event that came in parts.
    fn close(&mut self, skim: Skim) {
        let found = skim.finish();
        self.seen.produced.add(found.produced);
        self.seen.error |= found.error;
        self.seen.implausible |= found.too_long;
        let Some(value) = found.value else { return };
        self.seen.carried = true;
        self.seen.produced_at_report = self.seen.produced;
        let mut seen = std::mem::take(&mut self.seen);
        let read = self.read_usage(&mut Scanner::new(&value), &mut seen);
        self.seen = seen;
        self.seen.implausible |= read.is_err();
    }

    /// Reads the value that has the usage of a whole body.
    fn read_usage(&self, scan: &mut Scanner<'_>, seen: &mut Seen) -> Result<(), Malformed> {
        match self.shape {
            Shape::OpenAi => openai::usage(scan, seen),
            Shape::Anthropic => anthropic::usage(scan, anthropic::Stage::Whole, seen),
            _ => generic::value(scan, seen),
        }
    }
}
