//! The counting itself: figures that an upstream reports, and text that it produced.

use weir_core::usage::{Meter, Usage};

use crate::json::{Kind, Malformed, Scanner};

/// The largest figure of one call that is believed; a larger one is clamped to it and flagged.
pub const PLAUSIBLE_MAX: u64 = 1_000_000_000;

/// Bytes of text in one token of the estimate.
const BYTES_PER_TOKEN: u64 = 4;

/// How many tokens `text_bytes` bytes of UTF-8 text are estimated to be: one for every four bytes,
/// rounded up over the whole of a text, however it was cut.
///
/// English prose has 4.0 to 4.5 bytes in a token of the common vocabularies, code 3 to 4, Cyrillic
/// 4 to 5, Chinese and Japanese 3 to 4. It is an estimate: it bounds nothing.
pub const fn estimated_tokens(text_bytes: u64) -> u64 {
    text_bytes.div_ceil(BYTES_PER_TOKEN)
}

/// One reported figure.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Figure {
    /// The amount, clamped to 0..=[`PLAUSIBLE_MAX`]; none if it is absent, null or no figure at all.
    pub(super) amount: Option<u64>,
    /// Whether it was not what an honest upstream writes.
    pub(super) odd: bool,
}

/// Whose words a text is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Voice {
    /// The answer: text, refusals, arguments of tools.
    Answer,
    /// Reasoning that the upstream shows.
    Reasoning,
    /// The same reasoning under its second name; some upstreams send both.
    ReasoningAgain,
}

/// What was produced.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Produced {
    answer_bytes: u64,
    reasoning_bytes: [u64; 2],
    images: u64,
}

impl Figure {
    const ABSENT: Self = Self { amount: None, odd: false };
    const NONSENSE: Self = Self { amount: None, odd: true };

    /// Reads the value here as a figure. A whole number is sound however it is written (12, 12.0,
    /// 1.2e1). A fraction is rounded up, a negative number is zero, a number in a string is taken:
    /// all odd.
    pub(super) fn read(scan: &mut Scanner<'_>) -> Result<Self, Malformed> {
        Self::read_scaled(scan, 0)
    }

    /// The same, multiplied by ten to the power of `shift`.
    pub(super) fn read_scaled(scan: &mut Scanner<'_>, shift: u8) -> Result<Self, Malformed> {
        match scan.kind()? {
            Kind::Number => {
                if shift == 0
                    && let Some(amount) = scan.small_number()
                {
                    return Ok(Self { amount: Some(amount), odd: false });
                }
                Ok(Self::of_number(scan.number()?, shift))
            }
            Kind::String => {
                let text = scan.string()?.decode();
                Ok(Self { odd: true, ..Self::of_text(text.trim(), shift) })
            }
            Kind::Null => scan.skip().map(|()| Self::ABSENT),
            Kind::Object | Kind::Array | Kind::Bool => scan.skip().map(|()| Self::NONSENSE),
        }
    }

    /// Reads text that should be a number in JSON's notation.
    pub(super) fn of_text(text: &str, shift: u8) -> Self {
        let mut scan = Scanner::new(text.as_bytes());
        match scan.number() {
            Ok(number) if number.len() == text.len() => Self::of_number(number, shift),
            _ => Self::NONSENSE,
        }
    }

    /// Reads a number of JSON's grammar, without going through a float.
    fn of_number(number: &str, shift: u8) -> Self {
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        let zeros = digits().take_while(|digit| *digit == b'0').count();
        if zeros == whole.len() + fraction.len() {
            return Self { amount: Some(0), odd: false };
        }
        if negative {
            // Not zero: what was used is not known, so that it is counted by what was produced.
            return Self::NONSENSE;
        }
        let places = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        // How many of the digits behind the leading zeros stand before the point.
        let point = places(whole.len())
            .saturating_sub(places(zeros))
            .saturating_add(power(exponent))
            .saturating_add(i64::from(shift));
        if point > DIGITS_MAX {
            return Self { amount: Some(PLAUSIBLE_MAX), odd: true };
        }
        let point = usize::try_from(point).unwrap_or(0);
        let mut amount = 0;
        for digit in digits().skip(zeros).chain(std::iter::repeat(b'0')).take(point) {
            amount = amount * 10 + u64::from(digit - b'0');
        }
        let odd = digits().skip(zeros + point).any(|digit| digit != b'0');
        amount += u64::from(odd);
        Self { amount: Some(amount.min(PLAUSIBLE_MAX)), odd: odd || amount > PLAUSIBLE_MAX }
    }
}

impl Voice {
    /// Whose words a string is that stands under this name in a message, a choice or a delta.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"content" | b"text" | b"refusal" | b"arguments" | b"transcript" | b"partial_json"
            | b"input" => Some(Self::Answer),
            b"reasoning_content" | b"thinking" | b"summary" => Some(Self::Reasoning),
            b"reasoning" => Some(Self::ReasoningAgain),
            _ => None,
        }
    }

    /// Whether what stands under this name was not produced, or repeats what is counted elsewhere.
    pub(super) fn is_aside(name: &[u8]) -> bool {
        matches!(
            name,
            b"annotations"
                | b"citations"
                | b"logprobs"
                | b"provider_specific_fields"
                | b"reasoning_details"
                | b"results"
                | b"search_results"
        )
    }
}

