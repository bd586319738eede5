//! Durability: what the engine decided is on disk before anyone is told. Never decides.
//!
//! A store is a folder with three SQLite databases. `ledger.db` is the truth: one thread writes
//! it, everything that waits goes into one transaction with one fsync. `usage.db` (limit windows,
//! roll-ups) may be a second old after a crash. `index.db` is computed from the ledger and may be
//! lost. The way through the files is bottom-up, as listed here.
//!
//! What is absent: decisions about money or limits, a clock, HTTP. Only `verify` knows what a
//! wallet is, by the replay of the core; a snapshot of one is text to this crate.

mod ballast;
pub mod error;
pub mod fault;
mod folder;
pub mod health;
mod record;
mod schema;
mod stop;

pub mod op;

pub mod commit;
mod unsound;

mod queue;

mod apply;
mod writer;

mod checkpointer;

pub mod index;

pub mod usage;

mod behind;

pub mod read;

pub mod load;

pub mod backup;
pub mod store;
pub mod verify;
