//! OpenAI's embeddings: `POST …/embeddings`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::Value;

use crate::upstream::call::{Call, count, model_json};
use crate::upstream::knobs::Knobs;
use crate::upstream::reply::Reply;
use crate::upstream::text::{Prompt, hash};
use crate::upstream::usage::Usage;

/// Answers an embedding call: one vector per input, as floats or base64.
///
/// # Errors
///
/// A sentence about the member that a real upstream would refuse.
pub(crate) fn reply(call: &Call, knobs: &Knobs) -> Result<Reply, String> {
    let members = call.json()?;
    let input = members.get("input").ok_or("`input` is missing")?;
    let dimensions = count(&members, "dimensions")?.unwrap_or(16);
    if dimensions > DIMENSIONS_MAX {
        return Err(format!("`dimensions` is above {DIMENSIONS_MAX}"));
    }
    let in_base64 = members.get("encoding_format").and_then(Value::as_str) == Some("base64");
    let inputs = match input {
        Value::Array(items) if items.iter().any(|item| !item.is_number()) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let vectors: Vec<String> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(Prompt::read(input).seed, dimensions, in_base64);
            format!(r#"{{"object":"embedding","index":{index},"embedding":{vector}}}"#)
        })
        .collect();
    let mut object = format!(
        r#"{{"object":"list","data":[{}],"model":{}}}"#,
        vectors.join(","),
        model_json(&members)
    );
    let usage = Usage::new(Prompt::read(input).tokens, 0, knobs);
    usage.append(&mut object, &usage.embedding());
    Ok(Reply::json(StatusCode::OK, object))
}

/// Multiples of 1/128 between -1 and 1, which floats hold exactly.
fn vector(seed: u64, dimensions: u64, in_base64: bool) -> String {
    let values = (0..dimensions).map(|dimension| {
        let [byte, ..] = hash(&(seed ^ dimension).to_le_bytes()).to_le_bytes();
        f32::from(i16::from(byte) - 128) / 128.0
    });
    if in_base64 {
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        return format!("\"{}\"", STANDARD.encode(bytes));
    }
    let texts: Vec<String> = values.map(|value| value.to_string()).collect();
    format!("[{}]", texts.join(","))
}

const DIMENSIONS_MAX: u64 = 4096;
