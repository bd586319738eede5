//! Which answer a method and path get.

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::upstream::call::Call;
use crate::upstream::knobs::Knobs;
use crate::upstream::reply::{Content, ErrorShape, Reply};
use crate::upstream::resource::Store;
use crate::upstream::stats::{Stats, Visit};
use crate::upstream::{chat, completion, embedding, media, message, model, resource, response};

/// What lives as long as the process: counts and stored resources.
#[derive(Debug, Default)]
pub(crate) struct State {
    stats: Arc<Stats>,
    store: Store,
}

impl State {
    /// Counts a request at its head, unless it only asks about the counts.
    pub(crate) fn visit(&self, path: &str) -> Visit {
        if path.starts_with(INTROSPECTION) { Visit::uncounted() } else { self.stats.enter(path) }
    }

    /// Keeps a request to be shown as the last one, unless it only asks about the counts.
    pub(crate) fn remember(&self, call: &Arc<Call>) {
        if !call.path().starts_with(INTROSPECTION) {
            self.stats.remember(call);
        }
    }
}

/// The answer to a request, with the ordered status in place of its own.
pub(crate) fn reply(state: &State, call: &Call, knobs: &Knobs) -> Reply {
    if let Some(rest) = call.path().strip_prefix(INTROSPECTION) {
        return introspect(state, &call.method, rest);
    }
    match knobs.status {
        Some(status) if status.as_u16() >= 400 => {
            let message = format!("the mock was told to answer {}", status.as_u16());
            error_shape(call.path()).reply(status, &message)
        }
        Some(status) => Reply { status, ..plain(state, call, knobs) },
        None => plain(state, call, knobs),
    }
}

/// The answer to a request whose knobs cannot be read.
pub(crate) fn bad_knob(path: &str, message: &str) -> Reply {
    error_shape(path).reply(StatusCode::BAD_REQUEST, message)
}

/// The answer to a request whose body is beyond the mock's bound.
pub(crate) fn too_large(path: &str) -> Reply {
    error_shape(path).reply(StatusCode::PAYLOAD_TOO_LARGE, "the body exceeds 64 MiB")
}

fn plain(state: &State, call: &Call, knobs: &Knobs) -> Reply {
    let generated = match call.method {
        Method::POST => generate(call, knobs),
        Method::GET | Method::HEAD => model::reply(call).or_else(|| media::file(call)).map(Ok),
        _ => None,
    };
    match generated {
        Some(Ok(reply)) => reply,
        Some(Err(message)) => error_shape(call.path()).reply(StatusCode::BAD_REQUEST, &message),
        None => resource::reply(&state.store, call),
    }
}

/// The AI calls, known by how their path ends, so that an upstream may have any base path.
fn generate(call: &Call, knobs: &Knobs) -> Option<Result<Reply, String>> {
    let path = call.path();
    let is = |end: &str| path.ends_with(end);
    Some(if is("/chat/completions") || is("/chat") {
        chat::reply(call, knobs)
    } else if is("/completions") {
        completion::reply(call, knobs)
    } else if is("/embeddings") {
        embedding::reply(call, knobs)
    } else if is("/v1/responses") {
        response::reply(call, knobs)
    } else if is(MESSAGES) {
        message::reply(call, knobs)
    } else if is("/images/generations") {
        media::openai_images(call, knobs)
    } else {
        return media::generated(call, knobs);
    })
}

fn introspect(state: &State, method: &Method, rest: &str) -> Reply {
    match (method, rest) {
        (&Method::GET, "stats") => Reply::json(StatusCode::OK, state.stats.report().to_string()),
        (&Method::POST, "reset") => {
            state.stats.reset();
            state.store.clear();
            Reply::empty(StatusCode::NO_CONTENT)
        }
        _ => Reply {
            content: Content::Whole("GET /__mock/stats, POST /__mock/reset\n".into()),
            ..Reply::empty(StatusCode::NOT_FOUND)
        },
    }
}

fn error_shape(path: &str) -> ErrorShape {
    if path.ends_with(MESSAGES) { ErrorShape::Anthropic } else { ErrorShape::OpenAi }
}

const INTROSPECTION: &str = "/__mock/";
const MESSAGES: &str = "/v1/messages";
