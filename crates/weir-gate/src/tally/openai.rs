//! OpenAI's usage and streams: chat, completions, embeddings, images, audio, Responses.
//!
//! Source: the types of the `openai` Python package 3.54.0 (chat `usage`, Responses `usage`, stream
//! events). `cached_tokens`, `cache_write_tokens`, `audio_tokens` and `reasoning_tokens` are parts of
//! the figure they detail, so they are taken out of it.

use weir_core::usage::{Meter, Usage};

use super::count::{Figure, Voice, listen};
use super::seen::{EventKind, Seen};
use crate::json::{Kind, Malformed, Scanner, Text};
use crate::sse::Fields;

/// What one event of a stream says of itself.
#[derive(Default)]
struct Chunk {
    sort: Option<String>,
    choices: Option<usize>,
    spoke: bool,
    error: bool,
    delta_bytes: usize,
}

/// The figures of one usage object.
#[derive(Default)]
struct Figures {
    prompt: Option<u64>,
    cached: Option<u64>,
    cache_hit: Option<u64>,
    cache_write: Option<u64>,
    audio_in: Option<u64>,
    completion: Option<u64>,
    reasoning: Option<u64>,
    audio_out: Option<u64>,
    total: Option<u64>,
    millis: Option<u64>,
    odd: bool,
    /// The output is told, but by no figure.
    output_nonsense: bool,
}

/// Reads one event of a stream.
pub(super) fn event(name: Option<&[u8]>, data: &[u8], seen: &mut Seen) -> EventKind {
    let mut chunk = Chunk::default();
    let mut scan = Scanner::new(data);
    let read = scan.object(|scan, member| top_member(scan, member, &mut chunk, seen));
    if read.is_err() && chunk.sort.is_none() {
        return name.map_or(EventKind::Other, kind_of_type);
    }
    if chunk.error {
        return EventKind::Error;
    }
    if let Some(sort) = chunk.sort.as_deref() {
        return typed(sort, &chunk, seen);
    }
    match chunk.choices {
        Some(0) if seen.carried => EventKind::UsageOnly,
        _ if chunk.spoke => EventKind::Content,
        Some(_) if seen.carried && says_nothing(data) => EventKind::UsageOnly,
        Some(_) => EventKind::Other,
        None => name.map_or(EventKind::Other, kind_of_type),
    }
}

/// Whether no choice of a chunk says anything: no delta with a member, no reason to finish. Some
/// upstreams (LiteLLM) report usage beside such a choice where OpenAI has none.
fn says_nothing(data: &[u8]) -> bool {
    let mut silent = true;
    let read = Scanner::new(data).object(|scan, name| {
        if !name.is("choices") || scan.kind()? != Kind::Array {
            return scan.skip();
        }
        scan.array(|scan| {
            if scan.kind()? != Kind::Object {
                silent = false;
                return scan.skip();
            }
            scan.object(|scan, name| {
                let kind = scan.kind()?;
                if name.is("delta") && kind == Kind::Object {
                    return scan.object(|scan, _| {
                        silent = false;
                        scan.skip()
                    });
                }
                silent &= kind == Kind::Null || name.is("index");
                scan.skip()
            })
        })
    });
    read.is_ok() && silent
}

/// The kind of an event of which only the beginning is known.
pub(super) fn kind_by_name(raw: &[u8]) -> EventKind {
    Fields::of(raw).name.map_or(EventKind::Other, kind_of_type)
}

/// Reads a usage value; the last one that has figures counts.
pub(super) fn usage(scan: &mut Scanner<'_>, seen: &mut Seen) -> Result<(), Malformed> {
    let mut figures = Figures::default();
    match scan.kind()? {
        Kind::Object => scan.object(|scan, name| figures.member(scan, name))?,
        Kind::Null => scan.skip()?,
        _ => {
            figures.odd = true;
            scan.skip()?;
        }
    }
    if let Some(usage) = figures.usage() {
        seen.reported = Some(usage);
        seen.output_pending = figures.output_nonsense;
        seen.output_untold = figures.prompt.is_some() && figures.completion.is_none();
        seen.input_untold =
            figures.prompt.is_none() && figures.total.is_none() && figures.millis.is_none();
        seen.carried = true;
    }
    seen.implausible |= figures.odd;
    Ok(())
}

fn top_member(
    scan: &mut Scanner<'_>,
    name: Text<'_>,
    chunk: &mut Chunk,
    seen: &mut Seen,
) -> Result<(), Malformed> {
    let kind = scan.kind()?;
    match (name.decode().as_ref(), kind) {
        ("type", Kind::String) => chunk.sort = Some(scan.string()?.decode().into_owned()),
        ("choices", Kind::Array) => {
            let mut count = 0;
            scan.array(|scan| {
                count += 1;
                chunk.spoke |= listen(scan, b"", &mut seen.produced)?;
                Ok::<(), Malformed>(())
            })?;
            chunk.choices = Some(count);
        }
        ("delta", Kind::String) => chunk.delta_bytes = scan.string()?.decoded_bytes(),
        ("usage", _) => usage(scan, seen)?,
        ("error", Kind::Object | Kind::String) => {
            chunk.error = true;
            scan.skip()?;
        }
        ("response", Kind::Object) => scan.object(|scan, name| {
            let kind = scan.kind()?;
            if name.is("usage") {
                return usage(scan, seen);
            }
            seen.error |= name.is("error") && kind == Kind::Object;
            scan.skip()
        })?,
        _ => scan.skip()?,
    }
    Ok(())
}

