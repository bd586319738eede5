//! The configuration as operators meet it: whole files in, settings or drawn problems out.

mod support;

mod fuzz;
mod good;
mod preset;
mod schema;
mod wrong;
