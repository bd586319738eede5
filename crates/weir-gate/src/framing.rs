//! Watches the raw bytes of an HTTP/1 connection for what the HTTP library hides.
//!
//! hyper 1.12 accepts a request with both `Content-Length` and `Transfer-Encoding` and removes the
//! former before anybody can see it (RFC 9112 section 6.1 lets a server refuse it, and Weir does:
//! it is the shape of request smuggling). The watch sees every byte before hyper does, follows
//! heads and bodies, and queues one [`Verdict`] per head. Where it cannot follow it says so, and
//! the request is refused: a disagreement with hyper fails closed.

use std::collections::VecDeque;

use memchr::memchr;

/// What the raw bytes of one request head said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing that two readers could understand in two ways.
    Clear(HeadShape),
    /// Refuse, and close the connection.
    Refused(FramingFault),
}

/// What must be the same in the parsed head, else the watch and the parser have read two requests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HeadShape {
    /// Header lines, a repeated equal `Content-Length` counted once.
    pub headers: usize,
    /// A `Transfer-Encoding` is present.
    pub chunked: bool,
    /// The `Content-Length`.
    pub content_length: Option<u64>,
}

/// What is wrong with how a request is framed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FramingFault {
    /// Both present.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// Not a number, or two numbers.
    #[error("Content-Length is not one number")]
    ContentLength,
    /// The last coding is not `chunked`.
    #[error("the last Transfer-Encoding is not chunked")]
    TransferEncoding,
    /// A line that begins with a space (obsolete line folding).
    #[error("a header line begins with a space")]
    FoldedLine,
    /// No colon, a space before it, a carriage return within a line.
    #[error("a header line is malformed")]
    HeaderLine,
    /// A chunk or trailer that is not as it must be.
    #[error("the chunked body is malformed")]
    Chunk,
    /// A single line longer than a whole head may be.
    #[error("a line is too long")]
    LineTooLong,
    /// The parser has seen a request where the watch has not.
    #[error("the request could not be followed")]
    OutOfStep,
}

/// Where in the conversation a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Between two requests.
    Idle,
    /// Part of a head has arrived.
    Head,
    /// Within a body.
    Body,
    /// Not followed any more: after a fault, or upgraded.
    Lost,
}

/// Follows the requests of one connection; feed it every byte in order.
#[derive(Debug)]
pub struct FramingWatch {
    state: State,
    head: Head,
    line: Vec<u8>,
    line_bytes_max: usize,
    verdicts: VecDeque<Verdict>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    RequestLine,
    HeaderLine,
    Data { left: u64, chunk: bool },
    ChunkSize,
    ChunkEnd,
    Trailer,
    Lost(Option<FramingFault>),
}

#[derive(Clone, Copy, Debug, Default)]
struct Head {
    headers: usize,
    content_length: Option<u64>,
    encoding: bool,
}

impl FramingWatch {
    /// A watch at the begin of a connection; no line may be longer than a whole head may be.
    pub fn new(line_bytes_max: usize) -> Self {
        Self {
            state: State::RequestLine,
            head: Head::default(),
            line: Vec::new(),
            line_bytes_max,
            verdicts: VecDeque::new(),
        }
    }

