//! Reads what matters from `multipart/form-data` (RFC 7578): audio transcriptions, image edits.

use memchr::memmem;

use super::estimate::{AUDIO_TOKENS, FILE_TOKENS, IMAGE_TOKENS, Input};
use super::read::{MODEL_BYTES_MAX, decisive, wrong};
use super::request::{Ask, Duplicate, Endpoint, Unreadable};

/// The most parts that are looked at.
const PARTS_MAX: usize = 1_000;

/// The longest head of a part, in bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// One part of a form.
struct Part<'a> {
    name: String,
    /// Whether it is a file.
    file: bool,
    head: String,
    value: &'a [u8],
}

/// Reads the fields `model`, `n` and `stream` of a form, and its input roughly: the text of `prompt`
/// and `input`, and a fixed allowance for each file. Nothing in a form is ever edited.
///
/// # Errors
///
/// [`Unreadable::NotMultipart`] when it is no form, or one with too many parts (1,000) or too long
/// heads (8 KiB); [`Unreadable::Wrong`] when a field has a value that it cannot have.
pub fn ask_multipart(
    content_type: &[u8],
    body: &[u8],
    endpoint: Option<Endpoint>,
) -> Result<Ask, Unreadable> {
    let boundary = boundary(content_type).ok_or(Unreadable::NotMultipart)?;
    let mut ask = Ask::blank(endpoint);
    let mut input = Input::default();
    let mut given: Vec<&'static str> = Vec::new();
    for part in parts(body, &boundary)? {
        if part.file {
            input.allow(allowance(&part.head));
            continue;
        }
        let Some(known) = decisive(&part.name) else {
            if matches!(part.name.as_str(), "prompt" | "input") {
                input.text(part.value.len());
            }
            continue;
        };
        if known != part.name || given.contains(&known) {
            ask.duplicate.get_or_insert(Duplicate(known));
        }
        given.push(known);
        field(&mut ask, known, part.value)?;
    }
    ask.input_tokens = input.tokens();
    Ok(ask)
}

fn field(ask: &mut Ask, name: &'static str, value: &[u8]) -> Result<(), Unreadable> {
    let text = std::str::from_utf8(value).unwrap_or_default().trim();
    match name {
        "model" => {
            if text.is_empty() || text.len() > MODEL_BYTES_MAX {
                return Err(wrong(name, "a string of 1 to 512 bytes"));
            }
            ask.model = Some(text.into());
        }
        "n" => match text.parse() {
            Ok(count) if count > 0 => ask.n = count,
            _ => return Err(wrong(name, "an integer of at least 1")),
        },
        "stream" => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => ask.stream = true,
            "false" | "0" | "" => ask.stream = false,
            _ => return Err(wrong(name, "true or false")),
        },
        _ => {}
    }
    Ok(())
}

fn allowance(head: &str) -> u64 {
    if head.contains("image/") {
        IMAGE_TOKENS
    } else if head.contains("audio/") {
        AUDIO_TOKENS
    } else {
        FILE_TOKENS
    }
}

/// What stands before each part: two dashes and the boundary of the content type.
fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(content_type).ok()?;
    let (sort, parameters) = text.split_once(';')?;
    if !sort.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameter(parameters, "boundary")?;
    // RFC 2046, 5.1.1: at most 70 characters.
    (!value.is_empty() && value.len() <= 70).then(|| format!("--{value}").into_bytes())
}

fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Result<Vec<Part<'a>>, Unreadable> {
    let finder = memmem::Finder::new(boundary);
    let mut delimiters = finder.find_iter(body).filter(|at| starts_line(body, *at));
    let mut parts = Vec::new();
    let mut start = delimiters.next().ok_or(Unreadable::NotMultipart)? + boundary.len();
    while !body[start..].starts_with(b"--") {
        if parts.len() == PARTS_MAX {
            return Err(Unreadable::NotMultipart);
        }
        let end = delimiters.next().ok_or(Unreadable::NotMultipart)?;
        parts.push(part(&body[start..end]).ok_or(Unreadable::NotMultipart)?);
        start = end + boundary.len();
    }
    Ok(parts)
}

fn starts_line(body: &[u8], at: usize) -> bool {
    at == 0 || body[at - 1] == b'\n'
}

/// Reads one part, from behind its delimiter to before the next.
fn part(bytes: &[u8]) -> Option<Part<'_>> {
    let bytes = &bytes[memchr::memchr(b'\n', bytes)? + 1..];
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let (head, value) = match (memmem::find(window, b"\r\n\r\n"), memmem::find(window, b"\n\n")) {
        (Some(long), short) if short.is_none_or(|short| long < short) => {
            (&bytes[..long], &bytes[long + 4..])
        }
        (_, Some(short)) => (&bytes[..short], &bytes[short + 2..]),
        _ => return None,
    };
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    let head = String::from_utf8_lossy(head).into_owned();
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let parameters = disposition.split_once(';').map_or("", |(_, rest)| rest);
    let name = parameter(parameters, "name").unwrap_or_default();
    let file =
        parameter(parameters, "filename").is_some() || parameter(parameters, "filename*").is_some();
    Some(Part { name, file, head: head.to_ascii_lowercase(), value })
}

/// The value of a parameter, quoted or not.
fn parameter(mut parameters: &str, wanted: &str) -> Option<String> {
    loop {
        let (name, rest) = parameters.split_once('=')?;
        let name = name.trim_matches([' ', '\t', ';']);
        let (value, rest) = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, rest) = rest.split_once(';').unwrap_or((rest, ""));
                (value.trim().to_owned(), rest)
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        parameters = rest;
    }
}

fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            // Only a quote and a backslash are escaped: old browsers send paths of files.
            '\\' => match letters.clone().next() {
                Some((_, escaped @ ('"' | '\\'))) => {
                    value.push(escaped);
                    let _passed = letters.next();
                }
                _ => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    None
}
