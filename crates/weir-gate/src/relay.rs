//! The one pump of bodies that are not whole: event streams, and bodies too large to keep.
//!
//! It watches the same bytes that it passes on, renews what a running stream holds, and lets the end
//! of the message leave only when the charge is durable.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::StatusCode;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::mpsc::Sender;
use weir_core::ledger::Flags;
use weir_core::policy::{OnDisconnect, OnExhausted};
use weir_core::usage::Usage;
use weir_engine::ticket::{Exhausted, Keep, Outcome, Settled};
use weir_wire::error::Code;

use crate::duty::{Duty, Facts, chain};
use crate::handler::BoxError;
use crate::idempotency::Recording;
use crate::out_body::OutBody;
use crate::refuse::Dialect;
use crate::sse::{Piece, Splitter};
use crate::tally::{EventKind, Tally, rewrite_usage_cost};
use crate::upstream::UpstreamBody;

type Feed = Sender<Result<Bytes, BoxError>>;

/// How a stream came to its end.
enum End {
    /// With its terminal event, or the end of the body.
    Told,
    /// The client went away.
    Gone,
    /// The upstream broke off.
    Broke(String),
    /// The credit ran out.
    Exhausted(Exhausted),
}

/// A running stream.
struct Stream {
    facts: Facts,
    duty: Duty,
    tally: Tally,
    feed: Feed,
    recording: Option<Recording>,
    /// Events that may leave only when the charge is durable.
    kept: Vec<Bytes>,
    ended: bool,
    /// The client is gone, but the upstream is read to its end.
    draining: bool,
    /// Whether anything of it has left.
    left: bool,
    /// How often it will still wait for credit that others hold.
    turns: u16,
}

/// What is known of an answer of which the head has come.
pub(crate) struct Begun {
    pub(crate) status: StatusCode,
    pub(crate) tally: Tally,
    /// Where it is to be given again.
    pub(crate) recording: Option<Recording>,
}

/// Passes an event stream on and settles it.
pub(crate) async fn stream(
    facts: Facts,
    duty: Duty,
    begun: Begun,
    mut body: UpstreamBody<OutBody>,
    feed: Feed,
) {
    let Begun { status, tally, recording } = begun;
    let mut stream = Stream {
        facts,
        duty,
        tally,
        feed,
        recording,
        kept: Vec::new(),
        ended: false,
        draining: false,
        left: false,
        turns: TURNS_MAX,
    };
    let end = stream.pump(&mut body).await;
    let feed = stream.feed.clone();
    let told = matches!(end, End::Told);
    stream.finish(end, status).await;
    if told {
        drain(body, &feed).await;
    }
}

