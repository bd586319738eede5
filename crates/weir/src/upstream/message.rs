//! Anthropic's messages: `POST …/v1/messages`, as a document and as a stream of events.

use std::sync::Arc;

use http::StatusCode;

use crate::upstream::call::{Call, count, flag, model_json};
use crate::upstream::knobs::Knobs;
use crate::upstream::reply::Reply;
use crate::upstream::text::{Prompt, Text};
use crate::upstream::usage::Usage;

/// Answers a messages call.
///
/// # Errors
///
/// A sentence about the member that a real upstream would refuse.
pub(crate) fn reply(call: &Call, knobs: &Knobs) -> Result<Reply, String> {
    let members = call.json()?;
    let messages = members.get("messages").filter(|messages| messages.is_array());
    let prompt = Prompt::read(messages.ok_or("`messages` is not an array")?);
    let system = members.get("system").map(Prompt::read).unwrap_or_default();
    let bound = count(&members, "max_tokens")?.ok_or("`max_tokens` is missing")?;
    let text = Text::new(prompt.seed, Some(bound), knobs);
    let usage = Usage::new(prompt.tokens + system.tokens, text.tokens, knobs);
    let answer = Answer { id: call.fingerprint(), model: model_json(&members), text, usage };
    if flag(&members, "stream") {
        return Ok(Reply::events(answer.events()));
    }
    let reason = format!("\"{}\"", answer.stop_reason());
    let content = format!(r#"{{"type":"text","text":"{}"}}"#, answer.text.whole());
    Ok(Reply::json(StatusCode::OK, answer.object(&content, &reason, &answer.usage)))
}

#[derive(Debug)]
struct Answer {
    id: u64,
    model: String,
    text: Text,
    usage: Usage,
}

impl Answer {
    fn stop_reason(&self) -> &'static str {
        if self.text.bounded { "max_tokens" } else { "end_turn" }
    }

    fn object(&self, content: &str, stop_reason: &str, usage: &Usage) -> String {
        let (id, model) = (self.id, &self.model);
        let mut object = format!(
            r#"{{"id":"msg_{id:016x}","type":"message","role":"assistant","model":{model},"content":[{content}],"stop_reason":{stop_reason},"stop_sequence":null}}"#
        );
        usage.append(&mut object, &usage.message());
        object
    }

    /// Three opening events, one per token (with running usage, two), the block's end, the usage and
    /// the message's end.
    fn events(self) -> impl Iterator<Item = String> + Send {
        let tokens = self.text.tokens;
        let this = Arc::new(self);
        let (opening, middle, closing) = (Arc::clone(&this), Arc::clone(&this), this);
        let opened = (0..3).map(move |number| opening.opening(number));
        let deltas = (0..tokens).flat_map(move |position| {
            let token = middle.text.token(position);
            let delta = event(
                "content_block_delta",
                &format!(r#""index":0,"delta":{{"type":"text_delta","text":"{token}"}}"#),
            );
            let running = middle.usage.on_every_chunk();
            [Some(delta), running.then(|| middle.delta("null", position + 1))].into_iter().flatten()
        });
        let stop = std::iter::once(event("content_block_stop", r#""index":0"#));
        // The last delta carries the stop reason, with or without usage.
        let ends = (0..closing.usage.repeats().max(1)).map(move |_| {
            closing.delta(&format!("\"{}\"", closing.stop_reason()), closing.text.tokens)
        });
        let end = std::iter::once(
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
        );
        opened.chain(deltas).chain(stop).chain(ends).chain(end)
    }

    fn opening(&self, number: u64) -> String {
        match number {
            0 => {
                let message = self.object("", "null", &self.usage.with_output(1));
                event("message_start", &format!(r#""message":{message}"#))
            }
            1 => event(
                "content_block_start",
                r#""index":0,"content_block":{"type":"text","text":""}"#,
            ),
            _ => "event: ping\ndata: {\"type\":\"ping\"}\n\n".to_owned(),
        }
    }

    fn delta(&self, stop_reason: &str, produced: u64) -> String {
        let mut members =
            format!(r#""delta":{{"stop_reason":{stop_reason},"stop_sequence":null}}"#);
        if self.usage.repeats() > 0 {
            let usage = self.usage.with_output(produced).message();
            members.push_str(&format!(r#","usage":{usage}"#));
        }
        event("message_delta", &members)
    }
}

fn event(kind: &str, members: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{members}}}\n\n")
}
