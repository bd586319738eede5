//! A receiver that is down for hours, by a clock that the test sets: no event is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir_api::hook::deliver::{Deliverer, DeliveryCounts};
use weir_core::time::{Span, Timestamp};
use weir_engine::accounts::NewAccount;
use weir_engine::cell::AccountCell;
use weir_engine::clock::{Clock, instant};
use weir_engine::credit::NewCredit;
use weir_engine::engine::Engine;
use weir_engine::webhook::WebhookStatus;
use weir_engine::webhooks::NewWebhook;

use crate::support::Api;

/// How often each event was taken.
type Taken = Arc<Mutex<BTreeMap<String, u32>>>;

struct Receiver {
    url: String,
    down: Arc<AtomicBool>,
    taken: Taken,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Self { url, down: Arc::default(), taken: Taken::default() };
        let (down, taken) = (Arc::clone(&receiver.down), Arc::clone(&receiver.taken));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // As a proxy does whose service is away: the connection ends.
                if !down.load(Ordering::SeqCst) {
                    tokio::spawn(take(stream, Arc::clone(&taken)));
                }
            }
        });
        receiver
    }
}

async fn take(stream: TcpStream, taken: Taken) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut id, mut length, mut line) = (String::new(), 0, String::new());
    while stream.read_line(&mut line).await? > 2 {
        match line.trim_end().split_once(": ") {
            Some(("webhook-id", value)) => id = value.to_owned(),
            Some(("content-length", value)) => length = value.parse().unwrap_or(0),
            _ => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    *taken.lock().unwrap().entry(id).or_default() += 1;
    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    stream.get_mut().write_all(answer).await
}

fn deliver(engine: &Arc<Engine>) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let counts = Arc::new(DeliveryCounts::default());
    let deliverer = Deliverer::new(Arc::clone(engine), true, None, counts).unwrap();
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(deliverer.run(async { drop(stopped.await) }));
    (stop, running)
}

/// Lets six seconds pass again and again until something holds; something else happens each time,
/// so that the deliverer looks at its clock.
async fn pass_until<F: Future<Output = bool>>(
    engine: &Engine,
    other: &Arc<AccountCell>,
    mut holds: impl FnMut() -> F,
) {
    let began = instant();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(60), "it waits for ever");
        pass(engine, Span::from_secs(6));
        top_up(engine, other).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn pass(engine: &Engine, span: Span) {
    engine.clock().set(engine.now().plus(span));
}

async fn account(engine: &Arc<Engine>, name: &str) -> Arc<AccountCell> {
    let plan = "payg".to_owned();
    let new = NewAccount { name: name.to_owned(), plan, ..NewAccount::default() };
    engine.create_account(new).await.unwrap()
}

async fn top_up(engine: &Engine, account: &Arc<AccountCell>) {
    let credit = NewCredit::paid("1".parse().unwrap(), "test");
    engine.post_credit(account, &credit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hours_without_a_receiver_lose_no_event() {
    let began = Timestamp::from_secs(1_800_000_000);
    let api = Api::at(Clock::manual(began));
    let engine = &api.engine;
    let (account, other) = (account(engine, "a").await, account(engine, "b").await);
    let receiver = Receiver::start().await;
    receiver.down.store(true, Ordering::SeqCst);
    let (events, description) = (vec!["wallet.topped_up".to_owned()], String::new());
    let (account_id, url) = (Some(account.id), receiver.url.clone());
    let hook = NewWebhook { account: account_id, url, events, description };
    let hook = engine.create_webhook(hook).await.unwrap();
    let (mut stop, mut running) = deliver(engine);
    for sent in 1..=EVENTS {
        top_up(engine, &account).await;
        pass_until(engine, &other, || async {
            let told = engine.deliveries_of(hook.id, None, EVENTS).await.unwrap();
            told.len() == sent && told.iter().all(|(delivery, _)| delivery.attempts > 0)
        })
        .await;
        if sent == EVENTS / 2 {
            // In the middle of it the process is stopped and started.
            drop(stop);
            running.await.unwrap();
            (stop, running) = deliver(engine);
        }
        pass(engine, Span::from_secs(300));
    }
    assert!(engine.now() >= began.plus(Span::from_secs(7_200)), "two hours");
    assert!(receiver.taken.lock().unwrap().is_empty());
    receiver.down.store(false, Ordering::SeqCst);
    let pending = || async { engine.deliveries_pending(hook.id, EVENTS).await.unwrap() };
    // What had the longest waits comes within five more hours.
    for _ in 0..10 {
        pass(engine, Span::from_secs(1_800));
        let now = engine.now();
        pass_until(engine, &other, || async {
            pending().await.iter().all(|delivery| delivery.next_at > now)
        })
        .await;
    }
    assert!(pending().await.is_empty());
    let taken = receiver.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), EVENTS, "{taken:?}");
    assert!(taken.values().all(|times| *times == 1), "{taken:?}");
    let status = engine.webhook(hook.id).unwrap().record.status;
    assert_eq!(status, WebhookStatus::Enabled);
    drop(stop);
    running.await.unwrap();
}

/// One every five minutes, for two hours.
const EVENTS: usize = 24;
