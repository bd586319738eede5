//! Live state: clock, accounts in memory, admission, settlement, group commit, outbox.
//!
//! The way through: [`boot`] opens the store and fills [`engine`]; [`call`] admits, [`ticket`] settles;
//! [`accounts`], [`keys`] and [`credit`] change what the operator changes; [`behind`] writes each
//! second what may be a second old.
//!
//! What this crate does not do: no HTTP and no SQL.

pub mod clock;
pub mod guard;
pub mod secret;

pub mod change;
pub mod zone;

pub mod own;
pub mod record;
pub mod retention;

pub mod tally;

pub mod watch;

pub mod meters;

mod journal;
mod running;

mod alarm;
pub mod auto_top_up;
pub mod event_type;
mod levels;
pub mod webhook;

pub mod boosting;
pub mod operator;

pub mod cell;

pub mod contracts;
pub mod open_hold;

pub mod engine;

mod event;
mod snapshot;

pub mod alerts;

pub mod charging;

pub mod idempotency;
mod posting;

pub mod ticket;

pub mod call;
pub mod rehearse;

pub mod look;
pub mod outbox;
mod tell;
pub mod trail;
pub mod usage;
pub mod webhooks;

pub mod commitments;

pub mod accounts;
pub mod boosts;

pub mod auto_top_ups;

pub mod credit;
pub mod holds;
pub mod keys;
pub mod payments;
pub mod refunds;
pub mod statements;
pub mod usage_events;

pub mod increases;
pub mod operators;

pub mod accept;
mod mend;
mod recover;

mod counted;

pub mod behind;

pub mod audit;

pub mod admin_key;
pub mod boot;
