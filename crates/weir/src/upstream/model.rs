//! OpenAI's model list: `GET …/v1/models` and `GET …/v1/models/{id}`.

use http::StatusCode;
use serde_json::{Value, json};

use crate::upstream::call::Call;
use crate::upstream::reply::Reply;

/// Answers for the list and for one model of any name; none for other paths.
pub(crate) fn reply(call: &Call) -> Option<Reply> {
    let path = call.path();
    if path.ends_with("/v1/models") {
        let data: Vec<Value> = MODELS.iter().map(|id| describe(id)).collect();
        let list = json!({"object": "list", "data": data});
        return Some(Reply::json(StatusCode::OK, list.to_string()));
    }
    let (_, id) = path.rsplit_once("/v1/models/")?;
    Some(Reply::json(StatusCode::OK, describe(id).to_string()))
}

fn describe(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": 1_750_000_000, "owned_by": "mock"})
}

const MODELS: [&str; 4] = ["llama-3-8b", "llama-3-70b", "mixtral-8x7b", "text-embedding-3-small"];
