//! The deliverer: reads events in order, makes deliveries of them, and tries each until it is
//! taken or given up. One task decides; each try is a task of its own.
//!
//! A webhook has one try in the air, or two while its receiver works. Webhooks that failed last
//! share places of their own, so that receivers that hang cost the others nothing.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weir_core::id::{EventId, WebhookId};
use weir_core::time::{Span, Timestamp};
use weir_engine::change::ChangeError;
use weir_engine::clock::instant;
use weir_engine::engine::Engine;
use weir_engine::outbox::{Delivery, DeliveryState};
use weir_engine::webhook::WebhookStatus;

use crate::hook::agenda::Agenda;
use crate::hook::connect::{GuardedClient, client};
use crate::hook::mail::Mailer;
use crate::hook::places::{Lane, Places};
use crate::hook::post::{Tried, post};
use crate::hook::schedule::pause_after;

/// What became of tries since the process started.
#[derive(Debug, Default)]
pub struct DeliveryCounts {
    delivered: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
}

/// Delivers events.
#[derive(Debug)]
pub struct Deliverer {
    shared: Arc<Shared>,
    agenda: Agenda,
    /// What is in the air, by webhook, and among whom it counts.
    flying: HashMap<WebhookId, HashMap<EventId, Lane>>,
    /// Webhooks whose last try failed.
    slow: HashMap<WebhookId, Failing>,
    /// Webhooks whose last try was taken.
    working: HashSet<WebhookId>,
    places: Places,
    /// Outcomes that could not be written down yet.
    unsaved: HashMap<WebhookId, Vec<Delivery>>,
    tries: JoinSet<Report>,
    /// Tries that take long.
    late: mpsc::Receiver<(WebhookId, EventId)>,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    client: GuardedClient,
    allow_private: bool,
    mailer: Option<Mailer>,
    counts: Arc<DeliveryCounts>,
    tell_late: mpsc::Sender<(WebhookId, EventId)>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Timestamp,
    tries: u32,
    until: Timestamp,
}

/// What a try tells the deliverer.
#[derive(Debug)]
struct Report {
    webhook: WebhookId,
    event: EventId,
    tried: Option<Tried>,
    unsaved: Option<Delivery>,
}

impl DeliveryCounts {
    /// `weir_webhook_deliveries_total` by result: taken, to be tried again, given up.
    pub fn by_result(&self) -> [(&'static str, u64); 3] {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("delivered", load(&self.delivered)),
            ("retried", load(&self.retried)),
            ("failed", load(&self.failed)),
        ]
    }
}

impl Deliverer {
    /// A deliverer that counts into `counts`. Private targets and plain HTTP are for operators
    /// that allow them.
    ///
    /// # Errors
    ///
    /// When the TLS library lacks what it needs.
    pub fn new(
        engine: Arc<Engine>,
        allow_private: bool,
        mailer: Option<Mailer>,
        counts: Arc<DeliveryCounts>,
    ) -> io::Result<Self> {
        let client = client(allow_private)?;
        let (tell_late, late) = mpsc::channel(1);
        let shared = Shared { engine, client, allow_private, mailer, counts, tell_late };
        Ok(Self {
            shared: Arc::new(shared),
            agenda: Agenda::default(),
            flying: HashMap::new(),
            slow: HashMap::new(),
            working: HashSet::new(),
            places: Places::default(),
            unsaved: HashMap::new(),
            tries: JoinSet::new(),
            late,
        })
    }

