//! The edits that Weir may make to a request: on its raw bytes, every other byte stays.

use std::ops::Range;

use bytes::Bytes;

use super::request::{Ask, BoundName, Duplicate, Endpoint, Gap};

/// What must change in a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// Ask for the usage chunk at the end of a stream.
    pub include_usage: bool,
    /// Lower the output bound to this many tokens, or set it.
    pub output_bound: Option<u64>,
}

/// Bytes to put in the place of others.
struct Patch {
    at: Range<usize>,
    text: String,
}

/// `body`, changed. `ask` must have been read from these very bytes.
///
/// A stream of chat or completions gets `stream_options.include_usage`, if it has not; other requests
/// have no such member. Every bound above `output_bound` is lowered to it under the name that the
/// client used; a request without one that its endpoint knows gets the member that is customary there;
/// where there is no output to bound nothing changes.
///
/// # Errors
///
/// [`Duplicate`] when something must change and a member that decides is given more than once.
pub fn rewrite(body: &Bytes, ask: &Ask, change: Change) -> Result<Bytes, Duplicate> {
    let mut patches = Vec::new();
    if change.include_usage {
        patches.extend(usage_patch(ask));
    }
    if let Some(tokens) = change.output_bound {
        bound_patches(ask, tokens, &mut patches);
    }
    if patches.is_empty() {
        return Ok(body.clone());
    }
    ask.unambiguous()?;
    patches.sort_by_key(|patch| patch.at.start);
    let mut edited = Vec::with_capacity(body.len() + 64 * patches.len());
    let mut from = 0;
    for patch in patches {
        edited.extend_from_slice(&body[from..patch.at.start]);
        edited.extend_from_slice(patch.text.as_bytes());
        from = patch.at.end;
    }
    edited.extend_from_slice(&body[from..]);
    Ok(edited.into())
}

/// `body` with `stream_options.include_usage` set, as [`rewrite`] does it.
///
/// # Errors
///
/// [`Duplicate`] as in [`rewrite`].
pub fn with_include_usage(body: &Bytes, ask: &Ask) -> Result<Bytes, Duplicate> {
    rewrite(body, ask, Change { include_usage: true, output_bound: None })
}

/// `body` with an output bound of at most `tokens`, as [`rewrite`] does it.
///
/// # Errors
///
/// [`Duplicate`] as in [`rewrite`].
pub fn with_output_bound(body: &Bytes, ask: &Ask, tokens: u64) -> Result<Bytes, Duplicate> {
    rewrite(body, ask, Change { include_usage: false, output_bound: Some(tokens) })
}

fn usage_patch(ask: &Ask) -> Option<Patch> {
    let takes_it = matches!(ask.endpoint, Endpoint::Chat | Endpoint::Completions);
    if !takes_it || !ask.stream || ask.include_usage == Some(true) {
        return None;
    }
    let layout = &ask.layout;
    match (&layout.include_usage, layout.in_stream_options, &layout.stream_options) {
        (Some(value), _, _) => Some(Patch { at: value.clone(), text: "true".to_owned() }),
        (None, Some(gap), _) => Some(gap.patch("include_usage", "true")),
        (None, None, Some(null)) => {
            Some(Patch { at: null.clone(), text: "{\"include_usage\":true}".to_owned() })
        }
        (None, None, None) => {
            layout.top.map(|gap| gap.patch("stream_options", "{\"include_usage\":true}"))
        }
    }
}

fn bound_patches(ask: &Ask, tokens: u64, patches: &mut Vec<Patch>) {
    let Some(default) = ask.endpoint.default_bound() else { return };
    let replace = |at: Range<usize>| Patch { at, text: tokens.to_string() };
    let above = ask.bounds.iter().filter(|member| member.value.is_some_and(|value| value > tokens));
    patches.extend(above.filter_map(|member| member.at.clone()).map(replace));
    if ask.bound().is_some() {
        return;
    }
    // None is in force, but one may be there as null or zero.
    let own = BoundName::ALL.into_iter().zip(&ask.bounds);
    let mut own = own.filter(|(name, _)| ask.endpoint.takes(*name)).map(|(_, member)| member);
    match own.find_map(|member| member.at.clone()) {
        Some(at) => patches.push(replace(at)),
        None => {
            patches.extend(ask.layout.top.map(|gap| gap.patch(default.name(), &tokens.to_string())))
        }
    }
}

impl Gap {
    fn patch(self, name: &str, value: &str) -> Patch {
        let comma = if self.first { "" } else { "," };
        Patch { at: self.at..self.at, text: format!("{comma}\"{name}\":{value}") }
    }
}