impl Stream {
    async fn pump(&mut self, body: &mut UpstreamBody<OutBody>) -> End {
        let mut splitter = Splitter::default();
        let mut pieces = Vec::new();
        while !self.ended {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = self.feed.closed(), if !self.draining => {
                    if self.facts.on_disconnect == OnDisconnect::Stop {
                        return End::Gone;
                    }
                    self.draining = true;
                    continue;
                }
            };
            let mut bytes = 0;
            let mut broke = None;
            let mut next = Some(frame);
            while let Some(frame) = next {
                match frame {
                    Some(Ok(frame)) => {
                        let data = frame.into_data().unwrap_or_default();
                        bytes += data.len();
                        splitter.push(data, &mut pieces);
                    }
                    None => {
                        pieces.extend(std::mem::take(&mut splitter).finish());
                        self.ended = true;
                        break;
                    }
                    Some(Err(error)) => {
                        broke = Some(chain(&error));
                        break;
                    }
                }
                next = if bytes < MERGED_BYTES_MAX { ready_frame(body).await } else { None };
            }
            let out = self.look(pieces.drain(..));
            if let Some(recording) = &mut self.recording {
                recording.push(&out);
            }
            self.left |= !out.is_empty() && !self.draining;
            if !out.is_empty() && !self.draining && self.feed.send(Ok(out)).await.is_err() {
                if self.facts.on_disconnect == OnDisconnect::Stop {
                    return End::Gone;
                }
                self.draining = true;
            }
            let so_far = self.facts.with_input(self.tally.produced_so_far());
            if let Err(exhausted) = self.covered(&so_far).await
                && self.facts.on_exhausted == OnExhausted::Stop
            {
                return End::Exhausted(exhausted);
            }
            if let Some(why) = broke.filter(|_| !self.ended) {
                return End::Broke(why);
            }
        }
        End::Told
    }

    /// Notes what was produced. Where the credit for more is held by other calls, it waits for what
    /// they leave of it.
    async fn covered(&mut self, so_far: &Usage) -> Result<(), Exhausted> {
        let mut covered = self.duty.produced(so_far);
        while let Err(Exhausted { shared: true, .. }) = covered
            && self.facts.on_exhausted == OnExhausted::Stop
            && self.turns > 0
        {
            self.turns -= 1;
            tokio::select! {
                () = tokio::time::sleep(TURN) => covered = self.duty.produced(so_far),
                // Whoever pumps sees it too, and says what becomes of the rest.
                () = self.feed.closed(), if !self.draining => return Ok(()),
            }
        }
        covered
    }

    /// Watches pieces; gives back those that may leave now, in one run of bytes.
    fn look(&mut self, pieces: impl Iterator<Item = Piece>) -> Bytes {
        let mut out = Run::default();
        let mut over = false;
        for piece in pieces {
            // What follows the terminal event is no part of the answer, in the same read or later.
            let kind = match &piece {
                _ if over => EventKind::Other,
                Piece::Event(raw) | Piece::Rest(raw) => self.tally.event(raw),
                Piece::Part { bytes, last } => self.tally.part(bytes, *last),
            };
            over |= kind == EventKind::Terminal;
            self.ended |= over;
            let tells_cost = self.facts.tell_cost && self.tally.carries_usage();
            if kind == EventKind::UsageOnly && self.facts.hide_usage && !self.facts.tell_cost {
                continue;
            }
            if self.ended || tells_cost {
                self.kept.push(piece.into_bytes());
            } else {
                // What was kept for its cost was not the last word on usage after all.
                for kept in self.kept.drain(..) {
                    out.push(kept);
                }
                out.push(piece.into_bytes());
            }
        }
        out.into_bytes()
    }

    async fn finish(mut self, end: End, status: StatusCode) {
        let flags = match &end {
            End::Told => Flags::default(),
            End::Gone => Flags::CLIENT_GONE,
            End::Broke(_) => Flags::UPSTREAM_BROKE,
            End::Exhausted(_) => Flags::EXHAUSTED,
        };
        let flags = if self.draining { flags.and(Flags::CLIENT_GONE) } else { flags };
        self.tally.lasted(|| self.facts.latency_ms());
        let tally = std::mem::replace(&mut self.tally, Tally::new(crate::tally::Shape::None));
        let outcome = match end {
            End::Told => self.facts.outcome(&tally.finish(), status, flags),
            _ => self.facts.cut_off(&tally.finish(), status, flags),
        };
        let withheld = !self.left && !matches!(end, End::Gone);
        let outcome = Outcome { withheld, ..outcome };
        if let Some(mut recording) = self.recording.take() {
            self.kept.iter().for_each(|piece| recording.push(piece));
            let tell_cost = self.facts.tell_cost;
            let keep = move |charge| recording.finish(Some(charge).filter(|_| tell_cost), None);
            self.duty.keep(Keep::new(keep));
        }
        let Some(settled) = self.duty.settle(&outcome) else { return };
        let Settled { charge, commit, .. } = *settled;
        if let Some(commit) = commit
            && let Err(error) = self.facts.durable(commit).await
        {
            tracing::error!(%error, request_id = %self.facts.request_id, "a charge was not recorded");
            let detail = "The call was made, but its charge could not be recorded.";
            return self.fail(Code::StoreUnavailable, detail.to_owned()).await;
        }
        match end {
            End::Gone => {}
            End::Broke(why) => {
                tracing::warn!(error = why, request_id = %self.facts.request_id, "a stream broke off");
                // The connection breaks too, so that nobody takes this for the whole answer.
                let _gone = self.feed.send(Err("the upstream broke off its stream".into())).await;
            }
            End::Exhausted(Exhausted { available, .. }) => {
                let detail = format!(
                    "The credit is used up: {available} is available. What was produced is charged."
                );
                self.fail(Code::InsufficientCredits, detail).await;
            }
            End::Told => {
                let charge =
                    charge.filter(|_| self.facts.tell_cost).map(|charge| charge.to_string());
                let mut out = Run::default();
                for kept in self.kept.drain(..) {
                    out.push(match &charge {
                        Some(charge) => rewrite_usage_cost(&kept, charge),
                        None => kept,
                    });
                }
                let _gone = self.feed.send(Ok(out.into_bytes())).await;
            }
        }
    }

    /// Ends a running stream with an error event, as its clients understand it.
    async fn fail(&self, code: Code, detail: String) {
        let context = self.facts.context();
        let mut failure = context.fail(code, detail);
        if let Some(url) = &context.told.top_up_url
            && code == Code::InsufficientCredits
        {
            failure = failure.fact("top_up_url", url.as_str());
        }
        let mut event = BytesMut::from(&failure.into_event(self.facts.dialect)[..]);
        if self.facts.dialect == Dialect::OpenAi {
            event.extend_from_slice(b"data: [DONE]\n\n");
        }
        let _gone = self.feed.send(Ok(event.freeze())).await;
    }
}

/// A body that is passed on as it comes.
pub(crate) struct Rest {
    /// What was read of it already.
    pub(crate) pieces: Vec<Bytes>,
    /// Its length, where the head told it.
    pub(crate) length: Option<u64>,
    pub(crate) begun: Begun,
    pub(crate) sender: Feed,
}

/// The way of a body to its client: the piece that makes it complete is kept back. Where no length
/// was told, it is the end itself that makes it complete.
struct Outlet {
    feed: Feed,
    left: Option<u64>,
    listening: bool,
    last: Option<Bytes>,
    /// Whether anything of it has left.
    passed: bool,
}

