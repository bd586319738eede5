//! How many settlements a second become durable, beside the least that a disk has to do for
//! them: a journal of pre-zeroed blocks and one fdatasync per group. Both take turns, so that
//! what else the machine does meets both.
//!
//! `cargo run -p weir-store --release --example commit_rate [FOLDER] [SECONDS] [ROUNDS]`

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use weir_core::id::{AccountId, KeyId, PolicyNumber, Seq};
use weir_core::ledger::{Call, Draw, Entry, EntryKind, Flags};
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_core::usage::{Meter, Usage};
use weir_store::op::{Op, Urgency};
use weir_store::store::{Options, Store};

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// What one kind of store did in one round.
struct Round {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

type Failure = Box<dyn std::error::Error>;

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "commit-rate".into()));
    let seconds: u64 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    std::fs::create_dir_all(&folder)?;
    let length = Duration::from_secs(seconds);
    let journal = Arc::new(Journal::start(&folder)?);
    let begin = now();
    let (store, loaded) = Store::open(&folder.join("store"), Options::default())?;
    println!("opened {} entries in {:.0?}", loaded.last_seq.0, begin.elapsed());
    drop(loaded);
    let store = Arc::new(store);
    println!("committers  what      per second    p50      p99");
    for committers in [1, 64, 1_024] {
        let (mut of_journal, mut of_store) = (0.0, 0.0);
        for _ in 0..rounds {
            let round = measure(committers, length, || {
                let journal = Arc::clone(&journal);
                move |_| journal.append()
            })?;
            of_journal += show(committers, "journal", &round);
            let round = measure(committers, length, || {
                let store = Arc::clone(&store);
                move |account| commit(Arc::clone(&store), account)
            })?;
            of_store += show(committers, "store", &round);
        }
        println!("{committers:>10}  store / journal = {:.2}", of_store / of_journal);
    }
    println!("{:?}", store.commits());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn show(committers: usize, what: &str, round: &Round) -> f64 {
    let Round { per_second, p50, p99 } = round;
    println!("{committers:>10}  {what:<8} {per_second:>11.0}  {p50:>7.0?}  {p99:>7.0?}");
    *per_second
}

/// Lets so many tasks commit one after the other, for a time.
fn measure<C, F>(
    committers: usize,
    length: Duration,
    with: impl Fn() -> C,
) -> Result<Round, Failure>
where
    C: Fn(u64) -> F + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let begin = now();
    let tasks: Vec<_> = (0..committers)
        .map(|task| {
            let (commit, stop) = (with(), Arc::clone(&stop));
            runtime.spawn(async move {
                let mut waits = Vec::new();
                let mut account = task as u64;
                while !stop.load(Ordering::Relaxed) {
                    let sent = now();
                    account = (account * 7 + 13) % 10_000;
                    if commit(account + 1).await {
                        waits.push(sent.elapsed());
                    }
                }
                waits
            })
        })
        .collect();
    std::thread::sleep(length);
    stop.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(runtime.block_on(task)?);
    }
    let elapsed = begin.elapsed();
    waits.sort_unstable();
    let at = |percent: usize| waits.get(waits.len() * percent / 100).copied().unwrap_or_default();
    let count = u32::try_from(waits.len())?;
    Ok(Round { per_second: f64::from(count) / elapsed.as_secs_f64(), p50: at(50), p99: at(99) })
}

/// A settlement such as a proxied call makes. It chains no balances: the store does not look.
async fn commit(store: Arc<Store>, account: u64) -> bool {
    let waiting =
        store.commit_next(Urgency::Settlement, |seq| vec![Op::Append(entry(seq, account))]);
    waiting.await.is_ok()
}

fn entry(seq: Seq, account: u64) -> Entry {
    let call = Call {
        key: Some(KeyId(account)),
        route: "POST /v1/chat/completions".into(),
        model: "llama-3-8b".into(),
        price: "llama-3-8b".into(),
        usage: Usage::NONE.with(Meter::InputTokens, 812).with(Meter::OutputTokens, 240),
        pico: 265_800_000,
        held: Nano::new(2_700_000),
        flags: Flags::default(),
    };
    Entry {
        seq,
        account: AccountId(account),
        at: Timestamp::from_secs(1_800_000_000),
        kind: EntryKind::Charge,
        amount: Nano::new(-265_800),
        balance: Nano::new(10_000_000_000),
        reference: "0198c1f2-7a51-7cc3-98c4-dc0c0c07398f".into(),
        policy: PolicyNumber(3),
        note: None,
        terms: None,
        draws: std::iter::once(Draw { from: Seq(1), amount: Nano::new(265_800) }).collect(),
        call: Some(Box::new(call)),
    }
}

/// The least that makes records durable.
struct Journal {
    queue: Sender<oneshot::Sender<()>>,
}

impl Journal {
    fn start(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("journal");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for mib in 0..SEGMENT >> 20 {
            file.write_all_at(&zeros, mib << 20)?;
        }
        file.sync_all()?;
        let (queue, jobs) = channel();
        std::thread::spawn(move || write(&file, &jobs));
        Ok(Self { queue })
    }

    fn append(&self) -> impl Future<Output = bool> + Send + use<> {
        let (done, outcome) = oneshot::channel();
        let sent = self.queue.send(done).is_ok();
        async move { sent && outcome.await.is_ok() }
    }
}

fn write(file: &File, jobs: &Receiver<oneshot::Sender<()>>) {
    let mut at = 0;
    while let Ok(first) = jobs.recv() {
        let mut waiting = vec![first];
        waiting.extend(jobs.try_iter().take(4_095));
        let bytes = vec![7; waiting.len() * RECORD];
        let end = at + bytes.len() as u64;
        at = if end > SEGMENT { 0 } else { at };
        if file.write_all_at(&bytes, at).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        at += bytes.len() as u64;
        for done in waiting {
            let _ = done.send(());
        }
    }
}

/// About what the row of such an entry takes.
const RECORD: usize = 320;
const SEGMENT: u64 = 64 << 20;
