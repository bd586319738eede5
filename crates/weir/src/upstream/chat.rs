//! OpenAI's chat completions: `POST …/chat/completions` and `POST …/chat`.

use std::iter;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::upstream::call::{Call, count, flag, model_json};
use crate::upstream::knobs::Knobs;
use crate::upstream::reply::Reply;
use crate::upstream::text::{Prompt, Text};
use crate::upstream::usage::Usage;

/// Answers a chat call.
///
/// # Errors
///
/// A sentence about the member that a real upstream would refuse.
pub(crate) fn reply(call: &Call, knobs: &Knobs) -> Result<Reply, String> {
    let members = call.json()?;
    let messages = members.get("messages").filter(|messages| messages.is_array());
    let prompt = Prompt::read(messages.ok_or("`messages` is not an array")?);
    let bound = match count(&members, "max_completion_tokens")? {
        Some(bound) => Some(bound),
        None => count(&members, "max_tokens")?,
    };
    let choices = count(&members, "n")?.unwrap_or(1);
    if choices > CHOICES_MAX {
        return Err(format!("`n` is above {CHOICES_MAX}"));
    }
    let output = match tool_name(&members).filter(|_| prompt.wants_tool) {
        Some(name) => Output::Tool(Tool::new(name, &prompt.tail)),
        None => Output::Text(Text::new(prompt.seed, bound, knobs)),
    };
    let usage = Usage::new(prompt.tokens, output.tokens() * choices, knobs);
    let (id, model) = (call.fingerprint(), model_json(&members));
    if flag(&members, "stream") {
        let asked = members.get("stream_options").and_then(|options| options.get("include_usage"));
        let include_usage = asked.and_then(Value::as_bool).unwrap_or(false);
        let stream = Stream { id, model, output, choices, usage, include_usage };
        return Ok(Reply::events(stream.events()));
    }
    Ok(whole(id, &model, &output, choices, &usage))
}

fn whole(id: u64, model: &str, output: &Output, choices: u64, usage: &Usage) -> Reply {
    let message = output.message();
    let finish = output.finish_reason();
    let choices: Vec<String> = (0..choices)
        .map(|index| {
            format!(
                r#"{{"index":{index},"message":{message},"logprobs":null,"finish_reason":"{finish}"}}"#
            )
        })
        .collect();
    let mut object = format!(
        r#"{{"id":"chatcmpl-{id:016x}","object":"chat.completion","created":{CREATED},"model":{model},"system_fingerprint":"fp_mock","choices":[{}]}}"#,
        choices.join(",")
    );
    usage.append(&mut object, &usage.chat());
    Reply::json(StatusCode::OK, object)
}

fn tool_name(members: &Map<String, Value>) -> Option<&str> {
    members.get("tools")?.get(0)?.get("function")?.get("name")?.as_str()
}

/// What every choice says.
#[derive(Debug)]
enum Output {
    Text(Text),
    Tool(Tool),
}

/// A call of the first offered tool with the end of the prompt, asked for by a magic word.
#[derive(Debug)]
struct Tool {
    name: Value,
    /// The arguments as JSON text, in the pieces of a stream; each counts as a token.
    pieces: Vec<String>,
}

impl Tool {
    fn new(name: &str, tail: &str) -> Self {
        let letters: Vec<char> = json!({"text": tail}).to_string().chars().collect();
        let pieces = letters.chunks(8).map(|piece| piece.iter().collect()).collect();
        Self { name: Value::from(name), pieces }
    }

    fn opening(&self, arguments: &str) -> String {
        let (name, arguments) = (&self.name, Value::from(arguments));
        format!(
            r#""id":"call_mock_0","type":"function","function":{{"name":{name},"arguments":{arguments}}}"#
        )
    }
}

impl Output {
    fn tokens(&self) -> u64 {
        match self {
            Self::Text(text) => text.tokens,
            Self::Tool(tool) => tool.pieces.len() as u64,
        }
    }

    fn finish_reason(&self) -> &'static str {
        match self {
            Self::Text(text) if text.bounded => "length",
            Self::Text(_) => "stop",
            Self::Tool(_) => "tool_calls",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Text(text) => {
                format!(r#"{{"role":"assistant","content":"{}","refusal":null}}"#, text.whole())
            }
            Self::Tool(tool) => format!(
                r#"{{"role":"assistant","content":null,"refusal":null,"tool_calls":[{{{}}}]}}"#,
                tool.opening(&tool.pieces.concat())
            ),
        }
    }

    fn first_delta(&self) -> String {
        match self {
            Self::Text(_) => r#"{"role":"assistant","content":"","refusal":null}"#.to_owned(),
            Self::Tool(tool) => format!(
                r#"{{"role":"assistant","content":null,"tool_calls":[{{"index":0,{}}}]}}"#,
                tool.opening("")
            ),
        }
    }

    fn delta(&self, position: u64) -> String {
        match self {
            Self::Text(text) => format!(r#"{{"content":"{}"}}"#, text.token(position)),
            Self::Tool(tool) => {
                let at = usize::try_from(position).unwrap_or(usize::MAX);
                let piece = tool.pieces.get(at).map_or("", String::as_str);
                format!(
                    r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":{}}}}}]}}"#,
                    Value::from(piece)
                )
            }
        }
    }
}

/// A streamed answer: per choice a role, one chunk per token, a finish; then usage and `[DONE]`.
#[derive(Debug)]
struct Stream {
    id: u64,
    model: String,
    output: Output,
    choices: u64,
    usage: Usage,
    include_usage: bool,
}

impl Stream {
    fn events(self) -> impl Iterator<Item = String> + Send {
        let (choices, tokens) = (self.choices, self.output.tokens());
        let usages = if self.include_usage { self.usage.repeats() } else { 0 };
        let this = Arc::new(self);
        let (first, middle, finish, last) =
            (Arc::clone(&this), Arc::clone(&this), Arc::clone(&this), this);
        let roles = (0..choices)
            .map(move |index| first.choice(index, &first.output.first_delta(), "null", 0));
        let deltas = (0..tokens * choices).map(move |step| {
            let delta = middle.output.delta(step / choices);
            middle.choice(step % choices, &delta, "null", step + 1)
        });
        let ends = (0..choices).map(move |index| {
            let reason = format!("\"{}\"", finish.output.finish_reason());
            finish.choice(index, "{}", &reason, tokens * choices)
        });
        let usage = (0..usages).map(move |_| last.chunk("", &last.usage.chat()));
        roles.chain(deltas).chain(ends).chain(usage).chain(iter::once(DONE.to_owned()))
    }

    fn choice(&self, index: u64, delta: &str, reason: &str, produced: u64) -> String {
        let choice = format!(
            r#"{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{reason}}}"#
        );
        if self.usage.on_every_chunk() {
            return self.chunk(&choice, &self.usage.with_output(produced).chat());
        }
        self.chunk(&choice, if self.include_usage { "null" } else { "" })
    }

    fn chunk(&self, choices: &str, usage: &str) -> String {
        let (id, model) = (self.id, &self.model);
        let name = if usage.is_empty() { "" } else { ",\"usage\":" };
        format!(
            "data: {{\"id\":\"chatcmpl-{id:016x}\",\"object\":\"chat.completion.chunk\",\"created\":{CREATED},\"model\":{model},\"system_fingerprint\":\"fp_mock\",\"choices\":[{choices}]{name}{usage}}}\n\n"
        )
    }
}

const DONE: &str = "data: [DONE]\n\n";
/// A fixed time of creation, so that the same request has the same answer.
const CREATED: u64 = 1_750_000_000;
const CHOICES_MAX: u64 = 128;
