//! Names of models, and patterns that cover many of them.

use std::fmt;

/// A model's name, or the beginning of names: `gpt-4o`, `gpt-*`, `*`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ModelPattern {
    stem: Box<str>,
    open: bool,
}

/// A `*` that is not at the end, or nothing at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a model is a name, or the beginning of one and a `*` at its end")]
pub struct InvalidModelPattern;

impl ModelPattern {
    /// Reads a name, or a beginning followed by `*`.
    ///
    /// # Errors
    ///
    /// [`InvalidModelPattern`] when a `*` stands elsewhere or the text is empty.
    pub fn parse(text: &str) -> Result<Self, InvalidModelPattern> {
        let (stem, open) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        if stem.contains('*') || text.is_empty() {
            return Err(InvalidModelPattern);
        }
        Ok(Self { stem: stem.into(), open })
    }

    /// Whether the pattern covers this model.
    pub fn covers(&self, model: &str) -> bool {
        if self.open { model.starts_with(&*self.stem) } else { *self.stem == *model }
    }

    /// Which of two matching patterns says more: the longer stem, then the whole name.
    pub fn precision(&self) -> (usize, bool) {
        (self.stem.len(), !self.open)
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.stem, if self.open { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_its_name_or_beginning() {
        let covers = |pattern: &str, model| ModelPattern::parse(pattern).unwrap().covers(model);
        assert!(covers("gpt-4o", "gpt-4o"));
        assert!(!covers("gpt-4o", "gpt-4o-mini"));
        assert!(covers("gpt-4o*", "gpt-4o"));
        assert!(covers("*", ""));
        assert_eq!(ModelPattern::parse("a*b"), Err(InvalidModelPattern));
        assert_eq!(ModelPattern::parse(""), Err(InvalidModelPattern));
    }
}
