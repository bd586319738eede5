//! One running node: engine, data plane, control plane and what runs beside them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_api::hook::deliver::{Deliverer, DeliveryCounts};
use weir_api::hook::mail::Mailer;
use weir_api::settings::ConfigControl;
use weir_core::names::LimitNames;
use weir_core::policy::Policy;
use weir_engine::admin_key::AdminKey;
use weir_engine::clock::Clock;
use weir_engine::engine::{Engine, EngineSettings};
use weir_engine::secret::SecretDigest;
use weir_gate::gate::{Gate, Setups};
use weir_gate::listen::check_free;
use weir_gate::meters::GateMeters;
use weir_gate::serve::{Drained, Serving, serve_on};
use weir_gate::upstream::Upstreams;
use weir_store::health::StoreHealth;
use weir_store::store::Options;

use crate::config::server::ServerSettings;
use crate::config::services::{OnStoreFailure, Secret};
use crate::config::settings::Settings;
use crate::explainer::GateExplainer;
use crate::reload::{Reloader, Source, watch_file};
use crate::setup::{Kept, Parts};
use crate::sockets::Given;

/// One running node.
pub(crate) struct Node {
    pub(crate) engine: Arc<Engine>,
    /// Where customers call.
    pub(crate) data: SocketAddr,
    /// Where the operator calls.
    pub(crate) admin: SocketAddr,
    /// The operator's key, if it was made just now: to be shown once.
    pub(crate) fresh_admin_key: Option<String>,
    serving: Serving,
    stop: watch::Sender<bool>,
    drain_timeout: Duration,
    reloader: Option<Arc<Reloader>>,
    beside: Vec<tokio::task::JoinHandle<()>>,
}

impl Node {
    /// Opens the store, binds both addresses and starts everything; `source` is where the settings
    /// came from and are read again; sockets that are given are used instead of the addresses.
    /// To be called within the control plane's runtime.
    ///
    /// # Errors
    ///
    /// What is in the way, with every cause; nothing is left running then.
    pub(crate) async fn start(
        settings: Settings,
        names: LimitNames,
        source: Option<Source>,
        given: Given,
    ) -> anyhow::Result<Self> {
        let kept = Kept::of(&settings);
        // Both addresses are tried before the store is touched: a second start on the same
        // addresses fails without a trace.
        let admin_listener = listening(&settings.server, given.admin).await?;
        if given.data.is_none() {
            check_free(settings.server.front.listen).context("server.listen")?;
        }
        let upstreams = Upstreams::new(settings.upstreams).context("an upstream cannot be used")?;
        let told = EngineSettings {
            key_prefix: settings.auth.key_prefix.clone(),
            currency: settings.billing.currency.clone(),
        };
        let engine = boot(&settings.store.path, told, settings.policy, names)?;
        kept.instruct(&engine);
        let admin_key = admin_key(&engine, settings.auth.admin_key.as_ref()).await?;
        let deliveries = Arc::new(DeliveryCounts::default());
        let meters = Arc::new(GateMeters::default());
        let allow_private = settings.webhooks.allow_private;
        let parts = Parts {
            engine: Arc::clone(&engine),
            meters,
            deliveries: Arc::clone(&deliveries),
            admin_key: admin_key.digest,
            webhooks_allow_private: allow_private,
        };
        let setups = Arc::new(Setups::new(parts.setup(&kept, upstreams)));
        let mut api = parts.api(&kept);
        let reloader =
            source.map(|from| Arc::new(Reloader::new(from, parts, Arc::clone(&setups), kept)));
        api.explainer = Some(GateExplainer::shared(&engine, &setups));
        api.config = reloader.clone().map(|reloader| reloader as Arc<dyn ConfigControl>);
        let of_gate = Arc::clone(&engine);
        let serving = serve_on(&settings.server.front, given.data.as_ref(), move || {
            Arc::new(Gate::new(Arc::clone(&of_gate), Arc::clone(&setups)))
        })
        .context("server.listen")?;
        let (stop, stopping) = watch::channel(false);
        let mailer = settings.email.mail.as_ref().map(Mailer::new).transpose()?;
        let deliverer =
            Deliverer::new(Arc::clone(&engine), allow_private, mailer, Arc::clone(&deliveries))
                .context("webhooks cannot be delivered")?;
        let admin = admin_listener.local_addr().context("the admin address is gone")?;
        let router = weir_api::admin::router(Arc::clone(&engine), Arc::new(api));
        let until = stopped(stopping.clone());
        let mut beside = vec![
            tokio::spawn(
                async move { weir_api::serve::serve(admin_listener, router, until).await },
            ),
            tokio::spawn(deliverer.run(stopped(stopping.clone()))),
        ];
        beside.extend(upkeep(&engine, &stopping, settings.store.on_store_failure));
        if let Some(reloader) = &reloader {
            beside.push(tokio::spawn(watch_file(Arc::clone(reloader), stopping.clone())));
        }
        Ok(Self {
            data: serving.addr(),
            admin,
            fresh_admin_key: admin_key.fresh,
            engine,
            serving,
            stop,
            drain_timeout: settings.server.drain_timeout,
            reloader,
            beside,
        })
    }

