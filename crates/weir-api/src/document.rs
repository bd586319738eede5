//! The parts of the OpenAPI documents that no handler says by itself.

use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, Method};
use serde_json::json;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, RefOr, Required, schema::Schema};

use crate::answer::Shown;
use crate::permit::is_repeatable;
use crate::refusals;
use crate::settings::App;

/// Adds what holds for every operation: how to authenticate, how to repeat it safely, and which
/// errors it can answer with.
pub(crate) fn complete(document: &mut OpenApi) {
    let components = document.components.get_or_insert_with(Components::new);
    components.schemas.insert("Error".to_owned(), error_schema());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            // The name of a handler is unique only among its siblings.
            let family = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
            let name = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = Some(format!("{family}_{name}"));
            if operation.security.is_none() {
                let bearer = SecurityRequirement::new("bearer", Vec::<String>::new());
                operation.security = Some(vec![bearer]);
            }
            if method == Method::POST && is_repeatable(path) {
                operation.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
            }
            refusals::declare(operation, &method, path);
        }
    }
}

fn idempotency_key() -> Parameter {
    let text = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .min_length(Some(1))
        .max_length(Some(255));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A repeated request with the same key takes effect once and gets the first answer \
             again, for a day.",
        ))
        .schema(Some(text))
        .build()
}

/// Serves a document with its ETag.
pub(crate) fn served(document: OpenApi) -> MethodRouter<App> {
    get(move |State(app): State<App>, headers: HeaderMap| {
        let shown = Shown::plain(document.clone());
        async move { shown.answer(&headers, app.engine.now()) as Response }
    })
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let PathItem { get, put, post, delete, head, patch, .. } = item;
    let all = [
        (Method::GET, get),
        (Method::PUT, put),
        (Method::POST, post),
        (Method::DELETE, delete),
        (Method::HEAD, head),
        (Method::PATCH, patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn error_schema() -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    let inner = ObjectBuilder::new()
        .property("message", text())
        .property("type", text())
        .property("code", text().description(Some("The stable code.")))
        .required("message")
        .required("type")
        .required("code")
        .build();
    let schema = ObjectBuilder::new()
        .description(Some(
            "Problem details (RFC 9457) with the envelope that OpenAI's clients read.",
        ))
        .property("type", text().description(Some("A page that says what the code means.")))
        .property("title", text())
        .property("status", ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer)))
        .property("detail", text().description(Some("What happened in this case.")))
        .property("request_id", text())
        .property("help", text().description(Some("What to do.")))
        .property("support_url", text())
        .property("error", inner)
        .required("type")
        .required("title")
        .required("status")
        .required("detail")
        .required("request_id")
        .required("help")
        .required("error")
        .examples([json!({
            "type": "/weir/errors/not_found", "title": "There is no such resource", "status": 404,
            "detail": "There is no such resource.", "request_id": "req_1",
            "help": "Check the id; a resource of another account is not visible either.",
            "error": {
                "message": "There is no such resource.", "type": "not_found_error",
                "code": "not_found", "param": null,
            },
        })])
        .build();
    RefOr::T(schema.into())
}
