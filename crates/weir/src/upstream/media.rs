//! Images, video, speech, and files of any length.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

use crate::upstream::call::{Call, count};
use crate::upstream::knobs::Knobs;
use crate::upstream::reply::Reply;
use crate::upstream::text::Prompt;
use crate::upstream::usage::Usage;

/// OpenAI's `POST …/images/generations`.
///
/// # Errors
///
/// A sentence about the member that a real upstream would refuse.
pub(crate) fn openai_images(call: &Call, knobs: &Knobs) -> Result<Reply, String> {
    let members = call.json()?;
    let data = images(call, &members)?;
    let per_image = 1_056;
    let output = knobs.tokens.unwrap_or(per_image * data.len() as u64);
    let usage = Usage::new(prompt(&members)?.tokens, output, knobs);
    let mut object = json!({"created": 1_750_000_000, "data": data}).to_string();
    usage.append(&mut object, &usage.response());
    Ok(Reply::json(StatusCode::OK, object))
}

/// `POST …/text-to-image`, `…/text-to-video`, `…/text-to-speech`; none for other paths.
pub(crate) fn generated(call: &Call, knobs: &Knobs) -> Option<Result<Reply, String>> {
    let units = match call.last_segment() {
        "text-to-image" => "images",
        "text-to-video" => "seconds",
        "text-to-speech" => "characters",
        _ => return None,
    };
    Some(product(call, knobs, units))
}

fn product(call: &Call, knobs: &Knobs, units: &str) -> Result<Reply, String> {
    let members = call.json()?;
    let id = call.fingerprint();
    let (amount, output) = match units {
        "images" => {
            let images = images(call, &members)?;
            (images.len() as u64, json!({"images": images}))
        }
        "seconds" => {
            let seconds = count(&members, "seconds")?.unwrap_or(5);
            let url = format!("https://media.example/{id:016x}.mp4");
            (seconds, json!({"video": {"url": url, "seconds": seconds}}))
        }
        _ => {
            let letters = prompt(&members)?.tokens * 4;
            let url = format!("https://media.example/{id:016x}.mp3");
            (letters, json!({"audio": {"url": url, "format": "mp3"}}))
        }
    };
    let mut object =
        json!({"id": format!("gen-{id:016x}"), "status": "succeeded", "output": output})
            .to_string();
    let usage = Usage::new(0, knobs.tokens.unwrap_or(amount), knobs);
    usage.append(&mut object, &usage.units(units));
    Ok(Reply::json(StatusCode::OK, object))
}

fn images(call: &Call, members: &Map<String, Value>) -> Result<Vec<Value>, String> {
    let images = count(members, "n")?.unwrap_or(1);
    if images > IMAGES_MAX {
        return Err(format!("`n` is above {IMAGES_MAX}"));
    }
    prompt(members)?;
    let id = call.fingerprint();
    let url = |image| format!("https://media.example/{id:016x}-{image}.png");
    Ok((0..images).map(|image| json!({"url": url(image)})).collect())
}

fn prompt(members: &Map<String, Value>) -> Result<Prompt, String> {
    let texts = ["prompt", "text", "input"].iter().filter_map(|name| members.get(*name));
    let text = texts.into_iter().find(|text| text.is_string());
    text.map(Prompt::read).ok_or_else(|| "`prompt` is missing".to_owned())
}

/// `GET …/files/N`: N bytes that count from 0 to 250 and begin again, streamed.
pub(crate) fn file(call: &Call) -> Option<Reply> {
    let (folder, length) = call.path().rsplit_once('/')?;
    let length: u64 = length.parse().ok().filter(|_| folder.ends_with("/files"))?;
    if length > FILE_BYTES_MAX {
        return None;
    }
    let block_bytes = BLOCK.len() as u64;
    let chunks = (0..length.div_ceil(block_bytes)).map(move |number| {
        let left = length - number * block_bytes;
        BLOCK.slice(..usize::try_from(left).map_or(BLOCK.len(), |left| left.min(BLOCK.len())))
    });
    Some(Reply::bytes(length, chunks))
}

/// A multiple of 251 bytes, so that the count goes on from block to block.
static BLOCK: LazyLock<Bytes> = LazyLock::new(|| (0..=250).cycle().take(251 * 256).collect());

const IMAGES_MAX: u64 = 10;
const FILE_BYTES_MAX: u64 = 64 << 20;
