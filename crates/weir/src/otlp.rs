//! Calls as spans of OpenTelemetry, sent by OTLP over HTTP (feature `otlp`).
//!
//! Switched on and set up by the standard variables `OTEL_EXPORTER_OTLP_ENDPOINT` (or
//! `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`), `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME` and
//! `OTEL_RESOURCE_ATTRIBUTES`. A span is made of what the log tells of an answered call; its parent
//! is the one in the call's `traceparent`, which the upstream gets as it came.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context as LayerContext;

/// Sends what is left when dropped.
pub(crate) struct Exporting(SdkTracerProvider);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_MAX) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// The layer that makes spans, if the environment names where they go.
///
/// # Errors
///
/// The environment names a place that nothing can be sent to.
pub(crate) fn layer<S>() -> anyhow::Result<Option<(impl Layer<S>, Exporting)>>
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    if !PLACES.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_http().with_http_client(Client::new()).build()?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("weir");
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let spans = Spans { tracer: provider.tracer("weir") };
    Ok(Some((spans.with_filter(filter_fn(is_answered)), Exporting(provider))))
}

/// Whether this is the line of the log that tells of an answered call.
fn is_answered(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "weir_gate::pipeline" && *metadata.level() == Level::DEBUG
}

struct Spans {
    tracer: SdkTracer,
}

impl<S: Subscriber> Layer<S> for Spans {
    fn on_event(&self, event: &Event<'_>, _context: LayerContext<'_, S>) {
        let mut call = Call::default();
        event.record(&mut call);
        if !call.answered {
            return;
        }
        let ended = now();
        let began = ended.checked_sub(Duration::from_millis(call.latency_ms)).unwrap_or(ended);
        let name = call.route.unwrap_or_else(|| "unrouted".to_owned());
        let span = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_start_time(began)
            .with_attributes(call.attributes);
        let parent = call.traceparent.as_deref().and_then(parent_of);
        let context = parent
            .map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let mut span = self.tracer.build_with_context(span, &context);
        if call.failed {
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(ended);
    }
}

/// What a line of the log tells.
#[derive(Default)]
struct Call {
    answered: bool,
    failed: bool,
    latency_ms: u64,
    route: Option<String>,
    traceparent: Option<String>,
    attributes: Vec<KeyValue>,
}

impl Visit for Call {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "latency_ms" => self.latency_ms = value,
            "status" => {
                self.failed = value >= 500;
                let status = i64::try_from(value).unwrap_or(0);
                self.attributes.push(KeyValue::new("http.response.status_code", status));
            }
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let name = match field.name() {
            "traceparent" => {
                self.traceparent = Some(value.to_owned());
                return;
            }
            "route" => {
                self.route = Some(value.to_owned());
                "http.route"
            }
            "request_id" => "weir.request_id",
            "key_id" => "weir.key_id",
            "account_id" => "weir.account_id",
            "plan" => "weir.plan",
            "class" => "weir.class",
            "upstream" => "weir.upstream",
            "decision" => "weir.decision",
            _ => return,
        };
        self.attributes.push(KeyValue::new(name, value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.answered = text == "answered",
            _ => self.record_str(field, &text),
        }
    }
}

/// The span that a `traceparent` names (W3C Trace Context, version 00).
fn parent_of(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version == "ff" || version == "00" && parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let parent = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    parent.is_valid().then_some(parent)
}

/// What carries spans to a collector, on the exporter's own thread.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(SEND_MAX))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        Self(config.into())
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.0.run(request.map(Vec::from))?;
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}

#[expect(clippy::disallowed_methods, reason = "spans carry the time of the machine, as logs do")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Variables that name where spans go.
const PLACES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How long a collector may take for one batch.
const SEND_MAX: Duration = Duration::from_secs(10);
/// How long the last spans may take at the end.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// The longest answer of a collector that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_from_a_sound_traceparent_only() {
        let parent = parent_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(parent.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span_id().to_string(), "00f067aa0ba902b7");
        assert!(parent.is_sampled() && parent.is_remote());
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-zz",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(parent_of(text).is_none(), "{text}");
        }
    }
}
