//! One request as the mock received it.

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use serde_json::{Map, Value};

use crate::upstream::text::hash;

/// A received request, kept whole: answers are made from it, and `/__mock/stats` shows the last.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// The path as it came, without the query.
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The target as it came: path and query.
    pub(crate) fn target(&self) -> &str {
        self.uri.path_and_query().map_or("*", |target| target.as_str())
    }

    /// The last segment of the path.
    pub(crate) fn last_segment(&self) -> &str {
        self.path().rsplit('/').next().unwrap_or_default()
    }

    /// An id that depends on nothing but path and body.
    pub(crate) fn fingerprint(&self) -> u64 {
        hash(self.path().as_bytes()) ^ hash(&self.body).rotate_left(1)
    }

    /// The body as a JSON object.
    ///
    /// # Errors
    ///
    /// A sentence that says what the body is instead.
    pub(crate) fn json(&self) -> Result<Map<String, Value>, String> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Err("the body is JSON, but not an object".to_owned()),
            Err(error) => Err(format!("the body is not JSON: {error}")),
        }
    }
}

/// A member that is a count, when it is there and not null.
///
/// # Errors
///
/// A sentence that names the member, when it is anything but a positive integer.
pub(crate) fn count(members: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(count) if count > 0 => Ok(Some(count)),
            _ => Err(format!("`{name}` is not a positive integer")),
        },
    }
}

/// A member that is a flag; anything but `true` is `false`.
pub(crate) fn flag(members: &Map<String, Value>, name: &str) -> bool {
    members.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// The `model` as JSON text, quotes included; `"mock"` when the request names none.
pub(crate) fn model_json(members: &Map<String, Value>) -> String {
    match members.get("model") {
        Some(Value::String(model)) => Value::from(model.as_str()).to_string(),
        _ => "\"mock\"".to_owned(),
    }
}
