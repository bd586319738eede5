//! Prepaid balance of one account: what is posted, what is held, what may be spent.
//!
//! [`state`] is the wallet, [`posting`] what a change leaves in the ledger, [`holding`] reserves
//! credit, [`refund`] takes charges back, [`replay`] rebuilds a wallet from its entries or from a
//! snapshot.

pub mod hold;
pub mod posting;

pub mod state;

pub mod holding;
pub mod refund;
pub mod replay;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod edge_tests;

#[cfg(test)]
mod model_tests;

pub use self::hold::{Hold, Insufficient};
pub use self::posting::{NextSeq, Posting, Postings};
pub use self::refund::{RefundRefused, Refundable};
pub use self::replay::{LedgerFault, WalletState};
pub use self::state::{ChangeRefused, Settlement, Wallet};
