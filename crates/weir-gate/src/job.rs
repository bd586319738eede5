//! One admitted call on its way to an upstream and back: it is settled whatever becomes of the
//! client.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::{Body, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};
use weir_core::admit::Views;
use weir_core::ledger::Flags;
use weir_core::money::Nano;
use weir_core::time::{Span, Timestamp};
use weir_core::usage::Usage;
use weir_engine::clock::instant;
use weir_engine::ticket::{Keep, Outcome, Settled, Ticket, Voided};
use weir_wire::error::Code;

use crate::answer::{Answer, AnswerBody};
use crate::duty::{Duty, Facts, chain};
use crate::head::strip_upstream_headers;
use crate::idempotency::{Once, answer_again};
use crate::intake::body_failure;
use crate::limit_headers;
use crate::names;
use crate::out_body::{Fault, OutBody};
use crate::refuse::{Dialect, Failure};
use crate::relay;
use crate::tally::{Shape, Tally, rewrite_usage_cost};
use crate::upstream::{Upstream, UpstreamBody, UpstreamError};

/// One admitted call.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) facts: Facts,
    pub(crate) duty: Duty,
    pub(crate) upstream: Arc<Upstream<OutBody>>,
}

impl Job {
    /// Makes the call and answers with its head and body. `gone` resolves when the client goes,
    /// where that ends the call.
    ///
    /// What seldom happens is boxed: every call carries the room for what it may await.
    pub(crate) async fn run(
        mut self: Box<Self>,
        request: Request<OutBody>,
        gone: Option<oneshot::Receiver<()>>,
    ) -> Result<Answer, Failure> {
        if let Some(once) = self.facts.once.clone()
            && let Some(again) = Box::pin(self.claim(&once)).await?
        {
            return Ok(again);
        }
        let called = instant();
        self.facts.meters.overhead.observe(called.duration_since(self.facts.arrived));
        let sending = self.upstream.send(request, &self.duty.mark);
        let stops = gone.is_some();
        let sent = tokio::select! {
            sent = sending => sent,
            () = told(gone), if stops => return Err(self.client_went()),
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Err(Box::pin(self.failed(&error)).await),
        };
        self.facts.meters.upstream.observe(instant().duration_since(called));
        let (mut head, body) = response.into_parts();
        strip_upstream_headers(head.status, &mut head.headers);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked for it: `Upgrade` is never passed on.
            let error = std::io::Error::other("it switches protocols unasked");
            let nothing = Tally::new(Shape::None);
            return Err(Box::pin(self.broke(nothing, StatusCode::BAD_GATEWAY, &error)).await);
        }
        let carrier = self.facts.usage_header.as_deref();
        let reported = carrier.and_then(|name| head.headers.get(name)).cloned();
        let mut tally = Tally::new(self.facts.shape.clone());
        tally.header(reported.as_ref().map(http::HeaderValue::as_bytes));
        let head = Response::from_parts(head, ());
        if has_media(head.headers(), "text/event-stream") && head.status().is_success() {
            return Ok(self.stream(head, body, tally));
        }
        self.body(head, body, tally).await
    }

    /// Takes the idempotency key; the first answer again if the call is not to be made.
    async fn claim(&mut self, once: &Once) -> Result<Option<Answer>, Failure> {
        let claimed = self.duty.claim(once).await;
        if let Ok(None) = claimed {
            return Ok(None);
        }
        let voided = self.duty.void();
        let context = self.facts.context();
        let dialect = self.facts.dialect;
        let failure = match claimed {
            Ok(Some(claimed)) => match answer_again(claimed, &context) {
                Ok(mut answer) => {
                    if let Some(Voided { views, available, at }) = &voided {
                        Standing { views, at: *at, available: *available, charge: None }.write(
                            answer.headers_mut(),
                            dialect,
                            None,
                        );
                    }
                    return Ok(Some(answer));
                }
                Err(failure) => failure,
            },
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "an idempotency key cannot be taken");
                let detail = "The Idempotency-Key cannot be recorded at the moment.";
                context.fail(Code::StoreUnavailable, detail).retry(Span::from_secs(5))
            }
        };
        Err(match voided {
            Some(Voided { views, available, at }) => {
                failure.limits(&views, dialect, at).wallet(available)
            }
            None => failure,
        })
    }

    fn client_went(&mut self) -> Failure {
        let produced = self.facts.with_input(Usage::NONE);
        let flags = Flags::CLIENT_GONE;
        let outcome = Outcome {
            produced,
            flags,
            cut: true,
            status: 499,
            latency_ms: self.facts.latency_ms(),
            request_bytes: self.facts.body_fate.bytes(),
            ..Outcome::default()
        };
        if self.duty.mark.is_set() {
            // Nobody waits for the commit any more; it goes its way.
            drop(self.duty.settle(&outcome));
        } else {
            let _nobody_asks = self.duty.void();
        }
        self.facts.context().fail(Code::InternalError, "The client went away.")
    }

    /// A call without an answer: given back if nothing was sent, else settled like a hang-up.
    async fn failed(&mut self, error: &UpstreamError) -> Failure {
        let context = self.facts.context();
        if let Some(fault) = self.facts.body_fate.fault() {
            let failure = body_failure(&context, fault, self.facts.body_bytes_max);
            return self.unanswered(failure, error.was_sent(), true).await;
        }
        let failure = match error {
            UpstreamError::Timeout { upstream, waited } => context.fail(
                Code::UpstreamTimeout,
                format!("`{upstream}` did not begin to answer within {} s.", waited.as_secs_f32()),
            ),
            UpstreamError::Upload { .. } => {
                body_failure(&context, Fault::Late, self.facts.body_bytes_max)
            }
            UpstreamError::Broke { upstream, .. } => context.fail(
                Code::UpstreamUnreachable,
                format!("`{upstream}` broke off before it began to answer."),
            ),
            UpstreamError::Unreachable { upstream, .. }
            | UpstreamError::NotSent { upstream, .. } => context.fail(
                Code::UpstreamUnreachable,
                format!("`{upstream}` cannot be reached at the moment."),
            ),
            UpstreamError::Target { .. } => {
                context.fail(Code::InvalidRequest, "The path makes no valid target.")
            }
        };
        tracing::warn!(error = %chain(error), request_id = %self.facts.request_id, "upstream failed");
        let free = !matches!(error, UpstreamError::Timeout { .. });
        self.unanswered(failure, error.was_sent(), free).await
    }

    /// Ends a call that the upstream did not answer.
    async fn unanswered(&mut self, failure: Failure, sent: bool, free: bool) -> Failure {
        if !sent {
            return match self.duty.void() {
                Some(Voided { views, available, at }) => {
                    failure.limits(&views, self.facts.dialect, at).wallet(available)
                }
                None => failure,
            };
        }
        let outcome = Outcome {
            produced: self.facts.with_input(Usage::NONE),
            free,
            cut: true,
            withheld: false,
            flags: Flags::UPSTREAM_BROKE,
            status: failure.status(),
            latency_ms: self.facts.latency_ms(),
            request_bytes: self.facts.body_fate.bytes(),
            response_bytes: 0,
            reported: None,
        };
        self.settled_failure(failure, &outcome).await
    }

    /// Settles a call that failed, and tells so when that is durable.
    async fn settled_failure(&mut self, failure: Failure, outcome: &Outcome) -> Failure {
        let outcome = Outcome { withheld: true, ..*outcome };
        let Some(settled) = self.duty.settle(&outcome) else { return failure };
        if let Some(commit) = settled.commit
            && self.facts.durable(commit).await.is_err()
        {
            return self.facts.store_failure();
        }
        failure.limits(&settled.views, self.facts.dialect, settled.at).wallet(settled.available)
    }

    fn stream(
        mut self: Box<Self>,
        head: Response<()>,
        body: UpstreamBody<OutBody>,
        tally: Tally,
    ) -> Answer {
        self.duty.checkpointed();
        let (sender, receiver) = mpsc::channel(RELAY_PIECES);
        let mut answer = head.map(|()| AnswerBody::Fed(receiver, SizeHint::default()));
        answer.headers_mut().remove(header::CONTENT_LENGTH);
        let recording = self.facts.recording(answer.status(), answer.headers());
        if let Some(ticket) = self.duty.ticket() {
            let standing = Standing {
                views: ticket.views(),
                at: ticket.at(),
                available: ticket.available(),
                charge: None,
            };
            standing.write(answer.headers_mut(), self.facts.dialect, ticket.clamped_output());
        }
        let status = answer.status();
        let begun = relay::Begun { status, tally, recording };
        let Self { facts, duty, .. } = *self;
        tokio::spawn(relay::stream(facts, duty, begun, body, sender));
        answer
    }

    /// A body that is no event stream: whole if it is small, so that the head can tell what it
    /// cost, else as it comes.
    async fn body(
        mut self: Box<Self>,
        mut head: Response<()>,
        mut body: UpstreamBody<OutBody>,
        tally: Tally,
    ) -> Result<Answer, Failure> {
        let status = head.status();
        let clamped = self.duty.ticket().and_then(Ticket::clamped_output);
        let mut collected = Collected::default();
        let mut complete = body.is_end_stream();
        let awaited = complete || self.is_awaited(&head);
        while awaited && !complete && collected.len <= WHOLE_BYTES_MAX {
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        collected.push(data);
                    }
                    complete = body.is_end_stream();
                }
                None => complete = true,
                Some(Err(error)) => {
                    let tally = collected.tallied(tally);
                    return Err(Box::pin(self.broke(tally, status, &error)).await);
                }
            }
        }
        if !complete {
            return Ok(self.relayed(head, body, tally, collected));
        }
        let Whole { mut bytes, free, mut settled } = self.settle(&head, tally, collected);
        let commit = settled.as_mut().and_then(|settled| settled.commit.take());
        if let Some(commit) = commit
            && self.facts.durable(commit).await.is_err()
        {
            return Err(self.facts.store_failure());
        }
        if let Some(settled) = settled {
            if let Some(charge) = settled.charge.filter(|_| self.facts.tell_cost) {
                bytes = rewrite_usage_cost(&bytes, &charge.to_string());
            }
            Standing {
                views: &settled.views,
                at: settled.at,
                available: settled.available,
                charge: settled.charge.filter(|_| !free),
            }
            .write(head.headers_mut(), self.facts.dialect, clamped);
        }
        if !self.facts.head_only {
            head.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Ok(head.map(|()| AnswerBody::whole(bytes)))
    }

    /// Settles a call whose answer is here whole.
    fn settle(&mut self, head: &Response<()>, mut tally: Tally, collected: Collected) -> Whole {
        let status = head.status();
        let bytes = collected.into_bytes();
        tally.whole(&bytes);
        tally.lasted(|| self.facts.latency_ms());
        let outcome = self.facts.outcome(&tally.finish(), status, Flags::default());
        let outcome = Outcome { withheld: true, ..outcome };
        if let Some(mut recording) = self.facts.recording(status, head.headers()) {
            recording.push(&bytes);
            let tell_cost = self.facts.tell_cost;
            let keep =
                move |charge| recording.finish(Some(charge).filter(|_| tell_cost), Some(charge));
            self.duty.keep(Keep::new(keep));
        }
        Whole { bytes, free: outcome.free, settled: self.duty.settle(&outcome) }
    }

    /// Whether the head waits for the body: where that is small, or may tell the charge.
    fn is_awaited(&self, head: &Response<()>) -> bool {
        if self.facts.head_only {
            return true;
        }
        match length_of(head).exact() {
            Some(length) => length <= WHOLE_BYTES_MAX as u64,
            None => self.duty.is_charged() && has_media(head.headers(), "application/json"),
        }
    }

    fn relayed(
        self: Box<Self>,
        mut head: Response<()>,
        body: UpstreamBody<OutBody>,
        tally: Tally,
        collected: Collected,
    ) -> Answer {
        let (sender, receiver) = mpsc::channel(RELAY_PIECES);
        let hint = length_of(&head);
        let status = head.status();
        let mut recording = self.facts.recording(status, head.headers());
        if let Some(recording) = &mut recording {
            collected.pieces.iter().for_each(|piece| recording.push(piece));
        }
        if let Some(ticket) = self.duty.ticket() {
            let (views, at, available) = (ticket.views(), ticket.at(), ticket.available());
            let clamped = ticket.clamped_output();
            Standing { views, at, available, charge: None }.write(
                head.headers_mut(),
                self.facts.dialect,
                clamped,
            );
        }
        let length = hint.exact();
        let begun = relay::Begun { status, tally: collected.tallied(tally), recording };
        let rest = relay::Rest { pieces: collected.pieces, length, begun, sender };
        let Self { facts, duty, .. } = *self;
        tokio::spawn(relay::body(facts, duty, body, rest));
        head.map(|()| AnswerBody::Fed(receiver, hint))
    }

    /// A body that broke off is settled like a hang-up, and the client is told.
    async fn broke(
        &mut self,
        tally: Tally,
        status: StatusCode,
        error: &(dyn std::error::Error + Send + Sync + 'static),
    ) -> Failure {
        let request_id = &self.facts.request_id;
        tracing::warn!(error = %chain(error), %request_id, "an upstream broke off its answer");
        let outcome = self.facts.cut_off(&tally.finish(), status, Flags::UPSTREAM_BROKE);
        let detail = "The service broke off its answer.";
        let failure = self.facts.context().fail(Code::UpstreamBroke, detail);
        self.settled_failure(failure, &outcome).await
    }
}

