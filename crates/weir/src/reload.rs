//! Another configuration in the place of the present one, while calls go on.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use weir_api::settings::ConfigControl;
use weir_gate::gate::Setups;

use crate::config::load::{load, parse};
use crate::config::read::World;
use crate::config::settings::Settings;
use crate::difference::{difference, needs_restart};
use crate::setup::{Kept, Parts};

/// The file that a configuration comes from.
pub(crate) struct Source {
    path: PathBuf,
    /// What was there.
    seen: Option<Identity>,
}

impl Source {
    /// The file as it is now; to be called before it is read, so that no change after that is missed.
    pub(crate) fn look(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: identity(path) }
    }
}

/// Takes configurations for a running node, one at a time.
pub(crate) struct Reloader {
    path: PathBuf,
    /// What was there before it was read for the first time.
    first: Option<Identity>,
    parts: Parts,
    setups: Arc<Setups>,
    kept: Mutex<Kept>,
}

impl Reloader {
    /// For the configuration from this file, which is in force as `kept` says.
    pub(crate) fn new(source: Source, parts: Parts, setups: Arc<Setups>, kept: Kept) -> Self {
        let Source { path, seen: first } = source;
        Self { path, first, parts, setups, kept: Mutex::new(kept) }
    }

    /// Reads the file again and puts it in force; everything or nothing. Blocks.
    ///
    /// # Errors
    ///
    /// Why the old one stays, as text.
    fn take(&self) -> Result<Value, String> {
        // One at a time, from reading the file to its being in force.
        let mut kept = self.kept.lock();
        let engine = &self.parts.engine;
        let read = engine.with_names(|names| load(&self.path, names));
        let settings = read.map_err(|error| error.spoken())?;
        let other = Kept::of(&settings);
        let changes = difference(engine, &kept, &other, &settings.policy);
        engine.check_plans(&settings.policy).map_err(|missing| missing.to_string())?;
        let upstreams = self.setups.present().upstreams.renewed(settings.upstreams);
        let upstreams = upstreams.map_err(|error| error.to_string())?;
        let setup = self.parts.setup(&other, upstreams);
        // Upstreams come before the routes that name them.
        let number = engine
            .accept(settings.policy, || self.setups.replace(setup))
            .map_err(|missing| missing.to_string())?;
        other.instruct(engine);
        let waits = needs_restart(&kept, &other);
        *kept = kept.clone().followed_by(other);
        tracing::info!(policy = number.0, ?waits, "the configuration is in force");
        Ok(changes)
    }

    /// Reads the file again, and logs what came of it.
    pub(crate) fn reload_and_log(&self) {
        if let Err(why) = self.take() {
            tracing::error!("the configuration stays as it was: {why}");
        }
    }

    /// How the files are now; `None` while the configuration is not there or being taken.
    fn state(&self) -> Option<State> {
        let file = Some(identity(&self.path)?);
        let kept = self.kept.try_lock()?;
        let files = kept.server.certificate.iter().flat_map(|certificate| certificate.files());
        Some(State { file, certificate: files.map(|file| identity(file)).collect() })
    }

    fn compare(&self, text: &str) -> Result<Value, String> {
        let settings = self.read(text)?;
        let other = Kept::of(&settings);
        Ok(difference(&self.parts.engine, &self.kept.lock(), &other, &settings.policy))
    }

    fn read(&self, text: &str) -> Result<Settings, String> {
        let folder = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let world = World { variable: &|name| std::env::var(name).ok(), folder };
        let read =
            self.parts.engine.with_names(|names| parse("the file", text.as_bytes(), &world, names));
        read.map_err(|rejected| rejected.spoken())
    }
}

impl Kept {
    /// What is in force after another configuration was taken: what needs a restart is as it was.
    fn followed_by(mut self, mut other: Self) -> Self {
        if let (Some(shown), Some(fresh)) =
            (&mut self.server.certificate, &other.server.certificate)
        {
            shown.renew(fresh);
        }
        other.server.certificate = self.server.certificate;
        other.server.front = self.server.front;
        other.server.admin_listen = self.server.admin_listen;
        other.server.drain_timeout = self.server.drain_timeout;
        other.store.path = self.store.path;
        other.store.on_store_failure = self.store.on_store_failure;
        other.billing.currency = self.billing.currency;
        other.billing.stripe_webhook_secret = self.billing.stripe_webhook_secret;
        other.auth.key_prefix = self.auth.key_prefix;
        other.auth.admin_key = self.auth.admin_key;
        other
    }
}

