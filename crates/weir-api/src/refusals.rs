//! Which errors an operation can answer with, worked out from what the operation is.
//!
//! What only a handler knows, it says itself: a response with an error's status whose description
//! is the names of codes, `responses((status = 402, description = "insufficient_credits"))`.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::response::Response;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use weir_engine::operator::Role;
use weir_wire::error::Code;

use crate::permit::role_needed;

/// Writes every error that an operation can answer with into its responses.
pub(crate) fn declare(operation: &mut Operation, method: &Method, path: &str) {
    let mut codes = expected(operation, method, path);
    let responses = &mut operation.responses.responses;
    responses.retain(|status, response| {
        let is_error = status.starts_with(['4', '5']);
        if let (true, RefOr::T(response)) = (is_error, response) {
            codes.extend(response.description.split(", ").filter_map(Code::by_name));
        }
        !is_error
    });
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(code);
    }
    for (status, codes) in by_status {
        responses.insert(status.to_string(), RefOr::T(document(&codes)));
    }
    let shows = responses.get("200").is_some_and(|shown| match shown {
        RefOr::T(shown) => shown.content.contains_key("application/json"),
        RefOr::Ref(_) => false,
    });
    if *method == Method::GET && shows {
        let known = ResponseBuilder::new().description("It is as the client knows it.").build();
        responses.insert("304".to_owned(), RefOr::T(known));
    }
}

fn expected(operation: &Operation, method: &Method, path: &str) -> BTreeSet<Code> {
    let mut codes = BTreeSet::from([Code::InternalError]);
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let parameters = || {
        parameters.iter().filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        })
    };
    let placed = |place: ParameterIn| parameters().any(|one| one.parameter_in == place);
    let header = |name: &str| parameters().any(|one| one.name == name);
    if placed(ParameterIn::Path) {
        codes.insert(Code::NotFound);
    }
    if placed(ParameterIn::Query) {
        codes.insert(Code::InvalidRequest);
    }
    if header("If-Match") {
        codes.insert(Code::PreconditionFailed);
    }
    if operation.request_body.is_some() || header("Idempotency-Key") {
        codes.extend([Code::InvalidRequest, Code::RequestTimeout, Code::RequestTooLarge]);
    }
    if operation.request_body.as_ref().is_some_and(|body| match body {
        RefOr::T(body) => body.content.contains_key("application/json"),
        RefOr::Ref(_) => true,
    }) {
        codes.insert(Code::UnsupportedMediaType);
    }
    if header("Idempotency-Key") {
        codes.extend([Code::IdempotencyInProgress, Code::IdempotencyMismatch]);
    }
    if !method.is_safe() {
        codes.extend([Code::Conflict, Code::StoreUnavailable]);
    }
    let security = operation.security.as_deref().unwrap_or_default();
    let keyless = security.iter().filter(|one| **one == SecurityRequirement::default()).count();
    if keyless == 0 {
        codes.insert(Code::MissingKey);
    }
    if keyless == security.len() {
        return codes;
    }
    if path.starts_with("/admin/") {
        codes.insert(Code::InvalidKey);
        if role_needed(method, path).0 > Role::Viewer {
            codes.insert(Code::Forbidden);
        }
    } else {
        codes.extend([Code::InvalidKey, Code::ExpiredKey, Code::RevokedKey]);
        codes.extend([Code::AddressForbidden, Code::RateLimitExceeded]);
        if placed(ParameterIn::Path) {
            // The data plane's listener refuses paths that could be read two ways.
            codes.insert(Code::InvalidRequest);
        }
        if !method.is_safe() {
            codes.extend([Code::KeyTypeForbidden, Code::AccountSuspended]);
            if path.contains("/webhooks/") {
                codes.insert(Code::InsufficientScope);
            }
        }
    }
    codes
}

/// One status with the codes that it can have.
fn document(codes: &[Code]) -> Response {
    let means = codes.iter().map(|code| format!("`{}`: {}.", code.name(), code.entry().title));
    let content =
        ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("Error")))).build();
    ResponseBuilder::new()
        .description(means.collect::<Vec<_>>().join(" "))
        .content("application/problem+json", content)
        .build()
}
