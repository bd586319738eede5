//! Charged streams that are running: what a crash would have to charge.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_core::id::AccountId;
use weir_core::ledger::Call;
use weir_core::usage::Usage;
use weir_store::op::CallId;

/// A charged stream that is running.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) call: CallId,
    pub(crate) account: AccountId,
    pub(crate) facts: Call,
    pub(crate) request_id: Box<str>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    noted: Usage,
    written: Usage,
}

/// All charged streams that are running.
#[derive(Debug, Default)]
pub(crate) struct RunningCalls(Mutex<HashMap<CallId, Arc<Running>>>);

impl Running {
    pub(crate) fn new(call: CallId, account: AccountId, facts: Call, request_id: Box<str>) -> Self {
        Self { call, account, facts, request_id, progress: Mutex::default() }
    }

    /// Notes what was produced so far.
    pub(crate) fn note(&self, usage: &Usage) {
        self.progress.lock().noted = *usage;
    }

    /// What was noted last.
    pub(crate) fn noted(&self) -> Usage {
        self.progress.lock().noted
    }

    /// What was noted, if it was not written down yet; then it counts as written.
    fn fresh(&self) -> Option<Usage> {
        let mut progress = self.progress.lock();
        (progress.noted != progress.written).then(|| {
            progress.written = progress.noted;
            progress.noted
        })
    }
}

impl RunningCalls {
    pub(crate) fn begin(&self, running: &Arc<Running>) {
        self.0.lock().insert(running.call, Arc::clone(running));
    }

    /// Takes a stream off the list. Whoever commits the end of the call does so afterwards: no
    /// checkpoint of it can then be queued behind.
    pub(crate) fn end(&self, call: CallId) {
        self.0.lock().remove(&call);
    }

    /// Hands every stream with news to `write` while no stream can end.
    pub(crate) fn checkpoint(&self, write: impl FnOnce(Vec<(Arc<Running>, Usage)>)) {
        let calls = self.0.lock();
        let fresh = calls
            .values()
            .filter_map(|running| running.fresh().map(|usage| (Arc::clone(running), usage)));
        let fresh: Vec<_> = fresh.collect();
        if !fresh.is_empty() {
            write(fresh);
        }
    }
}
