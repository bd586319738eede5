//! Webhooks and e-mail: events on their way out.

pub mod guard;
pub mod sign;

pub mod message;

mod agenda;
mod connect;
mod places;
mod post;
mod schedule;

mod template;

pub mod mail;

pub mod deliver;
