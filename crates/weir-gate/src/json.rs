//! Reads JSON where it lies: one pass over complete bytes, no tree, every value with its position.
//!
//! Strict in grammar (RFC 8259), so that what passes here means the same to every upstream; lenient
//! in two points that change no meaning for us: lone surrogates in escapes pass, and numbers may be
//! of any size. Nesting is bounded, so a depth bomb costs nothing.

use std::borrow::Cow;

/// The deepest nesting that is read.
pub(crate) const DEPTH_MAX: u8 = 128;

/// The most digits of a number that is read the short way.
const SMALL_DIGITS: usize = 9;

/// How many words of eight bytes of a string are looked at one by one.
const SHORT_WORDS: usize = 4;

/// Why bytes are no JSON that is read here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// The grammar is broken at this byte.
    #[error("not valid JSON at byte {0}")]
    Syntax(usize),
    /// Objects and arrays are nested too deeply.
    #[error("JSON nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// What a value is, told by its first byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// A position in JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u8,
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    raw: &'a [u8],
    decoded_bytes: usize,
    escaped: bool,
}

impl<'a> Scanner<'a> {
    /// At the first value of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut scanner = Self { bytes, at: 0, depth: 0 };
        scanner.space();
        scanner
    }

    /// The position of the next byte to be read; before a value, that of its first byte.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// What the value here is.
    pub(crate) fn kind(&self) -> Result<Kind, Malformed> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.wrong()),
        }
    }

    /// Reads an object; `member` is called before each value, which it must consume.
    pub(crate) fn object<E: From<Malformed>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Text<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'{')?;
        if self.take(b'}') {
            self.close();
            return Ok(());
        }
        loop {
            let name = self.string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            member(self, name)?;
            self.space();
            if self.take(b'}') {
                self.close();
                return Ok(());
            }
            self.expect(b',')?;
            self.space();
        }
    }

    /// Reads an array; `item` is called before each value, which it must consume.
    pub(crate) fn array<E: From<Malformed>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'[')?;
        if self.take(b']') {
            self.close();
            return Ok(());
        }
        loop {
            item(self)?;
            self.space();
            if self.take(b']') {
                self.close();
                return Ok(());
            }
            self.expect(b',')?;
            self.space();
        }
    }

    /// Reads a string.
    pub(crate) fn string(&mut self) -> Result<Text<'a>, Malformed> {
        self.expect(b'"')?;
        let start = self.at;
        let mut saved = 0;
        loop {
            let rest = &self.bytes[self.at..];
            let plain = plain_bytes(rest);
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => {
                    let raw = &self.bytes[start..self.at];
                    self.at += 1;
                    return Ok(Text { raw, decoded_bytes: raw.len() - saved, escaped: saved > 0 });
                }
                Some(b'\\') => {
                    self.at += 1;
                    saved += self.escape()?;
                }
                _ => return Err(self.wrong()),
            }
        }
    }

    /// Reads a number as it is written.
    pub(crate) fn number(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        self.pass_number()?;
        std::str::from_utf8(&self.bytes[start..self.at]).map_err(|_| Malformed::Syntax(start))
    }

    /// Reads a number that is a whole one of few digits, as nearly all are; else stays before it.
    pub(crate) fn small_number(&mut self) -> Option<u64> {
        let rest = &self.bytes[self.at..];
        let mut value = 0;
        for (read, byte) in rest.iter().enumerate().take(SMALL_DIGITS + 1) {
            match byte {
                b'0'..=b'9' => value = value * 10 + u64::from(byte - b'0'),
                b'.' | b'e' | b'E' => return None,
                _ if read == 0 || read > 1 && rest[0] == b'0' => return None,
                _ => {
                    self.at += read;
                    return Some(value);
                }
            }
        }
        None
    }

    fn pass_number(&mut self) -> Result<(), Malformed> {
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(self.wrong());
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(self.wrong());
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return Err(self.wrong());
            }
        }
        Ok(())
    }

    /// Reads `true` or `false`.
    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        if self.peek() == Some(b't') {
            self.literal(b"true").map(|()| true)
        } else {
            self.literal(b"false").map(|()| false)
        }
    }

    /// Passes over the value here, whatever it is.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        match self.kind()? {
            Kind::Object => self.object(|scan, _| scan.skip()),
            Kind::Array => self.array(Self::skip),
            Kind::String => self.string().map(drop),
            Kind::Number => self.pass_number(),
            Kind::Bool => self.bool().map(drop),
            Kind::Null => self.literal(b"null"),
        }
    }

    /// Makes sure that nothing but white space follows.
    pub(crate) fn end(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.wrong()) }
    }

    fn open(&mut self, bracket: u8) -> Result<(), Malformed> {
        self.expect(bracket)?;
        if self.depth == DEPTH_MAX {
            return Err(Malformed::TooDeep);
        }
        self.depth += 1;
        self.space();
        Ok(())
    }

    fn close(&mut self) {
        self.depth -= 1;
    }

    /// Reads what follows a backslash; returns by how many bytes the decoded form is shorter.
    fn escape(&mut self) -> Result<usize, Malformed> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(1)
            }
            Some(b'u') => {
                let unit = self.bytes.get(self.at + 1..self.at + 5).and_then(code_unit);
                let unit = unit.ok_or_else(|| self.wrong())?;
                self.at += 5;
                Ok(6 - utf8_bytes(unit))
            }
            _ => Err(self.wrong()),
        }
    }

    fn digits(&mut self) -> usize {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Malformed> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.wrong());
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        if self.peek().is_none_or(|byte| byte > b' ') {
            return;
        }
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().take_while(|byte| is_space(**byte)).count();
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.take(byte) { Ok(()) } else { Err(self.wrong()) }
    }

    const fn wrong(&self) -> Malformed {
        Malformed::Syntax(self.at)
    }
}

