//! Where in the file something stands.

use std::ops::Range;

/// A stretch of the configuration text, in bytes from its start.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    /// First byte.
    pub(crate) start: usize,
    /// One past the last byte.
    pub(crate) end: usize,
}

/// A value with the place it was read from, so that every later objection can point at it.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    /// What was read.
    pub(crate) value: T,
    /// Where it stands.
    pub(crate) place: Place,
}

/// An entry of a table whose keys the operator chooses: a plan, a price, an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Named<T> {
    /// The key.
    pub(crate) name: At<String>,
    /// What stands under it.
    pub(crate) value: T,
}

impl<T> At<T> {
    /// The same place with another value.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), place: self.place }
    }
}

impl From<Range<usize>> for Place {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}
