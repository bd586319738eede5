//! How much input a request brings, roughly.

use crate::json::{Kind, Malformed, Scanner, Text};
use crate::tally::estimated_tokens;

/// What an image counts, in tokens: a large one at full detail at either vendor.
pub const IMAGE_TOKENS: u64 = 1_600;

/// What a sound counts, in tokens: about a minute and a half of speech.
pub const AUDIO_TOKENS: u64 = 1_000;

/// What a file counts, in tokens: two or three pages of text and pictures.
pub const FILE_TOKENS: u64 = 6_000;

/// What a message or an item costs beside its text, in tokens.
const ENVELOPE_TOKENS: u64 = 4;

/// Input so far.
#[derive(Debug, Default)]
pub(super) struct Input {
    text_bytes: u64,
    tokens: u64,
    prompts: u32,
}

impl Input {
    /// Counts a member of the body, if it is input.
    pub(super) fn member(&mut self, scan: &mut Scanner<'_>, name: &str) -> Result<(), Malformed> {
        match name {
            "messages" | "system" | "input" | "instructions" | "suffix" => self.value(scan, ""),
            "prompt" => {
                self.prompts = self.prompts.saturating_add(prompts(&mut scan.clone())?);
                self.value(scan, "")
            }
            "tools" | "functions" | "response_format" | "text" => {
                let start = scan.at();
                scan.skip()?;
                self.text(scan.at() - start);
                Ok(())
            }
            _ => scan.skip(),
        }
    }

    /// Text that is not in the body's JSON.
    pub(super) fn text(&mut self, text_bytes: usize) {
        let text_bytes = u64::try_from(text_bytes).unwrap_or(u64::MAX);
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
    }

    /// Something that counts a fixed amount.
    pub(super) const fn allow(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens);
    }

    /// All of it, in tokens.
    pub(super) const fn tokens(&self) -> u64 {
        self.tokens.saturating_add(estimated_tokens(self.text_bytes))
    }

    /// How many prompts there are, at least 1.
    pub(super) fn prompts(&self) -> u32 {
        self.prompts.max(1)
    }

    /// Counts a value that stands under `name`, or in an array under it.
    fn value(&mut self, scan: &mut Scanner<'_>, name: &str) -> Result<(), Malformed> {
        match scan.kind()? {
            Kind::String => {
                let text = scan.string()?;
                match allowance(name, text) {
                    Some(tokens) => self.allow(tokens),
                    None => self.text(text.decoded_bytes()),
                }
                Ok(())
            }
            Kind::Array => scan.array(|scan| self.value(scan, name)),
            Kind::Object => {
                let mut message = false;
                scan.object(|scan, member| {
                    let member = member.decode();
                    message |= member == "role";
                    if is_aside(&member) {
                        scan.skip()
                    } else {
                        self.value(scan, inner(name, &member))
                    }
                })?;
                self.allow(if message { ENVELOPE_TOKENS } else { 0 });
                Ok(())
            }
            Kind::Number => {
                // Prompts may be given as tokens.
                self.allow(u64::from(name.is_empty()));
                scan.skip()
            }
            Kind::Bool | Kind::Null => scan.skip(),
        }
    }
}

/// The name under which to judge what stands under `member` in an object that stands under `outer`.
fn inner<'n>(outer: &str, member: &'n str) -> &'n str {
    match (outer, member) {
        // What a tool was given is text, whatever its names.
        ("input", _) => "input",
        ("input_audio", "data") => "audio_data",
        _ => member,
    }
}

/// Members that are no text for the model.
fn is_aside(name: &str) -> bool {
    matches!(
        name,
        "type"
            | "role"
            | "id"
            | "call_id"
            | "tool_call_id"
            | "tool_use_id"
            | "item_id"
            | "status"
            | "detail"
            | "format"
            | "media_type"
            | "cache_control"
            | "encrypted_content"
            | "signature"
    )
}

/// What a string counts that is no text: the place of an image, a sound or a file, or its bytes.
fn allowance(name: &str, text: Text<'_>) -> Option<u64> {
    let raw = text.raw();
    match name {
        "audio_data" => Some(AUDIO_TOKENS),
        "url" | "image_url" | "image" => Some(IMAGE_TOKENS),
        "file_data" | "file_id" | "file_url" => Some(FILE_TOKENS),
        // Anthropic's sources: base64, or plain text.
        "data" if raw.starts_with(b"JVBERi") => Some(FILE_TOKENS),
        "data" if raw.len() > 64 && raw[..64].iter().all(|byte| is_base64(*byte)) => {
            Some(IMAGE_TOKENS)
        }
        _ if raw.starts_with(b"data:image/") => Some(IMAGE_TOKENS),
        _ => None,
    }
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

/// How many prompts a value is: one, or as many as an array has, unless that array is one prompt's
/// tokens.
fn prompts(scan: &mut Scanner<'_>) -> Result<u32, Malformed> {
    if scan.kind()? != Kind::Array {
        return Ok(1);
    }
    let mut count: u32 = 0;
    let mut tokens = false;
    scan.array(|scan| {
        count = count.saturating_add(1);
        tokens |= scan.kind()? == Kind::Number;
        scan.skip()
    })?;
    Ok(if tokens { 1 } else { count })
}
