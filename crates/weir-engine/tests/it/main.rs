//! The engine on a real store in a folder of its own, by a clock that is moved by hand.

mod alerts;
mod sound;
mod support;
