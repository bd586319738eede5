//! The front of the data plane: listeners, threads, connections, and their end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::connection::{Core, Ended, Stage, reached};
use crate::handler::{Handler, Peer};
use crate::listen::{ListenError, copies, listeners};
use crate::settings::{RuntimeKind, ServerSettings};

/// A running front. Dropped without a drain it ends at once.
pub struct Serving {
    addr: SocketAddr,
    shared: Arc<Shared>,
    detached: Vec<Box<dyn Fn() -> usize + Send + Sync>>,
    threads: Vec<JoinHandle<()>>,
}

/// Why the front could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use or not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system gives no thread, timer or event queue.
    #[error("cannot start the threads of the data plane")]
    Threads(#[source] io::Error),
}

/// What a drain had to leave undone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Drained {
    /// Connections with a call in flight that were cut at the deadline.
    pub cut: usize,
    /// Work detached from any connection that had not ended by the deadline.
    pub detached: usize,
}

struct Shared {
    slots: Arc<Semaphore>,
    stage: watch::Sender<Stage>,
    open: watch::Sender<usize>,
    /// Cores that may still accept a connection.
    accepting: watch::Sender<usize>,
    cut: AtomicUsize,
}

/// One place among the open connections; free again when dropped.
struct Slot {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

/// Opens the listeners and starts the threads; `make` is called once per core (once in all with
/// [`RuntimeKind::Shared`]), within the runtime that its handler will live in.
///
/// # Errors
///
/// [`ServeError`]; nothing is left running then.
pub fn serve<H, F>(settings: &ServerSettings, make: F) -> Result<Serving, ServeError>
where
    H: Handler,
    F: Fn() -> Arc<H> + Send + Sync + 'static,
{
    serve_on(settings, None, make)
}

/// The same on a socket that listens already, if one is given: whoever opened it keeps it open
/// across restarts, so that connections wait instead of being refused.
///
/// # Errors
///
/// [`ServeError`]; nothing is left running then.
pub fn serve_on<H, F>(
    settings: &ServerSettings,
    given: Option<&TcpListener>,
    make: F,
) -> Result<Serving, ServeError>
where
    H: Handler,
    F: Fn() -> Arc<H> + Send + Sync + 'static,
{
    let threads = settings.threads.unwrap_or_else(core_count).max(1);
    let cores = match settings.runtime {
        RuntimeKind::PerCore => threads,
        RuntimeKind::Shared => 1,
    };
    let sockets = match given {
        Some(given) => copies(given, cores).map_err(ServeError::Threads)?,
        None => listeners(settings.listen, cores)?,
    };
    let addr = match sockets.first() {
        Some(socket) => socket.local_addr().map_err(ServeError::Threads)?,
        None => settings.listen,
    };
    let shared = Arc::new(Shared::new(settings.connections_max));
    let mut serving = Serving { addr, shared, detached: Vec::new(), threads: Vec::new() };
    let make = Arc::new(make);
    for (core, socket) in sockets.into_iter().enumerate() {
        let runtime = runtime(settings.runtime, threads).map_err(ServeError::Threads)?;
        let (ready, started) = mpsc::sync_channel(1);
        let (make, settings) = (Arc::clone(&make), settings.clone());
        let shared = Arc::clone(&serving.shared);
        let thread = std::thread::Builder::new()
            .name(format!("weir-gate-{core}"))
            .spawn(move || {
                runtime.block_on(run_core(&*make, socket, settings, shared, ready));
                runtime.shutdown_background();
            })
            .map_err(ServeError::Threads)?;
        serving.threads.push(thread);
        let handler = started.recv().map_err(|_| ServeError::Threads(died()))?;
        let handler: Arc<H> = handler.map_err(ServeError::Threads)?;
        serving.detached.push(Box::new(move || handler.detached()));
    }
    Ok(serving)
}

impl Serving {
    /// Where it listens, with the port that the system chose if it was asked to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        *self.shared.open.borrow()
    }

    /// Stops accepting, closes idle connections, lets calls in flight and detached work end, and
    /// cuts what has not ended after `within`.
    pub async fn drain(mut self, within: Duration) -> Drained {
        self.shared.stage.send_replace(Stage::Draining);
        // A deadline for both waits: connections first, as they may leave detached work behind.
        let ended = async {
            self.shared.closed().await;
            while self.detached() > 0 {
                sleep(DETACHED_CHECK).await;
            }
        };
        let _late = timeout(within, ended).await;
        self.shared.stage.send_replace(Stage::Cut);
        let _late = timeout(CUT_TIME, self.shared.closed()).await;
        let detached = self.detached();
        self.shared.stage.send_replace(Stage::Stopped);
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().filter_map(|thread| thread.join().err()).count()
        });
        if let Ok(Ok(panicked @ 1..)) = timeout(CUT_TIME, joined).await {
            tracing::error!(panicked, "threads of the data plane ended by a panic");
        }
        Drained { cut: self.shared.cut.load(Ordering::Relaxed), detached }
    }

    fn detached(&self) -> usize {
        self.detached.iter().map(|count| count()).sum()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.stage.send_replace(Stage::Stopped);
    }
}