    /// Delivers until told to stop. Tries in the air are then cut off: what they were to note is
    /// still pending and is tried again after the next start.
    pub async fn run(mut self, stopped: impl Future<Output = ()> + Send) {
        let mut stopped = pin!(stopped);
        let engine = Arc::clone(&self.shared.engine);
        let mut events = engine.watch_events();
        let mut behind = true;
        self.resume().await;
        loop {
            if behind {
                behind = self.fan_out().await;
            }
            self.start_due().await;
            let now = engine.now();
            let wait = self.agenda.next().map_or(IDLE, |at| until(at, now));
            tokio::select! {
                () = &mut stopped => break,
                changed = events.changed(), if !behind => {
                    if changed.is_err() { break; }
                    behind = true;
                }
                () = engine.nudged() => {
                    for webhook in engine.take_nudged() {
                        self.agenda.plan(webhook, now);
                    }
                }
                Some(report) = self.tries.join_next() => match report {
                    Ok(report) => self.finish(report).await,
                    Err(error) => tracing::error!(%error, "a delivery broke off"),
                },
                Some((webhook, event)) = self.late.recv() => self.outlast(webhook, event),
                // What could not be fanned out is tried again soon.
                () = tokio::time::sleep(if behind { wait.min(RETRY) } else { wait }) => {}
            }
        }
        self.tries.shutdown().await;
    }

    async fn resume(&mut self) {
        match self.shared.engine.webhooks_due().await {
            Ok(due) => due.into_iter().for_each(|(webhook, at)| self.agenda.plan(webhook, at)),
            Err(error) => tracing::error!(%error, "what waits for webhooks could not be read"),
        }
    }

    /// Makes deliveries of all new events; says whether there is still something to do.
    async fn fan_out(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let by_mail = |event: &weir_engine::outbox::Event| match &shared.mailer {
            Some(mailer) => mailer.wanting(&shared.engine, event),
            None => Vec::new(),
        };
        loop {
            match shared.engine.fan_out(&by_mail).await {
                Ok(fanned) => {
                    let now = shared.engine.now();
                    fanned.to.into_iter().for_each(|webhook| self.agenda.plan(webhook, now));
                    if !fanned.more {
                        return false;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "events could not be handed to webhooks yet");
                    return true;
                }
            }
        }
    }

    async fn start_due(&mut self) {
        let now = self.shared.engine.now();
        while let Some(webhook) = self.agenda.take_due(now) {
            if let Err(error) = self.start(webhook, now).await {
                tracing::warn!(%error, %webhook, "what waits for a webhook cannot be tried yet");
                self.agenda.plan(webhook, now.plus(RETRY_SPAN));
            }
        }
    }

    async fn start(&mut self, webhook: WebhookId, now: Timestamp) -> Result<(), ChangeError> {
        self.save(webhook).await?;
        if !self.shared.is_on(webhook) {
            return self.give_up_all(webhook, now).await;
        }
        let failing = self.slow.get(&webhook).copied();
        if let Some(failing) = failing.filter(|failing| failing.until > now) {
            self.agenda.plan(webhook, failing.until);
            return Ok(());
        }
        let places = if self.working.contains(&webhook) { PER_WEBHOOK } else { 1 };
        let flying = self.flying.get(&webhook).map_or(0, HashMap::len);
        let pending = self.shared.engine.deliveries_pending(webhook, flying + places + 1).await?;
        for delivery in pending {
            let flying = self.flying.get(&webhook);
            if flying.is_some_and(|flying| flying.contains_key(&delivery.event)) {
                continue;
            }
            // The end of a try brings the webhook back.
            if flying.map_or(0, HashMap::len) >= places {
                break;
            }
            if delivery.next_at > now {
                self.agenda.plan(webhook, delivery.next_at);
                break;
            }
            let Some(lane) = self.places.take(failing.is_some(), webhook) else { break };
            self.flying.entry(webhook).or_default().insert(delivery.event, lane);
            self.tries.spawn(Arc::clone(&self.shared).attempt(delivery));
        }
        Ok(())
    }

    /// A try that takes long gives its place to others and goes on.
    fn outlast(&mut self, webhook: WebhookId, event: EventId) {
        let lane = self.flying.get_mut(&webhook).and_then(|flying| flying.get_mut(&event));
        // It may be over by now.
        if let Some(lane) = lane {
            *lane = self.places.outlast(*lane);
            self.call_in();
        }
    }