/// A whole answer, and what settling it came to.
struct Whole {
    bytes: Bytes,
    free: bool,
    settled: Option<Box<Settled>>,
}

/// What the headers of an answer tell of limits and wallet.
pub(crate) struct Standing<'a> {
    pub(crate) views: &'a Views,
    pub(crate) at: Timestamp,
    pub(crate) available: Option<Nano>,
    pub(crate) charge: Option<Nano>,
}

impl Standing<'_> {
    pub(crate) fn write(&self, headers: &mut HeaderMap, dialect: Dialect, clamped: Option<u64>) {
        limit_headers::write(headers, self.views, None, dialect == Dialect::OpenAi, self.at);
        if let Some(available) = self.available {
            limit_headers::insert(headers, &names::X_WALLET_AVAILABLE, &available.to_string());
        }
        if let Some(charge) = self.charge {
            limit_headers::insert(headers, &names::X_WEIR_CHARGE, &charge.to_string());
        }
        if let Some(clamped) = clamped {
            let text = clamped.to_string();
            limit_headers::insert(headers, &names::X_WEIR_MAX_OUTPUT_TOKENS, &text);
        }
    }
}

/// The beginning of a body, as it came.
#[derive(Default)]
struct Collected {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Collected {
    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push(piece);
    }

    /// A tally that has taken all of it.
    fn tallied(&self, mut tally: Tally) -> Tally {
        self.pieces.iter().for_each(|piece| tally.body(piece));
        tally
    }

    fn into_bytes(mut self) -> Bytes {
        if self.pieces.len() == 1 {
            return self.pieces.pop().unwrap_or_default();
        }
        self.pieces.concat().into()
    }
}

/// Waits until the client is gone; for ever where nobody will tell.
async fn told(gone: Option<oneshot::Receiver<()>>) {
    match gone {
        Some(gone) => drop(gone.await),
        None => std::future::pending().await,
    }
}

fn has_media(headers: &HeaderMap, wanted: &str) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media.is_some_and(|media| {
        let essence = media.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(wanted)
    })
}

fn length_of(head: &Response<()>) -> SizeHint {
    let length = head.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    length.map_or_else(SizeHint::default, SizeHint::with_exact)
}

/// Bodies up to this size are complete before the head leaves.
const WHOLE_BYTES_MAX: usize = 1 << 20;
/// Pieces of an answer that wait for a slow client; then its upstream waits.
const RELAY_PIECES: usize = 8;
