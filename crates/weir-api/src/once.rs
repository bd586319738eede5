//! What moves money keeps its answer in the commit of its effect, so that a repeated request finds
//! it even if the process dies right behind it.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::Serialize;
use serde_json::{Map, Value};
use weir_engine::idempotency::{Answering, Claim, Kept};

use crate::answer::made;
use crate::settings::App;

/// The claimed `Idempotency-Key` of a request that has one.
#[derive(Debug)]
pub(crate) struct Once(Option<Claim>);

/// Marks a response whose answer is kept already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptWithEffect;

impl FromRequestParts<App> for Once {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.remove::<Claim>()))
    }
}

impl Once {
    /// What the engine is to keep with the effect `T`, which is shown as `shape` says: the same
    /// as [`made_once`] answers.
    pub(crate) fn answering<T, S: Serialize>(
        self,
        shape: impl FnOnce(&T) -> S + Send + 'static,
    ) -> Option<Answering<T>> {
        let claim = self.0?;
        Some(Answering::new(claim, move |effect| {
            let body = serde_json::to_vec(&shape(effect)).unwrap_or_default();
            let json = Value::from("application/json");
            let headers = Map::from_iter([(CONTENT_TYPE.to_string(), json)]);
            Kept { status: StatusCode::CREATED.as_u16(), headers, body: Some(body) }
        }))
    }
}

/// As [`made`], with its answer kept already if the request had a key.
pub(crate) fn made_once<T: Serialize>(body: &T) -> Response {
    let mut response = made(body);
    response.extensions_mut().insert(KeptWithEffect);
    response
}
