//! The rules of Weir: who may do how much, and what it costs.
//!
//! Pure: no I/O, clock, async, serde, randomness or floats. The same input gives the same output.
//! The way through the files is bottom-up, as listed here; a file imports only from files above
//! its own line.

pub mod seldom;

pub mod id;
pub mod money;
pub mod time;
pub mod usage;

pub mod ledger;
pub mod price;

pub mod grant;
pub mod wallet;

pub mod alert;

pub mod calendar;
pub mod limit;
pub mod window;

pub mod model;
pub mod operation;

pub mod names;

pub mod key;
pub mod plan;
pub mod policy;

pub mod entitlement;

pub mod account;
pub mod admit;
