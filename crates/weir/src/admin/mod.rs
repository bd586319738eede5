//! Commands that talk to a running server, one file per resource.

pub(crate) mod account;
pub(crate) mod admin_key;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod boost;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod hold;
pub(crate) mod import;
pub(crate) mod increase;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod limits;
pub(crate) mod tail;
pub(crate) mod top;
pub(crate) mod usage;
pub(crate) mod usage_event;
pub(crate) mod wallet;
pub(crate) mod webhook;