    /// Those that wait are looked at again, as far as there are places.
    fn call_in(&mut self) {
        let now = self.shared.engine.now();
        for webhook in self.places.ready() {
            self.agenda.plan(webhook, now);
        }
    }

    async fn finish(&mut self, report: Report) {
        let now = self.shared.engine.now();
        let webhook = report.webhook;
        if let Some(flying) = self.flying.get_mut(&webhook) {
            if let Some(lane) = flying.remove(&report.event) {
                self.places.give_back(lane);
            }
            if flying.is_empty() {
                self.flying.remove(&webhook);
            }
        }
        if let Some(delivery) = report.unsaved {
            self.unsaved.entry(webhook).or_default().push(delivery);
        }
        match report.tried {
            Some(tried) if tried.error.is_some() => self.note_failure(webhook, &tried, now).await,
            Some(_) => {
                self.slow.remove(&webhook);
                self.working.insert(webhook);
            }
            None => {}
        }
        self.agenda.plan(webhook, now);
        self.call_in();
    }

    /// A receiver that fails is left alone for a while, and switched off after days of it.
    async fn note_failure(&mut self, webhook: WebhookId, tried: &Tried, now: Timestamp) {
        self.working.remove(&webhook);
        let failing =
            self.slow.entry(webhook).or_insert(Failing { since: now, tries: 0, until: now });
        failing.tries = failing.tries.saturating_add(1);
        let busy = matches!(tried.status, Some(429 | 502 | 503 | 504));
        let pause = match (tried.retry_after, failing.tries) {
            (Some(asked), _) => asked,
            (None, 0..3) if !busy => Span::ZERO,
            _ => PAUSE,
        };
        failing.until = now.plus(pause);
        if tried.status == Some(410) {
            self.switch_off(webhook, WebhookStatus::Gone).await;
        } else if failing.since.plus(FAILING_MAX) < now {
            self.switch_off(webhook, WebhookStatus::Failing).await;
        }
    }

    async fn switch_off(&self, webhook: WebhookId, why: WebhookStatus) {
        if let Err(error) = self.shared.engine.disable_webhook(webhook, why).await {
            tracing::error!(%error, %webhook, "a webhook could not be switched off");
        }
    }

    /// Writes down what could not be before: until then nothing of that webhook is tried, since
    /// what was taken would be sent again and again.
    async fn save(&mut self, webhook: WebhookId) -> Result<(), ChangeError> {
        if let Some(unsaved) = self.unsaved.get(&webhook) {
            self.shared.engine.note_deliveries(unsaved).await?;
            self.unsaved.remove(&webhook);
        }
        Ok(())
    }

    /// What waits for a webhook that is off or gone is not delivered.
    async fn give_up_all(&mut self, webhook: WebhookId, now: Timestamp) -> Result<(), ChangeError> {
        self.slow.remove(&webhook);
        self.working.remove(&webhook);
        let pending = self.shared.engine.deliveries_pending(webhook, GIVE_UP_MAX).await?;
        let full = pending.len() == GIVE_UP_MAX;
        let given_up: Vec<Delivery> = pending
            .into_iter()
            .map(|delivery| Delivery {
                state: DeliveryState::Failed,
                last_error: Some("the webhook is switched off or deleted".into()),
                ..delivery
            })
            .collect();
        if !given_up.is_empty() {
            self.shared.engine.note_deliveries(&given_up).await?;
        }
        if full {
            self.agenda.plan(webhook, now);
        }
        Ok(())
    }
}

impl Shared {
    fn is_on(&self, id: WebhookId) -> bool {
        if Mailer::is_mail(id) {
            return self.mailer.is_some();
        }
        let webhook = self.engine.webhook(id);
        webhook.is_some_and(|webhook| webhook.record.status == WebhookStatus::Enabled)
    }

