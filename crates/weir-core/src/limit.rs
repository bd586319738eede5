//! The rule of one limit: how many units, per what period, counted how; and its text form.
//!
//! What has been counted is a [`crate::window::Window`].

mod terms;

mod rule;

mod text;

pub(crate) use self::rule::UNLIMITED;
pub use self::rule::{InvalidRule, Rule};
pub use self::terms::{Algorithm, Anchor, LimitId, Mode, Period, Terms, Unit};
pub use self::text::InvalidLimit;
