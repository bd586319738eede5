//! Answers: resources with their ETag, lists, what was made.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use weir_core::time::Timestamp;

use crate::problem::Problem;
use crate::time::{http_date, parse_http_date};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// What is on the page.
    pub(crate) data: Vec<T>,
    /// Where the next page begins; `null`: this is the last one.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// How many at most; 50 if left out.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// A resource as it stands.
#[derive(Debug)]
pub(crate) struct Shown<T> {
    /// What is shown.
    pub(crate) body: T,
    /// How often it was changed, where that is counted.
    pub(crate) revision: Option<u64>,
    /// When it was last changed, where that is known.
    pub(crate) changed_at: Option<Timestamp>,
}

/// Kept under the idempotency key instead of the answer itself, which holds a secret.
#[derive(Clone, Debug)]
pub(crate) struct KeptBody(pub(crate) Vec<u8>);

impl Paging {
    /// How many, and after which.
    ///
    /// # Errors
    ///
    /// [`Problem`] for a limit out of range or a cursor that is none.
    pub(crate) fn read<T: std::str::FromStr>(&self) -> Result<(usize, Option<T>), Problem> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::invalid("limit", format!("it must be from 1 to {LIMIT_MAX}")));
        }
        let after = self.cursor.as_deref().map(str::parse).transpose();
        let after = after.map_err(|_| {
            Problem::invalid("cursor", "it must be the next_cursor of the page before")
        })?;
        Ok((usize::try_from(limit).unwrap_or(1), after))
    }
}

impl<T> Page<T> {
    /// A page of at most `limit` of `items`, of which there is one more if there is a next page.
    pub(crate) fn of(mut items: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { items.last().map(cursor) } else { None };
        Self { data: items, next_cursor }
    }

    /// The same page of other items.
    pub(crate) fn map<U>(self, map: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(map).collect(), next_cursor: self.next_cursor }
    }
}

impl<T: Serialize> Shown<T> {
    /// Something that has no revision of its own.
    pub(crate) fn plain(body: T) -> Self {
        Self { body, revision: None, changed_at: None }
    }

    /// As the answer to a GET: 304 if the client has it already.
    pub(crate) fn answer(self, asked: &HeaderMap, now: Timestamp) -> Response {
        let (bytes, headers) = match self.parts(now) {
            Ok(parts) => parts,
            Err(problem) => return problem.into_response(),
        };
        if is_known(asked, &headers, self.changed_at) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, [(CONTENT_TYPE, JSON)], bytes).into_response()
    }

    /// As the answer to a change.
    pub(crate) fn changed(self, now: Timestamp) -> Response {
        match self.parts(now) {
            Ok((bytes, headers)) => (headers, [(CONTENT_TYPE, JSON)], bytes).into_response(),
            Err(problem) => problem.into_response(),
        }
    }

    /// As the answer to a POST that made it.
    pub(crate) fn created(self, location: &str, now: Timestamp) -> Response {
        let mut response = self.changed(now);
        if response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::CREATED;
            if let Ok(location) = HeaderValue::from_str(location) {
                response.headers_mut().insert(LOCATION, location);
            }
        }
        response
    }

    fn parts(&self, now: Timestamp) -> Result<(Vec<u8>, HeaderMap), Problem> {
        let bytes = serde_json::to_vec(&self.body).map_err(|why| Problem::internal(&why))?;
        let digest = hex::encode(&Sha256::digest(&bytes)[..8]);
        let tag = match self.revision {
            Some(revision) => format!("\"{revision}.{digest}\""),
            None => format!("\"{digest}\""),
        };
        let mut headers = HeaderMap::new();
        let mut put = |name, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put(ETAG, &tag);
        // Told only once its second is over, so that nothing can change under the same date.
        if let Some(at) = self.changed_at.filter(|at| at.secs_ceil() < now.secs_ceil()) {
            put(LAST_MODIFIED, &http_date(at));
        }
        Ok((bytes, headers))
    }
}

/// A new thing that no address shows by itself.
pub(crate) fn made<T: Serialize>(body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (StatusCode::CREATED, [(CONTENT_TYPE, JSON)], bytes).into_response(),
        Err(why) => Problem::internal(&why).into_response(),
    }
}

/// RFC 9110, 13.2.2: If-None-Match decides alone where it is present.
fn is_known(asked: &HeaderMap, ours: &HeaderMap, changed_at: Option<Timestamp>) -> bool {
    let tag = ours.get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    let mut any_tags = false;
    for value in asked.get_all(IF_NONE_MATCH) {
        any_tags = true;
        let named = value.to_str().unwrap_or_default();
        let matches = |known: &str| known == "*" || known.trim_start_matches("W/") == tag;
        if named.split(',').map(str::trim).any(matches) {
            return true;
        }
    }
    if any_tags {
        return false;
    }
    let since = asked.get(IF_MODIFIED_SINCE).and_then(|since| since.to_str().ok());
    match (since.and_then(parse_http_date), changed_at) {
        (Some(since), Some(changed_at)) => changed_at.secs_ceil() <= since,
        _ => false,
    }
}

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
