//! Prices: what a call may cost at most before it is made, and what it costs afterwards.

pub mod period;

pub mod commitment;

pub mod rate;
pub mod tariff;

pub mod sheet;

pub mod offer;

pub mod book;

#[cfg(test)]
mod tests;

pub use self::book::{Contract, DuplicatePrice, PriceBook, UnknownPrice};
pub use self::commitment::{Commitment, Committed};
pub use self::offer::{Bound, Charge, Offer, TooLarge};
pub use self::period::Period;
pub use self::rate::{InvalidRate, Rate};
pub use self::sheet::{InvalidPrice, LongContext, Price, Rates};
pub use self::tariff::{InvalidTariff, Mode, Multiplier, Tariff, Tier};
