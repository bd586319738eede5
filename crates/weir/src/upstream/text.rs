//! Deterministic prose and token counts: what the mock reads and what it says.

use std::fmt::{self, Display, Write};

use serde_json::Value;

use crate::upstream::knobs::Knobs;

/// What the mock understood of a prompt: its size, a seed, and whether a tool call is wanted.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Prompt {
    /// Counted as a quarter of the bytes of all text, rounded up, and 4 per message.
    pub(crate) tokens: u64,
    /// Derived from the end of the text; the same prompt gets the same answer.
    pub(crate) seed: u64,
    /// The last text, at most its last 64 characters.
    pub(crate) tail: String,
    /// The last text contains the magic word `call-tool`.
    pub(crate) wants_tool: bool,
}

impl Prompt {
    /// Reads texts out of `messages`, `input`, `prompt`, whatever their nesting: strings, `text`
    /// members, `content` members, and arrays of these.
    pub(crate) fn read(value: &Value) -> Self {
        let mut reader = Reader { bytes: 0, messages: 0, last: "" };
        reader.visit(value, 0);
        let cut = reader.last.char_indices().rev().nth(63).map_or(0, |(at, _)| at);
        Self {
            tokens: reader.bytes.div_ceil(4) + 4 * reader.messages,
            seed: hash(reader.last.as_bytes()),
            tail: reader.last[cut..].to_owned(),
            wants_tool: reader.last.contains("call-tool"),
        }
    }
}

struct Reader<'a> {
    bytes: u64,
    messages: u64,
    last: &'a str,
}

impl<'a> Reader<'a> {
    fn visit(&mut self, value: &'a Value, depth: u8) {
        match value {
            Value::String(text) => {
                self.bytes += text.len() as u64;
                self.last = text;
            }
            // An array of token ids counts like its tokens: four bytes each.
            Value::Number(_) => self.bytes += 4,
            Value::Array(items) if depth < DEPTH_MAX => {
                items.iter().for_each(|item| self.visit(item, depth + 1));
            }
            Value::Object(members) if depth < DEPTH_MAX => {
                self.messages += u64::from(members.contains_key("role"));
                ["text", "content"]
                    .iter()
                    .filter_map(|name| members.get(*name))
                    .for_each(|member| self.visit(member, depth + 1));
            }
            _ => {}
        }
    }
}

/// The prose of one answer: so many tokens, from a seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    seed: u64,
    /// How many tokens are produced.
    pub(crate) tokens: u64,
    /// Whether the request's bound ended it, instead of its natural end.
    pub(crate) bounded: bool,
}

impl Text {
    /// The natural answer has 20 tokens, or what `x-mock-tokens` says; `bound` cuts only the former.
    pub(crate) fn new(seed: u64, bound: Option<u64>, knobs: &Knobs) -> Self {
        let natural = knobs.tokens.unwrap_or(TOKENS_NATURAL);
        let bounded = bound.is_some_and(|bound| bound < natural);
        let tokens = match knobs.tokens {
            Some(tokens) => tokens,
            None => bound.map_or(natural, |bound| bound.min(natural)),
        };
        Self { seed, tokens, bounded }
    }

    /// The token at a position; it needs no escape in JSON.
    pub(crate) fn token(&self, position: u64) -> Token {
        let count = WORDS.len() as u64;
        let index = (self.seed % count + position) % count;
        let word = usize::try_from(index).map_or("", |index| WORDS[index]);
        Token { space: if position == 0 { "" } else { " " }, word }
    }

    /// All tokens in one.
    pub(crate) fn whole(&self) -> String {
        let mut whole = String::with_capacity(usize::try_from(self.tokens * 7).unwrap_or(0));
        for position in 0..self.tokens {
            // Writing into a string cannot fail.
            let _ = write!(whole, "{}", self.token(position));
        }
        whole
    }
}

/// One token of prose, with the space before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    space: &'static str,
    word: &'static str,
}

impl Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.space)?;
        out.write_str(self.word)
    }
}

/// FNV-1a over the last 256 bytes: ids and seeds that depend on the request alone.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let tail = &bytes[bytes.len().saturating_sub(256)..];
    tail.iter().fold(0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64, |state, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

const TOKENS_NATURAL: u64 = 20;
const DEPTH_MAX: u8 = 8;
const WORDS: [&str; 32] = [
    "a",
    "weir",
    "lets",
    "the",
    "river",
    "pass",
    "and",
    "keeps",
    "its",
    "level",
    "when",
    "water",
    "rises",
    "more",
    "of",
    "it",
    "flows",
    "over",
    "crest",
    "every",
    "drop",
    "counts",
    "débit",
    "measured",
    "at",
    "one",
    "point",
    "so",
    "nobody",
    "downstream",
    "runs",
    "dry",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(prompt: &Value, tokens: u64) {
        assert_eq!(Prompt::read(prompt).tokens, tokens);
    }

    #[test]
    fn a_prompt_counts_text_and_messages() {
        check(&json!("12345"), 2);
        check(&json!(["1234", "5678"]), 2);
        check(&json!([1, 2, 3]), 3);
        check(&json!([{"role": "user", "content": "12345678"}]), 6);
        check(&json!([{"role": "user", "content": [{"type": "text", "text": "1234"}]}]), 5);
        check(&json!(null), 0);
    }

    #[test]
    fn deep_nesting_ends() {
        let deep = (0..100).fold(json!("x"), |inner, _| json!([inner]));
        check(&deep, 0);
    }

    #[test]
    fn the_bound_cuts_the_natural_answer_but_not_the_ordered_one() {
        let natural = Knobs::default();
        let ordered = Knobs { tokens: Some(50), ..Knobs::default() };
        let cases = [(None, &natural, 20, false), (Some(5), &natural, 5, true)];
        let forced = [(Some(5), &ordered, 50, true), (Some(50), &ordered, 50, false)];
        for (bound, knobs, tokens, bounded) in cases.into_iter().chain(forced) {
            let text = Text::new(1, bound, knobs);
            assert_eq!((text.tokens, text.bounded), (tokens, bounded));
            assert_eq!(text.whole().split(' ').count() as u64, tokens);
        }
    }
}
