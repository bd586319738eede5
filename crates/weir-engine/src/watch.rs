//! Calls as they end, for whoever watches: nothing is kept, and nobody waits for a slow watcher.

use std::sync::Arc;

use tokio::sync::broadcast;
use weir_core::id::{AccountId, KeyId};
use weir_core::money::Nano;
use weir_core::time::Timestamp;

use crate::tally::Counted;

/// A call that ended, or was refused.
#[derive(Clone, Debug)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Who made it.
    pub account: AccountId,
    /// With which key.
    pub key: KeyId,
    /// Its route.
    pub route: Box<str>,
    /// The operation class of the route.
    pub class: Box<str>,
    /// The model it named, empty if none.
    pub model: Box<str>,
    /// The status that the client got.
    pub status: u16,
    /// Whether a limit or the wallet refused it.
    pub limited: bool,
    /// Prompt tokens of every kind.
    pub input_tokens: u64,
    /// Generated tokens of every kind.
    pub output_tokens: u64,
    /// What it was charged.
    pub charged: Nano,
    /// From its arrival to the end of its answer, in milliseconds.
    pub latency_ms: u64,
}

/// Everybody who watches.
#[derive(Debug)]
pub(crate) struct Watchers(broadcast::Sender<Arc<Ended>>);

impl Default for Watchers {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND_MAX))
    }
}

impl Watchers {
    /// Tells a call to everybody who watches; costs one load if nobody does.
    pub(crate) fn tell(&self, call: &Counted<'_>) {
        if self.0.receiver_count() == 0 {
            return;
        }
        let route = call.policy.route(call.route);
        let ended = Ended {
            at: call.at,
            account: call.account,
            key: call.key,
            route: route.map_or("", |route| route.pattern.as_str()).into(),
            class: route.map_or("", |route| &*route.class).into(),
            model: call.model.into(),
            status: call.status,
            limited: call.limited,
            input_tokens: call.usage.input(),
            output_tokens: call.usage.output(),
            charged: call.charged,
            latency_ms: call.latency_ms,
        };
        // An error means that the last watcher has just gone.
        let _gone = self.0.send(Arc::new(ended));
    }

    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<Ended>> {
        self.0.subscribe()
    }
}

/// How many calls a watcher may lag behind before it misses some.
const BEHIND_MAX: usize = 4_096;
