//! What resources look like on the wire, made from what the engine has.

pub(crate) mod check;
pub(crate) mod usage;

pub(crate) mod account;
pub(crate) mod boost;
pub(crate) mod increase;
pub(crate) mod key;
pub(crate) mod limit;
pub(crate) mod price;
pub(crate) mod record;
pub(crate) mod summary;
pub(crate) mod wallet;
pub(crate) mod webhook;

pub(crate) mod explain;
