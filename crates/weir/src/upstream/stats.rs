//! What reached the mock, for tests to look at under `/__mock/`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::upstream::call::Call;

/// Counts of this process since its start or the last reset; calls to `/__mock/` are left out.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    requests: AtomicU64,
    open: AtomicU64,
    cancelled: AtomicU64,
    by_path: Mutex<BTreeMap<String, u64>>,
    last: Mutex<Option<Arc<Call>>>,
}

impl Stats {
    /// Counts a request at its head.
    pub(crate) fn enter(self: &Arc<Self>, path: &str) -> Visit {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut by_path = locked(&self.by_path);
        if let Some(count) = by_path.get_mut(path) {
            *count += 1;
        } else if by_path.len() < PATHS_MAX {
            by_path.insert(path.to_owned(), 1);
        } else {
            *by_path.entry(PATHS_OTHER.to_owned()).or_default() += 1;
        }
        drop(by_path);
        Visit { stats: Some(Arc::clone(self)) }
    }

    /// Remembers a request whose body has been read.
    pub(crate) fn remember(&self, call: &Arc<Call>) {
        let earlier = locked(&self.last).replace(Arc::clone(call));
        drop(earlier);
    }

    /// Forgets everything but the requests that are still open.
    pub(crate) fn reset(&self) {
        self.requests.store(0, Ordering::Relaxed);
        self.cancelled.store(0, Ordering::Relaxed);
        locked(&self.by_path).clear();
        *locked(&self.last) = None;
    }

    /// `requests`, `by_path`, `open`, `cancelled` (the client left before the end), `last_request`.
    pub(crate) fn report(&self) -> Value {
        let last = locked(&self.last).clone();
        json!({
            "requests": self.requests.load(Ordering::Relaxed),
            "open": self.open.load(Ordering::Relaxed),
            "cancelled": self.cancelled.load(Ordering::Relaxed),
            "by_path": *locked(&self.by_path),
            "last_request": last.map(|call| describe(&call)),
        })
    }
}

fn describe(call: &Call) -> Value {
    let headers: Vec<Value> = call
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let shown = &call.body[..call.body.len().min(BODY_SHOWN_MAX)];
    json!({
        "method": call.method.as_str(),
        "target": call.target(),
        "headers": headers,
        "body": String::from_utf8_lossy(shown),
        "body_bytes": call.body.len(),
    })
}

/// A request in progress; dropped before [`Visit::end`], the client went away.
#[derive(Debug)]
pub(crate) struct Visit {
    /// None once it has ended, and for what is not counted.
    stats: Option<Arc<Stats>>,
}

impl Visit {
    /// Of a request that is not counted.
    pub(crate) fn uncounted() -> Self {
        Self { stats: None }
    }

    /// The answer was given to its end, or broken off by the mock itself.
    pub(crate) fn end(&mut self) {
        if let Some(stats) = self.stats.take() {
            stats.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(stats) = self.stats.take() {
            stats.cancelled.fetch_add(1, Ordering::Relaxed);
            stats.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Locks; the data of this module is valid after any panic, so poisoning is passed over.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const PATHS_MAX: usize = 1024;
const PATHS_OTHER: &str = "(other)";
const BODY_SHOWN_MAX: usize = 1 << 20;
