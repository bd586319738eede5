//! Looking at what is kept: pages of accounts, the ledger, events, the terms of an account.

use std::collections::BinaryHeap;
use std::fs::File;
use std::sync::Arc;

use weir_core::id::{AccountId, EventId, Seq};
use weir_core::ledger::Entry;
use weir_core::price::Contract;
use weir_store::error::{CommitError, OpenError, ReadError};
use weir_store::health::StoreHealth;
use weir_store::op::Event;
use weir_store::read::Reader;

use crate::cell::AccountCell;
use crate::change::ChangeError;
use crate::engine::Engine;
use crate::record::AccountRecord;

impl Engine {
    /// Accounts that `wanted` picks, by id, after an id (or from the first), at most `limit`.
    pub fn accounts_after(
        &self,
        after: Option<AccountId>,
        limit: usize,
        wanted: impl Fn(&AccountRecord) -> bool,
    ) -> Vec<Arc<AccountCell>> {
        let pin = self.accounts.pin();
        let mut least: BinaryHeap<AccountId> = BinaryHeap::with_capacity(limit + 1);
        for (id, cell) in &pin {
            let full = least.len() >= limit;
            if after.is_some_and(|after| *id <= after)
                || full && least.peek().is_some_and(|largest| id > largest)
                || !wanted(&cell.record.load())
            {
                continue;
            }
            least.push(*id);
            if least.len() > limit {
                least.pop();
            }
        }
        least.into_sorted_vec().iter().filter_map(|id| pin.get(id).map(Arc::clone)).collect()
    }

    /// The entries of an account before a position (or the last ones), newest first.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unreadable`] where the store fails.
    pub async fn entries_of(
        &self,
        account: AccountId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Entry>, ChangeError> {
        self.read(move |reader| reader.entries(account, before, limit)).await
    }

    /// Events (of one account, or all) after an id, oldest first.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unreadable`] where the store fails.
    pub async fn events_after(
        &self,
        account: Option<AccountId>,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<Event>, ChangeError> {
        self.read(move |reader| reader.events(account, after, limit)).await
    }

    /// The contract of an account, if it has one.
    pub fn contract_of(&self, cell: &AccountCell) -> Option<Arc<Contract>> {
        cell.live.lock().contract.clone()
    }

    /// Why charges cannot be recorded; `None`: they can.
    pub fn store_trouble(&self) -> Option<&'static str> {
        match self.health() {
            StoreHealth::Ok => None,
            StoreHealth::Full => Some("the disk of the store is full"),
            StoreHealth::Fenced => Some("the store is fenced after a failed write"),
        }
    }

    /// The id of an event that would be told now: every later event's is higher.
    pub fn event_horizon(&self) -> EventId {
        EventId(self.next_id())
    }

    /// The whole store as of now in an open file, for whoever passes it on. Blocks.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the disk is full or fails.
    pub fn backup(&self) -> Result<File, OpenError> {
        self.journal.store().backup_to_pass_on()
    }

    /// Reads the store on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let reader = self.journal.store().reader();
        match tokio::task::spawn_blocking(move || ask(reader)).await {
            Ok(answer) => answer.map_err(ChangeError::Unreadable),
            // The runtime is being shut down.
            Err(_) => Err(ChangeError::Store(CommitError::Closed)),
        }
    }
}