    /// Reads the configuration again, and logs what came of it.
    pub(crate) async fn reload(&self) {
        let Some(reloader) = self.reloader.clone() else { return };
        if let Err(error) = tokio::task::spawn_blocking(move || reloader.reload_and_log()).await {
            tracing::error!(%error, "a reload failed");
        }
    }

    /// Lets calls in flight end, writes everything down and stops.
    pub(crate) async fn stop(self) -> Drained {
        self.engine.end_waits();
        let drained = self.serving.drain(self.drain_timeout).await;
        self.stop.send_replace(true);
        for task in self.beside {
            if let Err(error) = task.await {
                tracing::error!(%error, "a background task failed");
            }
        }
        let engine = self.engine;
        let closed = tokio::task::spawn_blocking(move || engine.close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "the store was not closed cleanly");
        }
        drained
    }
}

/// The socket of the admin API: the one that was handed over, else one of our own.
async fn listening(
    server: &ServerSettings,
    given: Option<std::net::TcpListener>,
) -> anyhow::Result<TcpListener> {
    let listen = server.admin_listen;
    let opened = match given {
        Some(socket) => socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)),
        None => TcpListener::bind(listen).await,
    };
    opened.with_context(|| format!("cannot listen on {listen} (server.admin_listen)"))
}

/// Work that may end at any point.
async fn until_stopped(stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stopped(stopping) => {}
        () = work => {}
    }
}

/// The engine on the store in a folder.
fn boot(
    path: &Path,
    told: EngineSettings,
    policy: Policy,
    names: LimitNames,
) -> anyhow::Result<Arc<Engine>> {
    Engine::boot(path, Options::default(), told, policy, names, Clock::running())
        .with_context(|| format!("cannot start on {}", path.display()))
}

/// The configured key, else the one that the first start made, or makes now.
async fn admin_key(engine: &Engine, configured: Option<&Secret>) -> anyhow::Result<AdminKey> {
    match configured {
        Some(secret) => {
            Ok(AdminKey { digest: SecretDigest::of(secret.expose().as_bytes()), fresh: None })
        }
        None => engine.own_admin_key().await.context("cannot make an admin key"),
    }
}

/// What keeps the engine in order while it runs.
fn upkeep(
    engine: &Arc<Engine>,
    stopping: &watch::Receiver<bool>,
    on_store_failure: OnStoreFailure,
) -> Vec<tokio::task::JoinHandle<()>> {
    let alarms = Arc::clone(engine).tell_alarms();
    let mut upkeep = vec![
        tokio::spawn(write_behind(Arc::clone(engine), stopping.clone())),
        tokio::spawn(each_second(Arc::clone(engine), stopping.clone())),
        tokio::spawn(sweep(Arc::clone(engine), stopping.clone())),
        tokio::spawn(until_stopped(stopping.clone(), alarms)),
    ];
    if on_store_failure == OnStoreFailure::Exit {
        let fenced = exit_when_fenced(engine.watch_health());
        upkeep.push(tokio::spawn(until_stopped(stopping.clone(), fenced)));
    }
    upkeep
}

/// Ends the process once the store is fenced (`on_store_failure = "exit"`): whoever supervises it
/// starts it again, and the start recovers.
async fn exit_when_fenced(mut health: watch::Receiver<StoreHealth>) {
    let fenced = health.wait_for(|health| *health == StoreHealth::Fenced).await.is_ok();
    if fenced {
        tracing::error!("the store is fenced: the process ends, as on_store_failure asks");
        std::process::exit(1);
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // The sender lives as long as the node; if it is gone the node is.
    let _gone = stopping.wait_for(|stop| *stop).await;
}

async fn write_behind(engine: Arc<Engine>, stopping: watch::Receiver<bool>) {
    every(Duration::from_secs(1), stopping, move || engine.write_behind()).await;
}

async fn sweep(engine: Arc<Engine>, stopping: watch::Receiver<bool>) {
    every(Duration::from_secs(60), stopping, move || engine.sweep()).await;
}

/// Ends durable holds whose time has run out, and settles commitments whose month is over.
async fn each_second(engine: Arc<Engine>, mut stopping: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        if let Err(error) = engine.expire_holds().await {
            tracing::warn!(%error, "a hold whose time ran out could not be ended yet");
        }
        engine.book_commitments().await;
    }
}

/// Does blocking work again and again until the node stops.
async fn every(
    pause: Duration,
    mut stopping: watch::Receiver<bool>,
    work: impl Fn() + Send + Sync + 'static,
) {
    let work = Arc::new(work);
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let work = Arc::clone(&work);
        if let Err(error) = tokio::task::spawn_blocking(move || work()).await {
            tracing::error!(%error, "background work failed");
        }
    }
}