/// The kind of an event that names its type, as those of the Responses API do.
fn typed(sort: &str, chunk: &Chunk, seen: &mut Seen) -> EventKind {
    if let Some(voice) = voice_of_delta(sort).filter(|_| chunk.delta_bytes > 0) {
        seen.produced.hear(voice, chunk.delta_bytes);
        return EventKind::Content;
    }
    match sort {
        "image_generation.completed" | "image_edit.completed" => {
            seen.produced.image();
            EventKind::Content
        }
        "response.failed" => {
            seen.error = true;
            EventKind::Terminal
        }
        _ => kind_of_type(sort.as_bytes()),
    }
}

fn kind_of_type(sort: &[u8]) -> EventKind {
    match sort {
        b"response.completed"
        | b"response.incomplete"
        | b"response.failed"
        | b"transcript.text.done"
        | b"speech.audio.done" => EventKind::Terminal,
        b"error" => EventKind::Error,
        _ => EventKind::Other,
    }
}

/// Whose text the `delta` of an event is: none for sound and images in base64. The `….done` events
/// repeat what the deltas said and are not counted.
fn voice_of_delta(sort: &str) -> Option<Voice> {
    let of = sort.strip_suffix(".delta")?;
    if of.contains("audio") && !of.ends_with("transcript") {
        return None;
    }
    Some(if of.contains("reasoning") { Voice::Reasoning } else { Voice::Answer })
}

impl Figures {
    fn member(&mut self, scan: &mut Scanner<'_>, name: Text<'_>) -> Result<(), Malformed> {
        let name = name.name();
        let is_output = matches!(&*name, b"completion_tokens" | b"output_tokens");
        let slot = match &*name {
            b"prompt_tokens" | b"input_tokens" => &mut self.prompt,
            _ if is_output => &mut self.completion,
            b"total_tokens" => &mut self.total,
            b"prompt_cache_hit_tokens" => &mut self.cache_hit,
            b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => {
                return self.details(scan, Self::prompt_detail);
            }
            b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => {
                return self.details(scan, Self::completion_detail);
            }
            b"seconds" => {
                let figure = Figure::read_scaled(scan, 3)?;
                (self.millis, self.odd) = (figure.amount, self.odd || figure.odd);
                return Ok(());
            }
            _ => return scan.skip(),
        };
        let figure = Figure::read(scan)?;
        *slot = figure.amount;
        self.odd |= figure.odd;
        if is_output {
            self.output_nonsense = figure.odd && figure.amount.is_none();
        }
        Ok(())
    }

    fn details(
        &mut self,
        scan: &mut Scanner<'_>,
        slot_of: for<'f> fn(&'f mut Self, &[u8]) -> Option<&'f mut Option<u64>>,
    ) -> Result<(), Malformed> {
        let kind = scan.kind()?;
        if kind != Kind::Object {
            self.odd |= kind != Kind::Null;
            return scan.skip();
        }
        scan.object(|scan, name| {
            let Some(slot) = slot_of(self, &name.name()) else { return scan.skip() };
            let figure = Figure::read(scan)?;
            *slot = figure.amount;
            self.odd |= figure.odd;
            Ok(())
        })
    }

    fn prompt_detail<'f>(&'f mut self, name: &[u8]) -> Option<&'f mut Option<u64>> {
        match name {
            b"cached_tokens" => Some(&mut self.cached),
            b"cache_write_tokens" => Some(&mut self.cache_write),
            b"audio_tokens" => Some(&mut self.audio_in),
            _ => None,
        }
    }

    fn completion_detail<'f>(&'f mut self, name: &[u8]) -> Option<&'f mut Option<u64>> {
        match name {
            b"reasoning_tokens" => Some(&mut self.reasoning),
            b"audio_tokens" => Some(&mut self.audio_out),
            _ => None,
        }
    }

    /// In exclusive meters; none if there is no figure to go by.
    fn usage(&mut self) -> Option<Usage> {
        if let Some(millis) = self.millis {
            return Some(Usage::NONE.with(Meter::Second, millis));
        }
        let completion = self.completion.unwrap_or(0);
        let prompt = match (self.prompt, self.total) {
            (Some(prompt), _) => prompt,
            (None, Some(total)) => {
                self.odd |= total < completion;
                total.saturating_sub(completion)
            }
            (None, None) => {
                self.completion?;
                0
            }
        };
        let reasoning = self.reasoning.unwrap_or(0);
        let parts = prompt + completion;
        // Some upstreams (xAI) count reasoning beside the completion; their total says so.
        let apart = reasoning > 0 && self.total == Some(parts + reasoning);
        self.odd |= !apart && self.total.is_some_and(|total| total != parts);
        let inside = if apart { completion + reasoning } else { completion };
        let (input, [cached, write, audio_in]) =
            self.divide(prompt, [self.cached.or(self.cache_hit), self.cache_write, self.audio_in]);
        let (output, [reasoning, audio_out, _]) =
            self.divide(inside, [Some(reasoning), self.audio_out, None]);
        let usage = Usage::NONE
            .with(Meter::InputTokens, input)
            .with(Meter::CachedInputTokens, cached)
            .with(Meter::CacheWriteTokens, write)
            .with(Meter::AudioInputTokens, audio_in)
            .with(Meter::OutputTokens, output)
            .with(Meter::ReasoningTokens, reasoning)
            .with(Meter::AudioOutputTokens, audio_out);
        Some(usage)
    }

    /// Takes the parts out of a whole, in order, as far as it reaches: what is left, and the parts.
    fn divide(&mut self, whole: u64, parts: [Option<u64>; 3]) -> (u64, [u64; 3]) {
        let mut left = whole;
        let taken = parts.map(|part| {
            let part = part.unwrap_or(0);
            // Parts may overlap (audio that was cached), so only one that is larger than all is odd.
            self.odd |= part > whole;
            let part = part.min(left);
            left -= part;
            part
        });
        (left, taken)
    }
}
