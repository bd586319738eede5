//! OpenAI's legacy completions: `POST …/completions`.

use std::iter;

use http::StatusCode;
use serde_json::Value;

use crate::upstream::call::{Call, count, flag, model_json};
use crate::upstream::knobs::Knobs;
use crate::upstream::reply::Reply;
use crate::upstream::text::{Prompt, Text};
use crate::upstream::usage::Usage;

/// Answers a completion call, one choice per `n`.
///
/// # Errors
///
/// A sentence about the member that a real upstream would refuse.
pub(crate) fn reply(call: &Call, knobs: &Knobs) -> Result<Reply, String> {
    let members = call.json()?;
    let prompt = Prompt::read(members.get("prompt").ok_or("`prompt` is missing")?);
    // OpenAI's own default here is 16.
    let bound = count(&members, "max_tokens")?.unwrap_or(16);
    let choices = count(&members, "n")?.unwrap_or(1);
    if choices > 128 {
        return Err("`n` is above 128".to_owned());
    }
    let text = Text::new(prompt.seed, Some(bound), knobs);
    let usage = Usage::new(prompt.tokens, text.tokens * choices, knobs);
    let head = format!(
        r#""id":"cmpl-{:016x}","object":"text_completion","created":1750000000,"model":{}"#,
        call.fingerprint(),
        model_json(&members)
    );
    let reason = if text.bounded { "\"length\"" } else { "\"stop\"" };
    if !flag(&members, "stream") {
        let whole = text.whole();
        let listed: Vec<String> = (0..choices).map(|index| choice(index, &whole, reason)).collect();
        let mut object = format!(r#"{{{head},"choices":[{}]}}"#, listed.join(","));
        usage.append(&mut object, &usage.chat());
        return Ok(Reply::json(StatusCode::OK, object));
    }
    let asked = members.get("stream_options").and_then(|options| options.get("include_usage"));
    let asked = asked.and_then(Value::as_bool).unwrap_or(false);
    let final_usage = format!("data: {{{head},\"choices\":[],\"usage\":{}}}\n\n", usage.chat());
    let tokens = text.tokens * choices;
    let usages = if asked { usage.repeats() } else { 0 };
    let deltas = (0..tokens).map(move |step| {
        let reason = if step + choices >= tokens { reason } else { "null" };
        let part = choice(step % choices, &text.token(step / choices).to_string(), reason);
        let usage = if usage.on_every_chunk() {
            format!(",\"usage\":{}", usage.with_output(step + 1).chat())
        } else {
            String::new()
        };
        format!("data: {{{head},\"choices\":[{part}]{usage}}}\n\n")
    });
    let last = (0..usages).map(move |_| final_usage.clone());
    Ok(Reply::events(deltas.chain(last).chain(iter::once("data: [DONE]\n\n".to_owned()))))
}

fn choice(index: u64, text: &str, reason: &str) -> String {
    format!(r#"{{"text":"{text}","index":{index},"logprobs":null,"finish_reason":{reason}}}"#)
}
