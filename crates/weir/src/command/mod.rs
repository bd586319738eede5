//! One file per command: its arguments, and `run`.

pub(crate) mod check;
pub(crate) mod demo_upstream;
pub(crate) mod init;

pub(crate) mod doctor;
pub(crate) mod restore;

pub(crate) mod serve;

pub(crate) mod demo;