    /// Takes the next bytes; how they are cut into pieces does not matter.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.state {
                State::Lost(_) => return,
                State::Data { left, chunk } => {
                    let taken = usize::try_from(left).map_or(bytes.len(), |n| n.min(bytes.len()));
                    bytes = bytes.get(taken..).unwrap_or_default();
                    self.state = match left - taken as u64 {
                        0 if chunk => State::ChunkEnd,
                        0 => State::RequestLine,
                        left => State::Data { left, chunk },
                    };
                }
                _ => bytes = self.feed_line(bytes),
            }
        }
    }

    /// The verdict on the oldest head that was not asked for yet.
    pub fn verdict(&mut self) -> Verdict {
        let behind = match self.state {
            State::Lost(Some(fault)) => fault,
            _ => FramingFault::OutOfStep,
        };
        self.verdicts.pop_front().unwrap_or(Verdict::Refused(behind))
    }

    /// Where the bytes fed so far end.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::RequestLine if self.line.is_empty() => Phase::Idle,
            State::RequestLine | State::HeaderLine => Phase::Head,
            State::Lost(_) => Phase::Lost,
            _ => Phase::Body,
        }
    }

    /// Why the connection is not followed any more, if it is not.
    pub fn fault(&self) -> Option<FramingFault> {
        match self.state {
            State::Lost(fault) => fault,
            _ => None,
        }
    }

    /// Stops following: the connection speaks another protocol from here.
    pub fn release(&mut self) {
        self.state = State::Lost(None);
    }

    fn feed_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = memchr(b'\n', bytes);
        let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
        if self.line.len() + piece.len() > self.line_bytes_max {
            self.lose(FramingFault::LineTooLong);
        } else if end.is_none() {
            self.line.extend_from_slice(piece);
        } else if self.line.is_empty() {
            self.take_line(piece);
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(piece);
            self.take_line(&line);
        }
        rest
    }

    /// `line` ends with its line feed.
    fn take_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (line, full) = match line.strip_suffix(b"\r") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let in_head = matches!(self.state, State::RequestLine | State::HeaderLine);
        if memchr(b'\r', line).is_some() || !(full || in_head) {
            // hyper takes a bare line feed as the end of a line in a head, never in a body.
            return self.lose(if in_head { FramingFault::HeaderLine } else { FramingFault::Chunk });
        }
        let next = match self.state {
            State::RequestLine if line.is_empty() => Ok(State::RequestLine),
            State::RequestLine => {
                self.head = Head::default();
                Ok(State::HeaderLine)
            }
            State::HeaderLine if line.is_empty() => return self.end_head(),
            State::HeaderLine => self.head.take(line).map(|()| State::HeaderLine),
            State::ChunkSize => {
                chunk_size(line).ok_or(FramingFault::Chunk).map(|size| match size {
                    0 => State::Trailer,
                    left => State::Data { left, chunk: true },
                })
            }
            State::ChunkEnd if line.is_empty() => Ok(State::ChunkSize),
            State::ChunkEnd => Err(FramingFault::Chunk),
            State::Trailer if line.is_empty() => Ok(State::RequestLine),
            state @ (State::Trailer | State::Data { .. } | State::Lost(_)) => Ok(state),
        };
        match next {
            Ok(state) => self.state = state,
            Err(fault) => self.lose(fault),
        }
    }

    fn end_head(&mut self) {
        let Head { headers, content_length, encoding } = self.head;
        if encoding && content_length.is_some() {
            return self.lose(FramingFault::LengthAndEncoding);
        }
        self.verdicts.push_back(Verdict::Clear(HeadShape {
            headers,
            chunked: encoding,
            content_length,
        }));
        self.state = match content_length {
            _ if encoding => State::ChunkSize,
            Some(left @ 1..) => State::Data { left, chunk: false },
            _ => State::RequestLine,
        };
    }

    fn lose(&mut self, fault: FramingFault) {
        self.state = State::Lost(Some(fault));
        self.line = Vec::new();
    }
}

impl Head {
    fn take(&mut self, line: &[u8]) -> Result<(), FramingFault> {
        if line.first().is_some_and(|byte| is_blank(*byte)) {
            return Err(FramingFault::FoldedLine);
        }
        let colon = memchr(b':', line).ok_or(FramingFault::HeaderLine)?;
        let (name, value) = line.split_at(colon);
        let value = trim(value.get(1..).unwrap_or_default());
        if name.last().is_none_or(|byte| is_blank(*byte)) {
            return Err(FramingFault::HeaderLine);
        }
        self.headers += 1;
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value).ok_or(FramingFault::ContentLength)?;
            match self.content_length.replace(length) {
                None => {}
                Some(before) if before == length => self.headers -= 1,
                Some(_) => return Err(FramingFault::ContentLength),
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            if !trim(last).eq_ignore_ascii_case(b"chunked") {
                return Err(FramingFault::TransferEncoding);
            }
            self.encoding = true;
        }
        Ok(())
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

fn decimal(text: &[u8]) -> Option<u64> {
    digits(text, 10)
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    // A space may follow the size, none may stand before it.
    match size.first() {
        Some(byte) if !is_blank(*byte) => digits(trim(size), 16),
        _ => None,
    }
}

fn digits(text: &[u8], radix: u32) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(radix)?;
        sum.checked_mul(radix.into())?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdicts(bytes: &[u8], cuts: &[usize]) -> (Vec<Verdict>, State) {
        let mut watch = FramingWatch::new(1000);
        let mut at = 0;
        for cut in cuts.iter().copied().chain([bytes.len()]) {
            let cut = cut.clamp(at, bytes.len());
            watch.feed(&bytes[at..cut]);
            at = cut;
        }
        (watch.verdicts.into(), watch.state)
    }

    fn clear(headers: usize, chunked: bool, content_length: Option<u64>) -> Verdict {
        Verdict::Clear(HeadShape { headers, chunked, content_length })
    }

    #[track_caller]
    fn check(bytes: &str, expected: &[Verdict], state: State) {
        assert_eq!(verdicts(bytes.as_bytes(), &[]), (expected.to_vec(), state));
    }

    #[track_caller]
    fn refused(bytes: &str, fault: FramingFault) {
        let mut watch = FramingWatch::new(1000);
        watch.feed(bytes.as_bytes());
        assert_eq!(watch.verdict(), Verdict::Refused(fault));
        assert_eq!(watch.phase(), Phase::Lost);
    }

    #[test]
    fn pipelined_requests_get_one_verdict_each() {
        check(
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\
             POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\nContent-Length: 5\r\n\r\nGET /\
             POST / HTTP/1.1\nTransfer-Encoding: Chunked\n\n3;x=y\r\nabc\r\n0 \r\nTrail: 1\r\n\r\n\
             GET",
            &[clear(1, false, None), clear(2, false, Some(5)), clear(1, true, None)],
            State::RequestLine,
        );
    }

