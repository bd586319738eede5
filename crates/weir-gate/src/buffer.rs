//! The memory that bodies may take while they are read: bounded for all, and for each account, so
//! that none of them can keep it from the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use weir_core::id::AccountId;

/// What all bodies together may take.
#[derive(Debug)]
pub(crate) struct Budget {
    /// What is left, in KiB.
    left: Arc<Semaphore>,
    /// The most that the large bodies of one account may take, in KiB.
    account_kib_max: u32,
    /// What those take, in KiB; accounts without any are not in it.
    accounts: Mutex<HashMap<AccountId, u32>>,
}

/// What one body takes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    owner: AccountId,
    taken: Option<OwnedSemaphorePermit>,
    /// How many bytes it is said to have.
    expected: u64,
    /// For how many bytes that is enough.
    covered: u64,
    /// What of it counts for the account, in KiB.
    counted_kib: u32,
}

impl Budget {
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        let kib = usize::try_from(bytes_max / KIB).unwrap_or(usize::MAX);
        let left = Arc::new(Semaphore::new(kib.min(Semaphore::MAX_PERMITS)));
        let account_kib_max = u32::try_from(bytes_max / KIB / 2).unwrap_or(u32::MAX);
        Arc::new(Self { left, account_kib_max, accounts: Mutex::default() })
    }

    /// For a body that is said to have so many bytes. What is only announced takes no memory.
    pub(crate) fn share(self: &Arc<Self>, owner: AccountId, expected: u64) -> Share {
        let budget = Arc::clone(self);
        Share { budget, owner, taken: None, expected, covered: 0, counted_kib: 0 }
    }

    async fn take(&self, kib: u32, patience: Instant) -> Option<OwnedSemaphorePermit> {
        if let Ok(taken) = Arc::clone(&self.left).try_acquire_many_owned(kib) {
            return Some(taken);
        }
        let waiting = Arc::clone(&self.left).acquire_many_owned(kib);
        timeout_at(patience, waiting).await.ok()?.ok()
    }

    fn count(&self, owner: AccountId, kib: u32) -> bool {
        let mut accounts = self.accounts.lock();
        let counted = accounts.get(&owner).copied().unwrap_or(0).saturating_add(kib);
        let fits = counted <= self.account_kib_max;
        if fits {
            accounts.insert(owner, counted);
        }
        fits
    }
}

impl Share {
    /// Makes room for a body of which so much has come; `None` if there is none in time.
    pub(crate) async fn cover(&mut self, bytes: u64) -> Option<()> {
        if bytes <= self.covered {
            return Some(());
        }
        let lacking = bytes - self.covered;
        let large = bytes > SMALL_BYTES;
        let step =
            if large { STEP_BYTES.min(self.expected.saturating_sub(self.covered)) } else { 0 };
        let kib = u32::try_from(lacking.max(step).div_ceil(KIB)).ok()?;
        let patience = Instant::now() + PATIENCE;
        while large && !self.budget.count(self.owner, kib) {
            if Instant::now() >= patience {
                return None;
            }
            sleep(TURN).await;
        }
        self.counted_kib += if large { kib } else { 0 };
        let more = self.budget.take(kib, patience).await?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        self.covered += u64::from(kib) * KIB;
        Some(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.counted_kib == 0 {
            return;
        }
        let mut accounts = self.budget.accounts.lock();
        let counted = accounts.get(&self.owner).copied().unwrap_or(0);
        let left = counted.saturating_sub(self.counted_kib);
        if left == 0 {
            accounts.remove(&self.owner);
        } else {
            accounts.insert(self.owner, left);
        }
    }
}

const KIB: u64 = 1_024;
/// What is no larger counts for no account: most bodies, which so take no lock.
const SMALL_BYTES: u64 = 8 << 10;
/// Larger ones take room in such steps.
const STEP_BYTES: u64 = 64 << 10;
/// How long a body waits for room.
const PATIENCE: Duration = Duration::from_secs(5);
const TURN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_KIB: usize = 1_024;

    #[tokio::test(start_paused = true)]
    async fn no_account_can_keep_the_memory_from_the_others() {
        let budget = Budget::new(1 << 20);
        let mut greedy = Vec::new();
        for _ in 0..5 {
            let mut share = budget.share(AccountId(1), u64::MAX);
            share.cover(100 << 10).await.unwrap();
            greedy.push(share);
        }
        let mut refused = budget.share(AccountId(1), u64::MAX);
        assert!(refused.cover(100 << 10).await.is_none(), "it has half of it");
        let mut other = budget.share(AccountId(2), u64::MAX);
        assert!(other.cover(400 << 10).await.is_some());
        greedy.pop();
        assert!(refused.cover(100 << 10).await.is_some());
        drop((greedy, refused, other));
        assert_eq!(budget.left.available_permits(), ALL_KIB);
        assert!(budget.accounts.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_announced_takes_nothing_and_what_has_come_takes_its_size() {
        let budget = Budget::new(1 << 20);
        let announced = budget.share(AccountId(1), 1 << 40);
        assert_eq!(budget.left.available_permits(), ALL_KIB);
        let mut drip = budget.share(AccountId(2), 1 << 40);
        for bytes in 1..=3_000 {
            drip.cover(bytes).await.unwrap();
        }
        let mut whole = budget.share(AccountId(2), 70 << 10);
        for bytes in [10, 20, 70] {
            whole.cover(bytes << 10).await.unwrap();
        }
        assert_eq!(budget.left.available_permits(), ALL_KIB - 3 - 70);
        drop((announced, drip, whole));
        assert_eq!(budget.left.available_permits(), ALL_KIB);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_leaves_nothing_behind() {
        let budget = Budget::new(1 << 20);
        let mut shares = [1, 2, 3].map(|id| budget.share(AccountId(id), u64::MAX));
        assert!(shares[0].cover(500 << 10).await.is_some());
        assert!(shares[1].cover(500 << 10).await.is_some());
        assert!(shares[2].cover(100 << 10).await.is_none());
        drop(shares);
        assert_eq!(budget.left.available_permits(), ALL_KIB);
        assert!(budget.accounts.lock().is_empty());
    }
}
