//! What is known of an admitted call, and the duty to settle it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use http::{HeaderMap, StatusCode};
use weir_core::ledger::Flags;
use weir_core::policy::{OnDisconnect, OnExhausted};
use weir_core::usage::{Meter, Usage};
use weir_engine::change::ChangeError;
use weir_engine::clock::instant;
use weir_engine::idempotency::Claimed;
use weir_engine::ticket::{Exhausted, Keep, Outcome, Settled, Ticket, Voided};
use weir_wire::error::Code;

use crate::idempotency::{Once, Recording};
use crate::lane::Lane;
use crate::meters::GateMeters;
use crate::out_body::BodyFate;
use crate::refuse::{Context, Dialect, Failure};
use crate::sent_mark::SentMark;
use crate::settings::Told;
use crate::tally::{Shape, Tallied};
use crate::waiting::Seat;

/// What is known of a call once it is admitted.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) meters: Arc<GateMeters>,
    /// By which it waits for its charge.
    pub(crate) lane: Arc<Lane>,
    pub(crate) request_id: String,
    pub(crate) dialect: Dialect,
    pub(crate) told: Arc<Told>,
    /// When it arrived.
    pub(crate) arrived: Instant,
    /// Where its usage is read.
    pub(crate) shape: Shape,
    /// The header that carries the usage, if one does.
    pub(crate) usage_header: Option<Box<str>>,
    /// Input tokens as estimated: what a call that broke off is charged for its prompt.
    pub(crate) input_tokens: u64,
    /// Whether Weir asked for the usage chunk, so that the client must not see it.
    pub(crate) hide_usage: bool,
    /// Whether the client wants to see the cost in the answer.
    pub(crate) tell_cost: bool,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) on_exhausted: OnExhausted,
    pub(crate) head_only: bool,
    /// What became of the client's body.
    pub(crate) body_fate: BodyFate,
    /// The most bytes that a client's body may have.
    pub(crate) body_bytes_max: u64,
    /// The idempotency key under which it is made.
    pub(crate) once: Option<Once>,
}

/// The duty to settle, together with what tells whether anything was sent.
#[derive(Debug)]
pub(crate) struct Duty {
    ticket: Option<Ticket>,
    pub(crate) mark: SentMark,
    _detached: Detached,
    /// Its place among the upstream's calls, given up when the call is over.
    _seat: Option<Seat>,
}

/// One piece of work that goes on whatever becomes of its connection; a server that ends waits
/// for all of them.
#[derive(Debug)]
pub(crate) struct Detached(Arc<AtomicUsize>);

impl Detached {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Duty {
    pub(crate) fn new(ticket: Ticket, detached: Detached, seat: Option<Seat>) -> Self {
        Self { ticket: Some(ticket), mark: SentMark::default(), _detached: detached, _seat: seat }
    }

    pub(crate) fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    pub(crate) fn checkpointed(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            ticket.checkpointed();
        }
    }

    pub(crate) fn produced(&mut self, usage: &Usage) -> Result<(), Exhausted> {
        self.ticket.as_mut().map_or(Ok(()), |ticket| ticket.produced(usage))
    }

    /// Takes an idempotency key; the answer if the call is not to be made.
    pub(crate) async fn claim(&mut self, once: &Once) -> Result<Option<Claimed>, ChangeError> {
        match &mut self.ticket {
            Some(ticket) => ticket.claim(&once.key, &once.fingerprint).await,
            None => Ok(None),
        }
    }

    /// Says how the answer is made that is kept under the idempotency key.
    pub(crate) fn keep(&mut self, keep: Keep) {
        if let Some(ticket) = &mut self.ticket {
            ticket.keep(keep);
        }
    }

    /// The output bound that must be forwarded instead of the client's, if any.
    pub(crate) fn forwarded_bound(&self) -> Option<u64> {
        self.ticket.as_ref().and_then(Ticket::clamped_output)
    }

    pub(crate) fn is_charged(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::is_charged)
    }

    /// Boxed: futures that wait for the commit do not carry it along.
    pub(crate) fn settle(&mut self, outcome: &Outcome) -> Option<Box<Settled>> {
        let mut ticket = self.ticket.take()?;
        ticket.sent();
        ticket.settle(outcome).map(Box::new)
    }

    pub(crate) fn void(&mut self) -> Option<Voided> {
        self.ticket.take().and_then(Ticket::void)
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if let Some(mut ticket) = self.ticket.take()
            && self.mark.is_set()
        {
            ticket.sent();
        }
    }
}

impl Facts {
    pub(crate) fn context(&self) -> Context<'_> {
        Context { request_id: &self.request_id, dialect: self.dialect, told: &self.told }
    }

    /// Waits until a charge is durable, or is known not to be recorded.
    pub(crate) async fn durable<T>(&self, commit: impl Future<Output = T> + Unpin) -> T {
        let began = instant();
        let outcome = self.lane.wait(commit).await;
        self.meters.commits.observe(instant().duration_since(began));
        outcome
    }

    pub(crate) fn latency_ms(&self) -> u64 {
        let passed = instant().duration_since(self.arrived).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// Usage with the prompt in it, estimated where nobody told.
    pub(crate) fn with_input(&self, usage: Usage) -> Usage {
        if usage.input() > 0 { usage } else { usage.with(Meter::InputTokens, self.input_tokens) }
    }

    /// Begins to record an answer that is to be given again.
    pub(crate) fn recording(&self, status: StatusCode, headers: &HeaderMap) -> Option<Recording> {
        let once = self.once.as_ref()?;
        Some(Recording::new(status, headers, once.body_bytes_max))
    }

    /// How a call ended whose answer had this status and came to its end.
    pub(crate) fn outcome(&self, tallied: &Tallied, status: StatusCode, flags: Flags) -> Outcome {
        let untold = tallied.input_untold && tallied.usage.is_some_and(|usage| usage.input() == 0);
        let estimated = if untold { Flags::ESTIMATED } else { Flags::default() };
        Outcome {
            reported: tallied
                .usage
                .map(|usage| if untold { self.with_input(usage) } else { usage }),
            produced: self.with_input(tallied.produced),
            free: status.as_u16() >= 400,
            cut: false,
            withheld: false,
            flags: flags.and(tallied.flags).and(estimated),
            status: status.as_u16(),
            latency_ms: self.latency_ms(),
            request_bytes: self.body_fate.bytes(),
            response_bytes: tallied.body_bytes,
        }
    }

    /// How a call ended whose answer had this status and was cut off.
    pub(crate) fn cut_off(&self, tallied: &Tallied, status: StatusCode, flags: Flags) -> Outcome {
        Outcome { cut: true, ..self.outcome(tallied, status, flags) }
    }

    pub(crate) fn store_failure(&self) -> Failure {
        let detail = WITHHELD;
        self.context().fail(Code::StoreUnavailable, detail)
    }
}

/// What a client is told whose answer is withheld.
const WITHHELD: &str =
    "The call was made, but its charge could not be recorded, so that its answer is withheld.";

/// An error with everything that caused it.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