impl<'a> Text<'a> {
    /// A string whose raw bytes were cut out elsewhere; `escaped` says whether it has backslashes.
    pub(crate) const fn of_raw(raw: &'a [u8], escaped: bool) -> Self {
        Self { raw, decoded_bytes: raw.len(), escaped }
    }

    /// How long the text is in UTF-8 once its escapes are resolved.
    pub(crate) const fn decoded_bytes(&self) -> usize {
        self.decoded_bytes
    }

    /// The bytes as they are written, escapes unresolved.
    pub(crate) const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The text with its escapes resolved, as bytes: as they are written where none is escaped.
    /// For comparison with known names: what is no sound UTF-8 stays as it is.
    pub(crate) fn name(&self) -> Cow<'a, [u8]> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        match self.decode() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }

    /// Whether the text is `word`.
    pub(crate) fn is(&self, word: &str) -> bool {
        if self.escaped { self.decode() == word } else { self.raw == word.as_bytes() }
    }

    /// The text with its escapes resolved; a lone surrogate, or broken UTF-8, becomes U+FFFD.
    pub(crate) fn decode(&self) -> Cow<'a, str> {
        if !self.escaped {
            let sound = std::str::from_utf8(self.raw).map(Cow::Borrowed);
            return sound.unwrap_or_else(|_| String::from_utf8_lossy(self.raw));
        }
        let mut text = Vec::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            text.extend_from_slice(&rest[..at]);
            rest = resolve(&rest[at + 1..], &mut text);
        }
        text.extend_from_slice(rest);
        Cow::Owned(String::from_utf8_lossy(&text).into_owned())
    }
}

/// How many bytes of a string come before its end, an escape, or a byte that may not stand in it.
fn plain_bytes(rest: &[u8]) -> usize {
    // Most strings are short: a word at a time tells sooner than what looks at many bytes at once.
    let mut at = 0;
    for word in rest.chunks_exact(8).take(SHORT_WORDS) {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        let special = zero_bytes(word ^ repeated(b'"'))
            | zero_bytes(word ^ repeated(b'\\'))
            | zero_bytes(word & repeated(0xe0));
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = &rest[at..];
    let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    // Without a way out of the loop it looks at many bytes at once.
    let controls = rest[..end].iter().fold(false, |found, byte| found | (*byte < 0x20));
    let control = || rest[..end].iter().position(|byte| *byte < 0x20).unwrap_or(end);
    at + if controls { control() } else { end }
}

const fn repeated(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The highest bit of each byte that is zero; above the lowest such byte it may err.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeated(0x01)) & !word & repeated(0x80)
}

/// Whether a byte is white space between values.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// How many bytes of UTF-8 one UTF-16 unit of an escape stands for; a surrogate is half of four.
pub(crate) const fn utf8_bytes(unit: u16) -> usize {
    match unit {
        0..=0x7f => 1,
        0x80..=0x7ff | 0xd800..=0xdfff => 2,
        _ => 3,
    }
}

fn code_unit(hex: &[u8]) -> Option<u16> {
    if hex.len() != 4 || !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// Writes what the escape at the start of `rest` (its backslash gone) stands for; returns what follows it.
fn resolve<'a>(rest: &'a [u8], text: &mut Vec<u8>) -> &'a [u8] {
    let Some((letter, after)) = rest.split_first() else { return rest };
    let plain = match letter {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 0x08,
        b'f' => 0x0c,
        b'u' => return resolve_unit(after, text),
        other => *other,
    };
    text.push(plain);
    after
}

