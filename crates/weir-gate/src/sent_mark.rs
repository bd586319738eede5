//! What has gone to an upstream of a call that is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether anything of a call may have reached an upstream, for whoever waits for the call or
/// drops it while it is under way, and how far its body has come. Clones share one truth.
#[derive(Clone, Debug, Default)]
pub struct SentMark(Arc<Sent>);

#[derive(Debug, Default)]
struct Sent {
    sent: AtomicBool,
    /// Whether the client's body, passed on as it comes, is still on its way.
    uploading: AtomicBool,
    uploaded: AtomicU64,
}

impl SentMark {
    /// Whether anything may have been sent; settled once the call has ended.
    pub fn is_set(&self) -> bool {
        self.0.sent.load(Ordering::Acquire)
    }

    /// Whether a body that the client still sends is on its way.
    pub fn uploading(&self, uploading: bool) {
        self.0.uploading.store(uploading, Ordering::Release);
    }

    /// So many more bytes of it have been passed on.
    pub fn uploaded(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.0.uploaded.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether such a body is on its way, and how many bytes of it have been passed on.
    pub(crate) fn upload(&self) -> (bool, u64) {
        (self.0.uploading.load(Ordering::Acquire), self.0.uploaded.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, sent: bool) {
        self.0.sent.store(sent, Ordering::Release);
    }
}