    #[test]
    fn length_with_encoding_is_refused_in_either_order() {
        let (cl, te) = ("Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n");
        for headers in [format!("{cl}{te}"), format!("{te}{cl}"), format!("{te}{cl}{cl}")] {
            refused(&format!("POST / HTTP/1.1\r\n{headers}\r\n"), FramingFault::LengthAndEncoding);
        }
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        let head = |line: &str| format!("POST / HTTP/1.1\r\n{line}\r\n\r\n");
        refused(&head("Content-Length: +5"), FramingFault::ContentLength);
        refused(&head("Content-Length: 5, 5"), FramingFault::ContentLength);
        refused(&head("Content-Length: "), FramingFault::ContentLength);
        refused(&head("Content-Length: 99999999999999999999"), FramingFault::ContentLength);
        refused(&head("Content-Length: 5\r\nContent-Length: 6"), FramingFault::ContentLength);
        refused(&head("Transfer-Encoding: chunked, gzip"), FramingFault::TransferEncoding);
        refused(&head("Transfer-Encoding:"), FramingFault::TransferEncoding);
        refused(&head("Transfer-Encoding : chunked"), FramingFault::HeaderLine);
        refused(&head("A: b\r\n c"), FramingFault::FoldedLine);
        refused(&head("A: b\rC: d"), FramingFault::HeaderLine);
        refused(&head("no colon"), FramingFault::HeaderLine);
        refused(&head(&format!("A: {}", "x".repeat(2000))), FramingFault::LineTooLong);
    }

    #[test]
    fn a_body_that_cannot_be_followed_refuses_the_next_request() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in
            ["3\r\nabcd\r\n", "x\r\n", "3\nabc", " 3\r\n", "\r\n", "0\r\nA: b\n\r\n", "-1\r\n"]
        {
            let mut watch = FramingWatch::new(1000);
            watch.feed(format!("{head}{body}GET / HTTP/1.1\r\n\r\n").as_bytes());
            assert_eq!(watch.verdict(), clear(1, true, None), "{body:?}");
            assert_eq!(watch.verdict(), Verdict::Refused(FramingFault::Chunk), "{body:?}");
        }
    }

    #[test]
    fn a_request_that_was_never_seen_is_refused() {
        let mut watch = FramingWatch::new(1000);
        assert_eq!(watch.verdict(), Verdict::Refused(FramingFault::OutOfStep));
        watch.feed(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(watch.verdict(), clear(0, false, None));
        watch.release();
        watch.feed(b"anything\r\n\r\n");
        assert_eq!((watch.phase(), watch.fault()), (Phase::Lost, None));
    }

    #[test]
    fn the_phase_follows_the_bytes() {
        let mut watch = FramingWatch::new(1000);
        for (bytes, phase) in [
            ("", Phase::Idle),
            ("G", Phase::Head),
            ("ET / HTTP/1.1\r\n", Phase::Head),
            ("Content-Length: 2\r\n\r\n", Phase::Body),
            ("x", Phase::Body),
            ("y", Phase::Idle),
        ] {
            watch.feed(bytes.as_bytes());
            assert_eq!(watch.phase(), phase, "after {bytes:?}");
        }
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("GET / HTTP/1.1\r\n".to_owned()),
            Just("Host: a\r\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("\n".to_owned()),
            Just("\r".to_owned()),
            Just(" ".to_owned()),
            (0_u8..20).prop_map(|n| format!("Content-Length: {n}\r\n")),
            Just("transfer-encoding: chunked\r\n".to_owned()),
            (0_u8..20).prop_map(|n| format!("{n:x}\r\n{}\r\n", "z".repeat(n.into()))),
            "[ -~]{0,12}",
        ]
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_verdicts(
            pieces in prop::collection::vec(piece(), 0..20),
            mut cuts in prop::collection::vec(0_usize..400, 0..30),
        ) {
            let text = pieces.concat();
            cuts.sort_unstable();
            prop_assert_eq!(verdicts(text.as_bytes(), &cuts), verdicts(text.as_bytes(), &[]));
        }

        #[test]
        fn a_well_formed_conversation_is_never_lost(
            bodies in prop::collection::vec((any::<bool>(), "[ -~\r\n]{0,40}"), 0..8),
            cuts in prop::collection::vec(0_usize..800, 0..10),
        ) {
            let mut text = String::new();
            for (chunked, body) in &bodies {
                text += "POST /x HTTP/1.1\r\nHost: h\r\n";
                text += &match (chunked, body.len()) {
                    (false, n) => format!("Content-Length: {n}\r\n\r\n{body}"),
                    (true, 0) => "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
                    (true, n) => format!("Transfer-Encoding: chunked\r\n\r\n{n:X}\r\n{body}\r\n0\r\n\r\n"),
                };
            }
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (found, state) = verdicts(text.as_bytes(), &cuts);
            prop_assert_eq!(found.len(), bodies.len());
            prop_assert_eq!(state, State::RequestLine);
        }
    }
}