impl Shared {
    fn new(connections_max: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(connections_max.clamp(1, Semaphore::MAX_PERMITS))),
            stage: watch::Sender::new(Stage::Open),
            open: watch::Sender::new(0),
            accepting: watch::Sender::new(0),
            cut: AtomicUsize::new(0),
        }
    }

    /// Waits until no connection is open, nor will be: a core that is busy sees late that it shall
    /// accept no more, and takes until then what waits in its queue.
    async fn closed(&self) {
        for count in [&self.accepting, &self.open] {
            let mut count = count.subscribe();
            // The sender is ours and lives: there is no error.
            let _none = count.wait_for(|count| *count == 0).await;
        }
    }
}

/// A core that accepts connections, until it is dropped.
struct Accepting(Arc<Shared>);

impl Accepting {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.accepting.send_modify(|cores| *cores += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.accepting.send_modify(|cores| *cores -= 1);
    }
}

impl Slot {
    fn new(shared: &Arc<Shared>, permit: OwnedSemaphorePermit) -> Self {
        shared.open.send_modify(|open| *open += 1);
        Self { shared: Arc::clone(shared), _permit: permit }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.open.send_modify(|open| *open -= 1);
    }
}

/// The life of one core: accepts until the drain, then keeps the runtime going until the stop.
async fn run_core<H, F>(
    make: &F,
    socket: TcpListener,
    settings: ServerSettings,
    shared: Arc<Shared>,
    ready: mpsc::SyncSender<io::Result<Arc<H>>>,
) where
    H: Handler,
    F: Fn() -> Arc<H>,
{
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let handler = make();
    let core = Arc::new(Core::new(Arc::clone(&handler), settings.clone()));
    let accepting = Accepting::new(&shared);
    if ready.send(Ok(handler)).is_err() {
        return;
    }
    let acceptor = settings.tls.map(TlsAcceptor::from);
    let mut stage = shared.stage.subscribe();
    let mut pause = PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = reached(&mut stage, Stage::Draining) => break,
        };
        match accepted {
            Ok((stream, addr)) => {
                pause = PAUSE_MIN;
                let Some(slot) = take_slot(&shared).await else { break };
                tokio::spawn(connect(Arc::clone(&core), stream, addr, acceptor.clone(), slot));
            }
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
    // Closing the listener would reset what still waits in its queue.
    while let Some(Ok((stream, addr))) = listener.accept().now_or_never() {
        let Ok(permit) = Arc::clone(&shared.slots).try_acquire_owned() else { break };
        let slot = Slot::new(&shared, permit);
        tokio::spawn(connect(Arc::clone(&core), stream, addr, acceptor.clone(), slot));
    }
    drop(listener);
    drop(accepting);
    reached(&mut stage, Stage::Stopped).await;
}

/// Waits for a free place; `None` when the drain comes first.
async fn take_slot(shared: &Arc<Shared>) -> Option<Slot> {
    let slots = &shared.slots;
    if let Ok(permit) = Arc::clone(slots).try_acquire_owned() {
        return Some(Slot::new(shared, permit));
    }
    tracing::warn!("all connections are in use; new ones wait");
    let mut stage = shared.stage.subscribe();
    tokio::select! {
        permit = Arc::clone(slots).acquire_owned() => Some(Slot::new(shared, permit.ok()?)),
        () = reached(&mut stage, Stage::Draining) => None,
    }
}

async fn connect<H: Handler>(
    core: Arc<Core<H>>,
    stream: TcpStream,
    addr: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    slot: Slot,
) {
    let peer = Peer { addr, tls: acceptor.is_some() };
    let _nodelay = stream.set_nodelay(true); // only costs speed if it fails
    let stage = slot.shared.stage.subscribe();
    let ended = match acceptor {
        None => core.serve(stream, peer, stage).await,
        Some(acceptor) => {
            let handshake = timeout(core.head_timeout(), acceptor.accept(stream));
            match handshake.await {
                Ok(Ok(stream)) => core.serve(stream, peer, stage).await,
                _ => Ended::Closed,
            }
        }
    };
    if ended == Ended::Cut {
        slot.shared.cut.fetch_add(1, Ordering::Relaxed);
    }
}

fn runtime(kind: RuntimeKind, threads: usize) -> io::Result<Runtime> {
    match kind {
        RuntimeKind::PerCore => Builder::new_current_thread().enable_all().build(),
        RuntimeKind::Shared => Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("weir-gate")
            .enable_all()
            .build(),
    }
}

/// Whether a failed accept concerns that connection only.
fn concerns_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn died() -> io::Error {
    io::Error::other("a thread ended before it began to serve")
}

fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const DETACHED_CHECK: Duration = Duration::from_millis(10);

/// For connections and threads to notice that they are cut.
const CUT_TIME: Duration = Duration::from_secs(1);
