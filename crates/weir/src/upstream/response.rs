//! OpenAI's responses: `POST …/v1/responses`, as a document and as a stream of events.

use std::sync::Arc;

use http::StatusCode;

use crate::upstream::call::{Call, count, flag, model_json};
use crate::upstream::knobs::Knobs;
use crate::upstream::reply::Reply;
use crate::upstream::text::{Prompt, Text};
use crate::upstream::usage::Usage;

/// Answers a responses call.
///
/// # Errors
///
/// A sentence about the member that a real upstream would refuse.
pub(crate) fn reply(call: &Call, knobs: &Knobs) -> Result<Reply, String> {
    let members = call.json()?;
    let prompt = Prompt::read(members.get("input").ok_or("`input` is missing")?);
    let bound = count(&members, "max_output_tokens")?;
    let text = Text::new(prompt.seed, bound, knobs);
    let usage = Usage::new(prompt.tokens, text.tokens, knobs);
    let answer = Answer { id: call.fingerprint(), model: model_json(&members), text, usage };
    if flag(&members, "stream") {
        return Ok(Reply::events(answer.events()));
    }
    Ok(Reply::json(StatusCode::OK, answer.document()))
}

#[derive(Debug)]
struct Answer {
    id: u64,
    model: String,
    text: Text,
    usage: Usage,
}

impl Answer {
    fn status(&self) -> &'static str {
        if self.text.bounded { "incomplete" } else { "completed" }
    }

    /// The finished response.
    fn document(&self) -> String {
        let details = if self.text.bounded { r#"{"reason":"max_output_tokens"}"# } else { "null" };
        let mut object = self.object(self.status(), details, &self.item(self.status()));
        self.usage.append(&mut object, &self.usage.response());
        object
    }

    fn object(&self, status: &str, details: &str, output: &str) -> String {
        let (id, model) = (self.id, &self.model);
        format!(
            r#"{{"id":"resp_{id:016x}","object":"response","created_at":1750000000,"status":"{status}","error":null,"incomplete_details":{details},"model":{model},"output":[{output}],"parallel_tool_calls":true,"tool_choice":"auto","tools":[]}}"#
        )
    }

    fn item(&self, status: &str) -> String {
        let content = if status == "in_progress" { String::new() } else { self.part(true) };
        let id = self.id;
        format!(
            r#"{{"id":"msg_{id:016x}","type":"message","status":"{status}","role":"assistant","content":[{content}]}}"#
        )
    }

    fn part(&self, whole: bool) -> String {
        let text = if whole { self.text.whole() } else { String::new() };
        format!(r#"{{"type":"output_text","text":"{text}","annotations":[],"logprobs":[]}}"#)
    }

    /// Four opening events, one per token, three closing ones, and the finished response.
    fn events(self) -> impl Iterator<Item = String> + Send {
        let tokens = self.text.tokens;
        let endings = if self.usage.repeats() == 2 { 2 } else { 1 };
        let this = Arc::new(self);
        let (opening, middle, closing) = (Arc::clone(&this), Arc::clone(&this), this);
        let opened = (0..OPENING_EVENTS).map(move |number| opening.opening(number));
        let deltas = (0..tokens).map(move |position| middle.delta(position));
        let closed = (0..3 + endings).map(move |step| closing.closing(step));
        opened.chain(deltas).chain(closed)
    }

    fn opening(&self, number: u64) -> String {
        let place = self.place();
        match number {
            0 | 1 => {
                let kind = ["response.created", "response.in_progress"];
                let kind = if number == 0 { kind[0] } else { kind[1] };
                let object = self.object("in_progress", "null", "");
                event(kind, number, &format!(r#""response":{object}"#))
            }
            2 => {
                let item = self.item("in_progress");
                event(
                    "response.output_item.added",
                    number,
                    &format!(r#""output_index":0,"item":{item}"#),
                )
            }
            _ => {
                let part = self.part(false);
                event("response.content_part.added", number, &format!(r#"{place},"part":{part}"#))
            }
        }
    }

    fn delta(&self, position: u64) -> String {
        let (place, token) = (self.place(), self.text.token(position));
        let mut members = format!(r#"{place},"delta":"{token}","logprobs":[]"#);
        if self.usage.on_every_chunk() {
            let usage = self.usage.with_output(position + 1).response();
            members.push_str(&format!(r#","usage":{usage}"#));
        }
        event("response.output_text.delta", OPENING_EVENTS + position, &members)
    }

    fn closing(&self, step: u64) -> String {
        let number = OPENING_EVENTS + self.text.tokens + step;
        let place = self.place();
        match step {
            0 => {
                let text = self.text.whole();
                let members = format!(r#"{place},"text":"{text}","logprobs":[]"#);
                event("response.output_text.done", number, &members)
            }
            1 => {
                let part = self.part(true);
                event("response.content_part.done", number, &format!(r#"{place},"part":{part}"#))
            }
            2 => {
                let item = self.item(self.status());
                event(
                    "response.output_item.done",
                    number,
                    &format!(r#""output_index":0,"item":{item}"#),
                )
            }
            _ => {
                let kind = format!("response.{}", self.status());
                event(&kind, number, &format!(r#""response":{}"#, self.document()))
            }
        }
    }

    fn place(&self) -> String {
        let id = self.id;
        format!(r#""item_id":"msg_{id:016x}","output_index":0,"content_index":0"#)
    }
}

fn event(kind: &str, number: u64, members: &str) -> String {
    format!(
        "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{members}}}\n\n"
    )
}

const OPENING_EVENTS: u64 = 4;