impl Produced {
    /// Counts text.
    pub(super) fn hear(&mut self, voice: Voice, text_bytes: usize) {
        let count = match voice {
            Voice::Answer => &mut self.answer_bytes,
            Voice::Reasoning => &mut self.reasoning_bytes[0],
            Voice::ReasoningAgain => &mut self.reasoning_bytes[1],
        };
        *count = count.saturating_add(u64::try_from(text_bytes).unwrap_or(u64::MAX));
    }

    /// That much output, as told by somebody else.
    pub(super) const fn told(tokens: u64) -> Self {
        Self {
            answer_bytes: tokens.saturating_mul(BYTES_PER_TOKEN),
            reasoning_bytes: [0; 2],
            images: 0,
        }
    }

    /// Counts an image.
    pub(super) const fn image(&mut self) {
        self.images = self.images.saturating_add(1);
    }

    /// Images so far.
    pub(super) const fn images(&self) -> u64 {
        self.images
    }

    /// Counts what was counted elsewhere.
    pub(super) fn add(&mut self, other: Self) {
        self.answer_bytes = self.answer_bytes.saturating_add(other.answer_bytes);
        for (mine, theirs) in self.reasoning_bytes.iter_mut().zip(other.reasoning_bytes) {
            *mine = mine.saturating_add(theirs);
        }
        self.images = self.images.saturating_add(other.images);
    }

    /// What of it came after `earlier`, pictures left out: they are counted by themselves.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let [reasoning, again] = self.reasoning_bytes;
        let [reasoning_before, again_before] = earlier.reasoning_bytes;
        Self {
            answer_bytes: self.answer_bytes.saturating_sub(earlier.answer_bytes),
            reasoning_bytes: [
                reasoning.saturating_sub(reasoning_before),
                again.saturating_sub(again_before),
            ],
            images: 0,
        }
    }

    /// In meters.
    pub(super) fn usage(&self) -> Usage {
        let reasoning = self.reasoning_bytes[0].max(self.reasoning_bytes[1]);
        Usage::NONE
            .with(Meter::OutputTokens, estimated_tokens(self.answer_bytes))
            .with(Meter::ReasoningTokens, estimated_tokens(reasoning))
            .with(Meter::Image, self.images)
    }
}

/// Counts the text in a value that stands under `name`, as far as it was produced; returns whether
/// there was any.
pub(super) fn listen(
    scan: &mut Scanner<'_>,
    name: &[u8],
    produced: &mut Produced,
) -> Result<bool, Malformed> {
    let before = *produced;
    listen_to(scan, Voice::of(name), false, produced)?;
    Ok(before != *produced)
}

/// `whole`: every string counts, and every name: the value is the input of a tool.
fn listen_to(
    scan: &mut Scanner<'_>,
    voice: Option<Voice>,
    whole: bool,
    produced: &mut Produced,
) -> Result<(), Malformed> {
    match scan.kind()? {
        Kind::String => {
            let text = scan.string()?;
            if let Some(voice) = voice {
                produced.hear(voice, text.decoded_bytes());
            }
            Ok(())
        }
        Kind::Array => scan.array(|scan| listen_to(scan, voice, whole, produced)),
        Kind::Object => scan.object(|scan, name| {
            if whole {
                produced.hear(Voice::Answer, name.decoded_bytes());
                return listen_to(scan, Some(Voice::Answer), true, produced);
            }
            let name = name.decode();
            if Voice::is_aside(name.as_bytes()) {
                return scan.skip();
            }
            let opens_input = name == "input" && scan.kind()? == Kind::Object;
            // The parts of a summary are texts of their own.
            let inner = if voice == Some(Voice::Reasoning) && name == "text" {
                voice
            } else {
                Voice::of(name.as_bytes())
            };
            listen_to(scan, inner, opens_input, produced)
        }),
        Kind::Number | Kind::Bool | Kind::Null => scan.skip(),
    }
}

/// The decimal digits of the largest amount that is looked at closely.
const DIGITS_MAX: i64 = 12;

/// An exponent as a number; one that is too long for it is as large as can be.
fn power(exponent: &str) -> i64 {
    exponent.parse().unwrap_or(if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_estimate_is_one_token_for_four_bytes() {
        assert_eq!([0, 1, 4, 5].map(estimated_tokens), [0, 1, 1, 2]);
        assert_eq!(estimated_tokens(u64::MAX), u64::MAX / 4 + 1);
    }

    proptest! {
        #[test]
        fn whole_figures_are_read_exactly(amount in 0..=PLAUSIBLE_MAX, zeros in 0usize..6) {
            for text in [format!("{amount}"), format!("{amount}.{}", "0".repeat(zeros + 1)), format!("{amount}e0"),
                format!("{amount}{}e-{zeros}", "0".repeat(zeros)), format!("0.{amount:010}E+10")] {
                prop_assert_eq!(Figure::of_text(&text, 0), Figure { amount: Some(amount), odd: false }, "{}", text);
            }
        }
    }
}
