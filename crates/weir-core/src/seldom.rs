//! Room for what most do not have.

use std::ops::{Deref, DerefMut};

/// A `T` that takes a pointer's room until it is first changed: a million accounts without a
/// wallet pay nothing for one. It reads as [`Blank::blank`] until then.
#[derive(Clone, Debug)]
pub struct Seldom<T>(Option<Box<T>>);

/// What has a state in which nothing has happened to it yet, the same as its default.
pub trait Blank: Default + 'static {
    /// That state.
    fn blank() -> &'static Self;
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Blank> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(known) => known,
            None => T::blank(),
        }
    }
}

impl<T: Blank> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: 'static> Blank for Vec<T> {
    fn blank() -> &'static Self {
        const { &Self::new() }
    }
}