fn resolve_unit<'a>(rest: &'a [u8], text: &mut Vec<u8>) -> &'a [u8] {
    let Some(first) = rest.get(..4).and_then(code_unit) else { return rest };
    let second = rest.get(4..6).filter(|next| *next == b"\\u");
    let second = second.and_then(|_| rest.get(6..10)).and_then(code_unit);
    let pair = [first, second.unwrap_or_default()];
    let length = if first & 0xfc00 == 0xd800 && second.is_some() { 2 } else { 1 };
    let mut taken = 4;
    if let Some(decoded) = char::decode_utf16(pair[..length].iter().copied()).next() {
        let letter = decoded.unwrap_or(char::REPLACEMENT_CHARACTER);
        taken += if letter.len_utf8() == 4 { 6 } else { 0 };
        text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
    &rest[taken..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn read(bytes: &[u8]) -> Result<(), Malformed> {
        let mut scan = Scanner::new(bytes);
        scan.skip()?;
        scan.end()
    }

    #[test]
    fn a_depth_bomb_is_refused_without_being_read_to_its_end() {
        assert_eq!(read("[".repeat(1 << 20).as_bytes()), Err(Malformed::TooDeep));
        assert_eq!(read("{\"a\":".repeat(1 << 18).as_bytes()), Err(Malformed::TooDeep));
        let deepest = format!("{}{}", "[".repeat(128), "]".repeat(128));
        assert_eq!(read(deepest.as_bytes()), Ok(()));
    }

    #[test]
    fn an_error_says_where() {
        assert_eq!(read(br#"{"a":1,}"#), Err(Malformed::Syntax(7)));
        assert_eq!(read(b"{\"a\":\"\n\"}"), Err(Malformed::Syntax(6)));
        assert_eq!(read(br#"{"a":1} x"#), Err(Malformed::Syntax(8)));
        assert_eq!(read(b""), Err(Malformed::Syntax(0)));
    }

    #[test]
    fn a_string_ends_where_it_ends_wherever_that_is() {
        for length in 0..100 {
            for (stop, want) in
                [('"', Ok(length)), ('\u{1f}', Err(length + 1)), ('\\', Err(length + 2))]
            {
                let text = format!("\"{}{stop}\u{7f}~!", &"x~ ".repeat(length)[..length]);
                let read = Scanner::new(text.as_bytes()).string();
                let read = read.map(|text| text.raw().len()).map_err(|why| match why {
                    Malformed::Syntax(at) => at,
                    Malformed::TooDeep => 0,
                });
                assert_eq!(read, want, "{text:?}");
            }
        }
    }

    #[test]
    fn a_small_number_is_read_and_nothing_else() {
        for (text, want) in [
            ("0,", Some(0)),
            ("7}", Some(7)),
            ("999999999 ", Some(999_999_999)),
            ("1000000000 ", None),
            ("01,", None),
            ("00,", None),
            ("1.0,", None),
            ("1e2,", None),
            ("-1,", None),
            ("x,", None),
            ("12", None),
        ] {
            let mut scan = Scanner::new(text.as_bytes());
            assert_eq!(scan.small_number(), want, "{text}");
            assert_eq!(scan.at() > 0, want.is_some(), "{text}");
        }
    }

    #[test]
    fn lone_surrogates_pass_and_decode_to_the_replacement_character() {
        for (raw, want) in [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\ude00a""#, "\u{fffd}a"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\ude00""#, "😀"),
        ] {
            assert_eq!(Scanner::new(raw.as_bytes()).string().unwrap().decode(), want, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn what_is_valid_is_what_serde_json_calls_valid(text in r#"[\[\]{},:"\\ a-fnrtulse0-9.\-+]{0,24}"#) {
            let theirs = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(read(text.as_bytes()).is_ok(), theirs);
        }

        #[test]
        fn a_damaged_document_is_judged_as_serde_json_judges_it(
            text in "[a-z\"\\\\\n\u{e9}\u{4e2d}\u{1f600}]{0,8}", number in any::<f64>(), at in 0usize..80, with in any::<char>(),
        ) {
            let whole = serde_json::json!({"a": [text, number, null, {"b": true}], "c": {}}).to_string();
            let mut letters: Vec<char> = whole.chars().collect();
            let at = at % letters.len();
            letters[at] = with;
            let damaged: String = letters.into_iter().collect();
            let theirs = serde_json::from_str::<IgnoredAny>(&damaged).is_ok();
            prop_assert_eq!(read(damaged.as_bytes()).is_ok(), theirs);
            prop_assert!(read(whole.as_bytes()).is_ok());
        }

        #[test]
        fn strings_decode_as_they_do_elsewhere(text in any::<String>(), ascii in any::<bool>()) {
            let mut written = serde_json::to_string(&text).unwrap();
            if ascii {
                written = escape_all(&written);
            }
            let read = Scanner::new(written.as_bytes()).string().unwrap();
            prop_assert_eq!(read.decoded_bytes(), text.len());
            prop_assert!(read.is(&text));
        }
    }

    fn escape_all(written: &str) -> String {
        let mut units = [0; 2];
        let mut escaped = String::new();
        for letter in written.chars() {
            if letter.is_ascii() {
                escaped.push(letter);
            } else {
                letter
                    .encode_utf16(&mut units)
                    .iter()
                    .for_each(|unit| escaped += &format!("\\u{unit:04x}"));
            }
        }
        escaped
    }
}
