//! What a check found.

use std::fmt::{self, Display};

/// A rule broken at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// From the root of the workspace.
    pub(crate) path: String,
    /// From 1; 0 is the file as a whole.
    pub(crate) line: usize,
    /// What is wrong and what is wanted.
    pub(crate) text: String,
}

impl Complaint {
    /// A complaint about a line, counted from 0.
    pub(crate) fn at(path: &str, index: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: index + 1, text: text.into() }
    }

    /// A complaint about a whole file.
    pub(crate) fn of(path: &str, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, text: text.into() }
    }
}

impl Display for Complaint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.text),
            line => write!(out, "{}:{line}: {}", self.path, self.text),
        }
    }
}
