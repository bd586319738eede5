//! By what kind of rule a window was counted when it was written down: without that its numbers
//! mean nothing to a rule of another kind, should the configuration change while nothing runs.

use weir_core::limit::{Algorithm, Period, Rule, Terms};
use weir_core::plan::Limit;
use weir_core::time::Span;

/// How a window was counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Counted {
    algorithm: Algorithm,
    length: Span,
}

impl Counted {
    /// How a rule counts.
    pub(crate) fn by(rule: &Rule) -> Self {
        Self { algorithm: rule.algorithm(), length: rule.terms().period.nominal() }
    }

    /// A rule of this kind with the quota of another, to carry its windows over from.
    pub(crate) fn rule(self, like: &Rule) -> Option<Rule> {
        let period = Period::Span(self.length);
        let terms = Terms { algorithm: self.algorithm, ..Terms::new(like.quota(), period) };
        Rule::new(terms).ok()
    }
}

/// The name under which a limit's window is written.
pub(crate) fn written(limit: &Limit) -> Box<str> {
    let Counted { algorithm, length } = Counted::by(&limit.rule);
    format!("{}{SEPARATOR}{}/{}", limit.name, algorithm.name(), length.micros()).into()
}

/// The limit of a written name, and how it counted.
pub(crate) fn read(written: &str) -> Option<(&str, Counted)> {
    let (name, kind) = written.rsplit_once(SEPARATOR)?;
    let (algorithm, length) = kind.split_once('/')?;
    let length = Span::from_micros(length.parse().ok()?);
    Some((name, Counted { algorithm: Algorithm::by_name(algorithm)?, length }))
}

/// Occurs in the name of no limit.
const SEPARATOR: char = '\u{1f}';

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::limit::LimitId;
    use weir_core::plan::Target;

    #[test]
    fn a_written_name_reads_back() {
        let rule: Rule = "5/hour".parse().unwrap();
        let limit = Limit { id: LimitId(1), name: "route:GET /a@b", target: Target::All, rule };
        let written = written(&limit);
        let (name, counted) = read(&written).unwrap();
        assert_eq!((name, counted), ("route:GET /a@b", Counted::by(&limit.rule)));
        assert_eq!(counted.rule(&limit.rule).unwrap().window(), Span::from_secs(3_600));
        assert_eq!(read("ai"), None);
    }
}