    async fn attempt(self: Arc<Self>, delivery: Delivery) -> Report {
        let (webhook, event) = (delivery.webhook, delivery.event);
        let report = |tried, unsaved| Report { webhook, event, tried, unsaved };
        let began = instant();
        let at = self.engine.now();
        let tried = match self.engine.told(event).await {
            Ok(Some(told)) => {
                let mut trying = pin!(self.try_once(webhook, &told, at));
                tokio::select! {
                    tried = &mut trying => tried,
                    () = self.grow_late(webhook, event) => trying.await,
                }
            }
            Ok(None) => Tried { hopeless: true, ..Tried::failed("the event is gone") },
            Err(error) => {
                tracing::warn!(%error, %event, "an event could not be read");
                return report(None, Some(Delivery { next_at: at.plus(RETRY_SPAN), ..delivery }));
            }
        };
        let ms = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
        let noted = self.noted(delivery, &tried, (at, ms));
        if noted.state == DeliveryState::Failed && tried.status != Some(410) {
            tracing::warn!(%webhook, %event, error = tried.error, "an event was not delivered");
        }
        match self.engine.note_deliveries(std::slice::from_ref(&noted)).await {
            Ok(()) => report(Some(tried), None),
            Err(error) => {
                tracing::warn!(%error, %event, "a delivery could not be written down yet");
                report(Some(tried), Some(noted))
            }
        }
    }

    async fn grow_late(&self, webhook: WebhookId, event: EventId) {
        tokio::time::sleep(LATE).await;
        // Nobody listens any more once the deliverer ends.
        let _ending = self.tell_late.send((webhook, event)).await;
    }

    async fn try_once(
        &self,
        id: WebhookId,
        event: &weir_engine::outbox::Event,
        at: Timestamp,
    ) -> Tried {
        if Mailer::is_mail(id) {
            return match &self.mailer {
                Some(mailer) => mailer.send(&self.engine, id, event).await,
                None => Tried::failed("there is no e-mail"),
            };
        }
        match self.engine.webhook(id) {
            Some(webhook) => post(&self.client, &webhook, event, at, self.allow_private).await,
            None => Tried { hopeless: true, ..Tried::failed("the webhook is deleted") },
        }
    }

    fn noted(&self, delivery: Delivery, tried: &Tried, (at, ms): (Timestamp, u32)) -> Delivery {
        let attempts = delivery.attempts.saturating_add(1);
        let hopeless = tried.hopeless || tried.status == Some(410);
        let pause = if hopeless { None } else { pause_after(attempts, tried.retry_after) };
        let (state, next_at, count) = match (&tried.error, pause) {
            (None, _) => (DeliveryState::Delivered, at, &self.counts.delivered),
            (Some(_), Some(pause)) => {
                let next_at = self.engine.now().plus(pause);
                (DeliveryState::Pending, next_at, &self.counts.retried)
            }
            (Some(_), None) => (DeliveryState::Failed, at, &self.counts.failed),
        };
        count.fetch_add(1, Ordering::Relaxed);
        Delivery {
            state,
            attempts,
            next_at,
            last_status: tried.status,
            last_error: tried.error.as_deref().map(Into::into),
            last_at: Some(at),
            last_ms: Some(ms),
            ..delivery
        }
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    let micros = at.micros().saturating_sub(now.micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0)).min(IDLE)
}

/// Tries in the air to one receiver that works.
const PER_WEBHOOK: usize = 2;
/// After so long a try makes room for others.
const LATE: Duration = Duration::from_secs(1);
/// What is given up in one commit.
const GIVE_UP_MAX: usize = 256;
/// How long a receiver is left alone that fails again and again or says that it is busy.
const PAUSE: Span = Span::from_secs(5);
/// After so much time without a success a webhook is switched off: about as long as a message is tried.
const FAILING_MAX: Span = Span::from_secs(75 * 3_600);
/// How long the store is left alone after it failed.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_SPAN: Span = Span::from_secs(5);
/// The longest sleep: clocks jump.
const IDLE: Duration = Duration::from_secs(60);
