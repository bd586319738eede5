//! Control plane: admin API, customer API, webhooks.
//!
//! The way through: [`serve`] takes connections, [`shell`] surrounds every request (its id, its
//! errors), [`auth`] says who asks, [`repeat`] gives repeated POSTs their first answer; [`admin`]
//! and [`customer`] are the routes, `shape` is what resources look like, and the rules are the
//! engine's.
//!
//! What this crate does not do: no proxied calls, no storage, no decisions.

mod time;

mod allowance;

pub mod settings;

mod problem;

mod answer;
mod once;
mod unique;

mod request;
pub mod table;

pub mod hook;

mod permit;
mod refusals;

mod document;

mod shape;

mod hooks;

mod shell;

mod auth;
mod follow;
mod repeat;

mod webhooks;

pub mod admin;
pub mod customer;

mod first_word;
pub mod serve;
