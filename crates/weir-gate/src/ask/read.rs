//! Reads the members that matter from a JSON body.

use super::estimate::Input;
use super::request::{Ask, BoundName, Duplicate, Endpoint, Gap, Member, Unreadable};
use crate::json::{Kind, Malformed, Scanner, Text};

/// The members that decide something.
const DECISIVE: [&str; 10] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "service_tier",
    "include_usage",
];

/// The largest bound that is read: what a float holds exactly.
pub(super) const BOUND_MAX: u64 = 1 << 53;

/// The longest model name, in bytes.
pub(super) const MODEL_BYTES_MAX: usize = 512;

/// The body so far.
struct Reading {
    ask: Ask,
    input: Input,
    given: [bool; DECISIVE.len()],
    signs: Signs,
}

/// Members that tell what API a body is for.
#[derive(Default)]
struct Signs {
    messages: bool,
    prompt: bool,
    input: bool,
    vectors: bool,
    picture: bool,
    voice: bool,
}

impl Ask {
    /// Reads a JSON body. Where the path does not tell the endpoint, the members do.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when the body is no JSON object, or a member that matters has a value that it
    /// cannot have. A duplicate is no error here: see [`Self::unambiguous`].
    pub fn read(body: &[u8], endpoint: Option<Endpoint>) -> Result<Self, Unreadable> {
        read(body, endpoint)
    }
}

fn read(body: &[u8], endpoint: Option<Endpoint>) -> Result<Ask, Unreadable> {
    if let Err(broken) = std::str::from_utf8(body) {
        return Err(Malformed::Syntax(broken.valid_up_to()).into());
    }
    let mut scan = Scanner::new(body);
    if scan.kind()? != Kind::Object {
        scan.skip()?;
        scan.end()?;
        return Err(Unreadable::NotAnObject);
    }
    let mut reading = Reading {
        ask: Ask::blank(endpoint),
        input: Input::default(),
        given: [false; DECISIVE.len()],
        signs: Signs::default(),
    };
    let mut gap = Gap { at: scan.at() + 1, first: true };
    scan.object(|scan, name| {
        reading.member(scan, name)?;
        gap = Gap { at: scan.at(), first: false };
        Ok::<(), Unreadable>(())
    })?;
    scan.end()?;
    let mut ask = reading.ask;
    ask.layout.top = Some(gap);
    ask.endpoint = endpoint.unwrap_or_else(|| reading.signs.endpoint(&ask));
    ask.prompts = if ask.endpoint == Endpoint::Completions { reading.input.prompts() } else { 1 };
    ask.input_tokens = reading.input.tokens();
    Ok(ask)
}

impl Reading {
    fn member(&mut self, scan: &mut Scanner<'_>, name: Text<'_>) -> Result<(), Unreadable> {
        let name = name.decode();
        let Some(known) = decisive(&name) else { return self.other(scan, &name) };
        self.note(known);
        if known != name {
            // Another spelling decides only at some upstreams; there it counts beside ours.
            self.ask.duplicate.get_or_insert(Duplicate(known));
            return Ok(scan.skip()?);
        }
        let at = scan.at();
        match known {
            "model" => self.ask.model = words(scan, known, "a string of 1 to 512 bytes")?,
            "service_tier" => self.ask.service_tier = words(scan, known, "a string")?,
            "stream" => self.ask.stream = switch(scan, known)?.unwrap_or(false),
            "n" => self.ask.n = count(scan, known)?.unwrap_or(1),
            "best_of" => self.ask.best_of = count(scan, known)?.unwrap_or(1),
            "stream_options" => self.stream_options(scan)?,
            // At the top it means nothing; it is in the list for `stream_options`.
            "include_usage" => scan.skip()?,
            bound => {
                let value = whole(scan, bound, "an integer from 0 to 2^53", BOUND_MAX)?;
                let value = value.filter(|tokens| *tokens > 0);
                if let Some(index) = BoundName::ALL.iter().position(|name| name.name() == bound) {
                    self.ask.bounds[index] = Member { value, at: Some(at..scan.at()) };
                }
            }
        }
        Ok(())
    }

