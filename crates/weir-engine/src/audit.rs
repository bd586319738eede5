//! Proving the books of a store, whether it is in use or not.

use std::path::Path;

use weir_core::wallet::Wallet;
use weir_store::index::WalletSnapshot;
use weir_store::verify::{Report, VerifyError, verify_with};

use crate::engine::Engine;
use crate::snapshot::WalletRow;

/// Recomputes every invariant of the ledger in a folder from its entries, and compares the wallet
/// snapshots with what the entries give. The store may be in use or not.
///
/// # Errors
///
/// [`VerifyError`]: the first thing that does not hold.
pub fn verify(folder: &Path) -> Result<Report, VerifyError> {
    verify_with(folder, Some(&mut agrees))
}

impl Engine {
    /// Recomputes every invariant of the ledger while it is written, as of one moment. Blocks.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold.
    pub fn verify_ledger(&self) -> Result<Report, VerifyError> {
        verify(self.journal.store().folder())
    }
}

fn agrees(snapshot: &WalletSnapshot, wallet: &Wallet) -> bool {
    let Ok(row) = serde_json::from_str::<WalletRow>(&snapshot.state) else { return false };
    let mut kept = row.state(snapshot.as_of);
    let mut replayed = wallet.state(snapshot.as_of);
    kept.grants.sort_unstable_by_key(|grant| grant.seq);
    replayed.grants.sort_unstable_by_key(|grant| grant.seq);
    kept == replayed
}