impl ConfigControl for Reloader {
    fn show(&self) -> Value {
        let kept = self.kept.lock();
        let policy = self.parts.engine.policy();
        let upstreams: Map<String, Value> = kept
            .upstreams
            .iter()
            .map(|upstream| {
                let urls: Vec<String> = upstream.urls.iter().map(ToString::to_string).collect();
                // Values of headers are credentials more often than not.
                let headers: Vec<&str> =
                    upstream.headers.iter().map(|(name, _)| name.as_str()).collect();
                (upstream.name.to_string(), json!({ "urls": urls, "headers": headers }))
            })
            .collect();
        let plans: Map<String, Value> = policy
            .plans()
            .map(|plan| {
                let limits = plan.limits.iter();
                let limits: Map<String, Value> = limits
                    .map(|limit| (limit.name.to_owned(), limit.rule.to_string().into()))
                    .collect();
                (plan.name.to_string(), json!({ "limits": limits }))
            })
            .collect();
        let headers: Vec<&str> = kept.auth.headers.iter().map(http::HeaderName::as_str).collect();
        json!({
            "file": self.path.display().to_string(),
            "policy": policy.number().0,
            "server": {
                "listen": kept.server.front.listen.to_string(),
                "admin_listen": kept.server.admin_listen.to_string(),
                "public_url": kept.server.public_url, "support_url": kept.server.support_url,
                "api_prefix": kept.server.api_prefix, "max_body": kept.server.max_body_bytes,
                "tls": kept.server.front.tls.is_some(),
            },
            "store": { "path": kept.store.path.display().to_string() },
            "billing": { "currency": kept.billing.currency, "top_up_url": kept.billing.top_up_url },
            "auth": { "headers": headers, "key_prefix": kept.auth.key_prefix },
            "upstreams": upstreams,
            "plans": plans,
            "routes": policy.routes().iter().map(|route| json!({
                "match": route.pattern.as_str(), "upstream": &*route.upstream,
                "class": &*route.class,
            })).collect::<Vec<_>>(),
            "prices": policy.prices().iter().map(|price| price.name()).collect::<Vec<_>>(),
        })
    }

    fn diff(&self, text: &str) -> Result<Value, String> {
        self.compare(text)
    }

    fn reload(&self) -> Result<Value, String> {
        self.take()
    }
}

/// Reloads when the file or one of the front's certificate changes, until the node stops.
///
/// Files are looked at twice a second by their real path and identity, which sees rewritten files,
/// atomic renames and swapped symlinks alike, on every kind of file system. They are read when they
/// have been the same twice, so that no half of a file is taken.
pub(crate) async fn watch_file(reloader: Arc<Reloader>, mut stopping: watch::Receiver<bool>) {
    let mut taken = reloader.state().map(|state| State { file: reloader.first.clone(), ..state });
    let mut last = None;
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let now = reloader.state();
        if now.is_some() && now == last && now != taken {
            taken.clone_from(&now);
            let reloader = Arc::clone(&reloader);
            let reload = move || reloader.reload_and_log();
            if let Err(error) = tokio::task::spawn_blocking(reload).await {
                tracing::error!(%error, "a reload failed");
            }
        }
        last = now;
    }
}

/// What tells one state of the configuration and of the certificate's files from another.
#[derive(Clone, Debug, PartialEq)]
struct State {
    file: Option<Identity>,
    certificate: Vec<Option<Identity>>,
}

/// What tells one state of a file from another: its real path, inode, size and time of change.
type Identity = (PathBuf, [i64; 4]);

fn identity(path: &Path) -> Option<Identity> {
    let real = std::fs::canonicalize(path).ok()?;
    let found = std::fs::metadata(&real).ok()?;
    let size = i64::try_from(found.size()).unwrap_or(i64::MAX);
    let inode = found.ino().cast_signed();
    Some((real, [inode, size, found.mtime(), found.mtime_nsec()]))
}

const LOOK: Duration = Duration::from_millis(500);