    fn stream_options(&mut self, scan: &mut Scanner<'_>) -> Result<(), Unreadable> {
        let start = scan.at();
        let layout = &mut self.ask.layout;
        (layout.in_stream_options, layout.include_usage) = (None, None);
        self.ask.include_usage = None;
        match scan.kind()? {
            Kind::Null => scan.skip()?,
            Kind::Object => {
                let mut gap = Gap { at: start + 1, first: true };
                let mut given = false;
                scan.object(|scan, name| {
                    let name = name.decode();
                    if decisive(&name) == Some("include_usage") {
                        if given || name != "include_usage" {
                            self.ask
                                .duplicate
                                .get_or_insert(Duplicate("stream_options.include_usage"));
                        }
                        given = true;
                        let at = scan.at();
                        self.ask.include_usage = switch(scan, "stream_options.include_usage")?;
                        self.ask.layout.include_usage = Some(at..scan.at());
                    } else {
                        scan.skip()?;
                    }
                    gap = Gap { at: scan.at(), first: false };
                    Ok::<(), Unreadable>(())
                })?;
                self.ask.layout.in_stream_options = Some(gap);
            }
            _ => return Err(wrong("stream_options", "an object")),
        }
        self.ask.layout.stream_options = Some(start..scan.at());
        Ok(())
    }

    /// A member that decides nothing, but may be input.
    fn other(&mut self, scan: &mut Scanner<'_>, name: &str) -> Result<(), Unreadable> {
        let signs = &mut self.signs;
        match name {
            "messages" => signs.messages = true,
            "prompt" => signs.prompt = true,
            "input" => signs.input = true,
            "encoding_format" | "dimensions" => signs.vectors = true,
            "size" | "quality" | "style" => signs.picture = true,
            "voice" => signs.voice = true,
            _ => {}
        }
        Ok(self.input.member(scan, name)?)
    }

    fn note(&mut self, known: &'static str) {
        let Some(index) = DECISIVE.iter().position(|name| *name == known) else { return };
        if known != "include_usage" && std::mem::replace(&mut self.given[index], true) {
            self.ask.duplicate.get_or_insert(Duplicate(known));
        }
    }
}

impl Signs {
    fn endpoint(&self, ask: &Ask) -> Endpoint {
        let outputs = ask.bounds[BoundName::MaxOutputTokens as usize].at.is_some();
        match self {
            Self { messages: true, .. } => Endpoint::Chat,
            Self { prompt: true, picture: true, .. } => Endpoint::Images,
            Self { prompt: true, .. } => Endpoint::Completions,
            Self { input: true, voice: true, .. } => Endpoint::Audio,
            Self { input: true, vectors: true, .. } if !outputs => Endpoint::Embeddings,
            Self { input: true, .. } => Endpoint::Responses,
            _ => Endpoint::Other,
        }
    }
}

/// The decisive member that a name means to some reader: letter case aside, as Go's decoder folds it
/// (U+017F is an s, U+212A a k).
pub(super) fn decisive(name: &str) -> Option<&'static str> {
    if name.len() > 32 {
        return None;
    }
    DECISIVE.into_iter().find(|known| *known == name).or_else(|| {
        if !name.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
            return None;
        }
        let folded: String = name.chars().map(fold).collect();
        DECISIVE.into_iter().find(|known| *known == folded)
    })
}

const fn fold(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

pub(super) const fn wrong(member: &'static str, wanted: &'static str) -> Unreadable {
    Unreadable::Wrong { member, wanted }
}

fn words(
    scan: &mut Scanner<'_>,
    member: &'static str,
    wanted: &'static str,
) -> Result<Option<Box<str>>, Unreadable> {
    match scan.kind()? {
        Kind::Null => scan.skip().map(|()| None).map_err(Into::into),
        Kind::String => {
            let text = scan.string()?;
            if text.decoded_bytes() == 0 || text.decoded_bytes() > MODEL_BYTES_MAX {
                return Err(wrong(member, wanted));
            }
            Ok(Some(text.decode().into()))
        }
        _ => Err(wrong(member, wanted)),
    }
}

fn switch(scan: &mut Scanner<'_>, member: &'static str) -> Result<Option<bool>, Unreadable> {
    match scan.kind()? {
        Kind::Null => scan.skip().map(|()| None).map_err(Into::into),
        Kind::Bool => Ok(Some(scan.bool()?)),
        _ => Err(wrong(member, "true or false")),
    }
}

fn count(scan: &mut Scanner<'_>, member: &'static str) -> Result<Option<u32>, Unreadable> {
    const WANTED: &str = "an integer of at least 1";
    let value = whole(scan, member, WANTED, u64::from(u32::MAX))?;
    match value.map(u32::try_from) {
        None => Ok(None),
        Some(Ok(count)) if count > 0 => Ok(Some(count)),
        Some(_) => Err(wrong(member, WANTED)),
    }
}

fn whole(
    scan: &mut Scanner<'_>,
    member: &'static str,
    wanted: &'static str,
    max: u64,
) -> Result<Option<u64>, Unreadable> {
    match scan.kind()? {
        Kind::Null => scan.skip().map(|()| None).map_err(Into::into),
        Kind::Number => match scan.number()?.parse() {
            Ok(value) if value <= max => Ok(Some(value)),
            _ => Err(wrong(member, wanted)),
        },
        _ => Err(wrong(member, wanted)),
    }
}
