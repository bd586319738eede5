//! The store as its users see it: what is acknowledged, what a crash leaves, what a fault costs.

mod backup;
mod behind;
mod commits;
mod faults;
mod recovery;
mod support;
mod verify;
