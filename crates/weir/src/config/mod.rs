//! The configuration file: read, checked, turned into settings and a policy.
//!
//! The way through the files is bottom-up, as listed here. Nothing here opens a socket or a store,
//! and nothing here decides about a request.

pub(crate) mod preset;

mod place;
pub(crate) mod words;

mod veil;

pub(crate) mod diagnose;
mod expand;
mod units;
mod zone;

pub(crate) mod read;
mod values;

mod tls;

mod retention;

pub(crate) mod server;
pub(crate) mod services;

mod upstream;

mod limit;
mod price;
mod route;

mod plan;

mod file;

mod cross;

pub(crate) mod settings;

pub(crate) mod load;

#[cfg(test)]
mod tests;