impl Outlet {
    async fn push(&mut self, piece: Bytes) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(piece.len() as u64);
            if *left == 0 && self.last.is_none() {
                self.last = Some(piece);
                return;
            }
        }
        self.passed |= self.listening;
        self.listening = self.listening && self.feed.send(Ok(piece)).await.is_ok();
    }
}

/// Passes a body on; it is complete for its client when the charge is durable. A client that goes
/// away changes nothing for calls that are charged: they run to their end.
pub(crate) async fn body(
    facts: Facts,
    mut duty: Duty,
    mut body: UpstreamBody<OutBody>,
    rest: Rest,
) {
    let Rest { pieces, length, begun, sender: feed } = rest;
    let Begun { status, mut tally, mut recording } = begun;
    let charged = duty.is_charged();
    let mut outlet = Outlet { feed, left: length, listening: true, last: None, passed: false };
    for piece in pieces {
        outlet.push(piece).await;
    }
    let broke = loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = outlet.feed.closed(), if outlet.listening => {
                outlet.listening = false;
                if charged { continue } else { break None }
            }
        };
        match frame {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                tally.body(&data);
                if let Some(recording) = &mut recording {
                    recording.push(&data);
                }
                outlet.push(data).await;
            }
            None => break None,
            Some(Err(error)) => break Some(chain(&error)),
        }
        if !outlet.listening && !charged {
            break None;
        }
    };
    let Outlet { feed, listening, last, passed, .. } = outlet;
    let gone = if listening { Flags::default() } else { Flags::CLIENT_GONE };
    let flags = if broke.is_some() { gone.and(Flags::UPSTREAM_BROKE) } else { gone };
    tally.lasted(|| facts.latency_ms());
    let outcome = match broke {
        None => facts.outcome(&tally.finish(), status, flags),
        Some(_) => facts.cut_off(&tally.finish(), status, flags),
    };
    let outcome = Outcome { withheld: !passed, ..outcome };
    if let Some(recording) = recording {
        duty.keep(Keep::new(move |_| recording.finish(None, None)));
    }
    let commit = duty.settle(&outcome).and_then(|settled| settled.commit);
    let durable = match commit {
        Some(commit) => facts.durable(commit).await.is_ok(),
        None => true,
    };
    let end = match (broke, durable, last) {
        (Some(why), ..) => Err(why.into()),
        (None, false, _) => Err("the charge could not be recorded".into()),
        (None, true, Some(last)) => Ok(last),
        (None, true, None) => return,
    };
    let _gone = feed.send(end).await;
}

/// The next frame of a body if it is there, or comes when whoever else is ready had a turn: the
/// connection's own task hands over one frame at a time. It is never waited for.
async fn ready_frame<B: Body + Unpin>(
    body: &mut B,
) -> Option<Option<Result<Frame<B::Data>, B::Error>>> {
    if let Some(frame) = body.frame().now_or_never() {
        return Some(frame);
    }
    let mut had_turn = false;
    poll_fn(|context| {
        if std::mem::replace(&mut had_turn, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    body.frame().now_or_never()
}

/// Reads what an upstream sends after its terminal event, so that the connection can be used again.
async fn drain(mut body: UpstreamBody<OutBody>, feed: &Feed) {
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data()
                && feed.send(Ok(data)).await.is_err()
            {
                return;
            }
        }
    };
    let _late = tokio::time::timeout(TAIL_TIME, reading).await;
}

/// Bytes that leave together: one piece as it is, several joined.
#[derive(Default)]
struct Run {
    first: Bytes,
    more: BytesMut,
}

impl Run {
    fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
            return;
        }
        if self.more.is_empty() {
            self.more.extend_from_slice(&self.first);
        }
        self.more.extend_from_slice(&piece);
    }

    fn into_bytes(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }
}

/// How long an upstream may take to end its body after its terminal event.
const TAIL_TIME: Duration = Duration::from_secs(1);
/// Frames of a stream that are ready leave together, up to this size.
const MERGED_BYTES_MAX: usize = 16 << 10;
/// How long a stream waits at a time, and how often in all, for credit that other calls hold.
const TURN: Duration = Duration::from_millis(20);
const TURNS_MAX: u16 = 250;

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::answer::AnswerBody;

    #[tokio::test]
    async fn a_frame_is_taken_if_it_is_there_or_comes_in_one_turn_and_never_waited_for() {
        let (sender, receiver) = mpsc::channel(1);
        let mut body = AnswerBody::Fed(receiver, http_body::SizeHint::default());
        let feeding = tokio::spawn(async move {
            for _ in 0..3 {
                sender.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
            }
            sender
        });
        // The feeder hands over one frame at a time, each when it has its turn.
        for _ in 0..3 {
            let frame = ready_frame(&mut body).await.unwrap().unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "x");
        }
        assert!(ready_frame(&mut body).await.is_none(), "nothing is there");
        drop(feeding.await.unwrap());
        assert!(ready_frame(&mut body).await.unwrap().is_none(), "the end is told");
    }
}
