//! Which route a request belongs to: method and raw path, no decoding.

use std::collections::BTreeMap;
use std::fmt;

/// Position of a route in its policy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RouteIndex(pub u16);

/// What a route answers to: `GET,HEAD /files/*`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoutePattern {
    methods: Vec<Box<str>>,
    segments: Vec<Segment>,
    tail: bool,
    text: Box<str>,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Segment {
    Literal(Box<str>),
    Any,
}

/// Why a text is no route pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPattern {
    /// Not of the form `METHOD[,METHOD] /path` or `* /path`.
    #[error("a route is `METHOD[,METHOD] /path` or `* /path`")]
    Form,
    /// The method is not a word of capital letters.
    #[error("`{0}` is not a method")]
    Method(Box<str>),
    /// The path cannot occur in a request, so that the route would never match.
    #[error("{0}")]
    Path(InvalidPath),
    /// A `*` beside other characters in one segment.
    #[error("`*` stands for a whole segment; `{0}` mixes it with other characters")]
    PartialWildcard(Box<str>),
}

/// Why a request path is refused before any route is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPath {
    /// It does not begin with `/`.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// `//`, or a `/` at the end.
    #[error("the path has an empty segment (`//`, or a `/` at its end)")]
    EmptySegment,
    /// `.` or `..`.
    #[error("the path has a dot segment (`.` or `..`)")]
    DotSegment,
    /// `%2F`, `%2E`, `%5C`, an encoded letter or digit, or a `%` without two hex digits.
    #[error("the path encodes a character that must stand as itself or not at all")]
    EncodedCharacter,
    /// A backslash, a space or a control character.
    #[error("the path has a character that no path may have")]
    ForbiddenCharacter,
}

/// What looking for a route came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// This route.
    Found(RouteIndex),
    /// The path is known, but not with this method; these are.
    OtherMethods(Vec<Box<str>>),
    /// No route has this path.
    NotFound,
}

/// All routes of a policy, ready to be searched.
///
/// The leftmost literal segment wins over a wildcard, then a named method over `*`.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    root: Node,
}

#[derive(Clone, Debug, Default)]
struct Node {
    literals: BTreeMap<Box<str>, Node>,
    any: Option<Box<Node>>,
    here: Methods,
    below: Methods,
}

#[derive(Clone, Debug, Default)]
struct Methods {
    named: BTreeMap<Box<str>, RouteIndex>,
    every: Option<RouteIndex>,
}

/// Two routes that answer to the same requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("another route answers to the same method and path")]
pub struct Tie {
    /// The route that was there first.
    pub first: RouteIndex,
}

impl RoutePattern {
    /// Reads `METHOD[,METHOD] /path` or `* /path`.
    ///
    /// # Errors
    ///
    /// [`InvalidPattern`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let (methods, path) = text.trim().split_once(' ').ok_or(InvalidPattern::Form)?;
        let path = path.trim_start();
        let methods = if methods == "*" { Vec::new() } else { parse_methods(methods)? };
        let (body, tail) = match path.strip_suffix("/*") {
            Some(body) => (body, true),
            None => (path, false),
        };
        if !path.starts_with('/') {
            return Err(InvalidPattern::Path(InvalidPath::NotAbsolute));
        }
        let checked = if body.is_empty() { "/" } else { body };
        check_path(checked).map_err(InvalidPattern::Path)?;
        let segments = segments_of(checked)
            .map(|segment| match segment {
                "*" => Ok(Segment::Any),
                _ if segment.contains('*') => Err(InvalidPattern::PartialWildcard(segment.into())),
                _ => Ok(Segment::Literal(segment.into())),
            })
            .collect::<Result<_, _>>()?;
        let words = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
        Ok(Self { methods, segments, tail, text: format!("{words} {path}").into() })
    }

    /// The pattern as it is written, with one space.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether every method that it names (it must name some) only reads: GET, HEAD, OPTIONS.
    pub fn only_reads(&self) -> bool {
        !self.methods.is_empty() && self.methods.iter().all(|method| is_safe(method))
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl RouteTable {
    /// Adds a route.
    ///
    /// # Errors
    ///
    /// [`Tie`] when an earlier route already answers to one of its methods on the same path; the
    /// table must then not be used.
    pub fn insert(&mut self, pattern: &RoutePattern, index: RouteIndex) -> Result<(), Tie> {
        let mut node = &mut self.root;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Any => node.any.get_or_insert_default(),
            };
        }
        let methods = if pattern.tail { &mut node.below } else { &mut node.here };
        methods.insert(&pattern.methods, index)
    }

    /// The route for a method and a raw path (without query), which must have passed
    /// [`check_path`].
    pub fn find(&self, method: &str, path: &str) -> Lookup {
        let segments: smallvec::SmallVec<[&str; 12]> = segments_of(path).collect();
        let mut others = Vec::new();
        match self.root.find(method, &segments, &mut others) {
            Some(index) => Lookup::Found(index),
            None if others.is_empty() => Lookup::NotFound,
            None => {
                others.sort_unstable();
                others.dedup();
                Lookup::OtherMethods(others)
            }
        }
    }
}

impl Node {
    fn find(&self, method: &str, rest: &[&str], others: &mut Vec<Box<str>>) -> Option<RouteIndex> {
        let found = match rest {
            [] => self.here.find(method, others),
            [first, rest @ ..] => self
                .literals
                .get(*first)
                .and_then(|node| node.find(method, rest, others))
                .or_else(|| self.any.as_ref().and_then(|node| node.find(method, rest, others))),
        };
        found.or_else(|| self.below.find(method, others))
    }
}

impl Methods {
    fn insert(&mut self, methods: &[Box<str>], index: RouteIndex) -> Result<(), Tie> {
        if methods.is_empty() {
            return match self.every.replace(index) {
                Some(first) => Err(Tie { first }),
                None => Ok(()),
            };
        }
        for method in methods {
            if let Some(first) = self.named.insert(method.clone(), index) {
                return Err(Tie { first });
            }
        }
        Ok(())
    }

    fn find(&self, method: &str, others: &mut Vec<Box<str>>) -> Option<RouteIndex> {
        let implied = || if method == "HEAD" { self.named.get("GET") } else { None };
        let found = self.named.get(method).or_else(implied).copied().or(self.every);
        if found.is_none() {
            others.extend(self.named.keys().cloned());
        }
        found
    }
}

/// Refuses paths that two readers could understand in two ways.
///
/// # Errors
///
/// [`InvalidPath`] names the first thing wrong.
pub fn check_path(path: &str) -> Result<(), InvalidPath> {
    let Some(rest) = path.strip_prefix('/') else { return Err(InvalidPath::NotAbsolute) };
    if rest.is_empty() {
        return Ok(());
    }
    for segment in rest.split('/') {
        match segment {
            "" => return Err(InvalidPath::EmptySegment),
            "." | ".." => return Err(InvalidPath::DotSegment),
            _ => check_segment(segment.as_bytes())?,
        }
    }
    Ok(())
}

/// GET, HEAD or OPTIONS: what a read key may send, and what counts as class `read` by default.
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

fn check_segment(segment: &[u8]) -> Result<(), InvalidPath> {
    let mut bytes = segment.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' | b' ' | 0..=0x1f | 0x7f => return Err(InvalidPath::ForbiddenCharacter),
            b'%' => {
                let decoded = match (bytes.next(), bytes.next()) {
                    (Some(high), Some(low)) => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
                    _ => None,
                };
                match decoded {
                    // What stands for itself need not be encoded: whoever encodes it wants two
                    // readers to see two paths.
                    Some(b'/' | b'.' | b'\\' | 0..=0x1f | 0x7f) | None => {
                        return Err(InvalidPath::EncodedCharacter);
                    }
                    Some(plain) if plain.is_ascii_alphanumeric() => {
                        return Err(InvalidPath::EncodedCharacter);
                    }
                    Some(_) => {}
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn parse_methods(text: &str) -> Result<Vec<Box<str>>, InvalidPattern> {
    text.split(',')
        .map(|method| {
            let is_word = method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
            if method.is_empty() || !is_word || method == "CONNECT" {
                return Err(InvalidPattern::Method(method.into()));
            }
            Ok(method.into())
        })
        .collect()
}

fn segments_of(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(1).filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[&str]) -> RouteTable {
        let mut table = RouteTable::default();
        for (index, text) in patterns.iter().enumerate() {
            let pattern = RoutePattern::parse(text).unwrap();
            table.insert(&pattern, RouteIndex(u16::try_from(index).unwrap())).unwrap();
        }
        table
    }

    #[track_caller]
    fn check(patterns: &[&str], request: &str, expected: Option<u16>) {
        let (method, path) = request.split_once(' ').unwrap();
        let found = match table(patterns).find(method, path) {
            Lookup::Found(RouteIndex(index)) => Some(index),
            _ => None,
        };
        assert_eq!(found, expected, "{request}");
    }

    #[test]
    fn the_leftmost_literal_wins() {
        let routes = ["* /*", "GET /a/*", "GET /a/b", "GET /*/b", "GET /a/*/c", "POST /a/b"];
        check(&routes, "GET /a/b", Some(2));
        check(&routes, "HEAD /a/b", Some(2));
        check(&routes, "POST /a/b", Some(5));
        check(&routes, "GET /a", Some(1));
        check(&routes, "GET /a/x/c", Some(4));
        check(&routes, "GET /a/x/d", Some(1));
        check(&routes, "GET /z/b", Some(3));
        check(&routes, "DELETE /a/b", Some(0));
        check(&routes, "GET /", Some(0));
    }

    #[test]
    fn paths_match_by_case_and_whole_segments() {
        let routes = ["POST /ai/chat"];
        check(&routes, "POST /ai/chat", Some(0));
        check(&routes, "POST /AI/chat", None);
        check(&routes, "POST /ai/chatter", None);
        check(&routes, "POST /ai", None);
    }

    #[test]
    fn a_named_method_wins_over_any() {
        let routes = ["* /x", "HEAD /x", "GET /x"];
        check(&routes, "HEAD /x", Some(1));
        check(&routes, "GET /x", Some(2));
        check(&routes, "PATCH /x", Some(0));
    }

    #[test]
    fn a_known_path_with_another_method_names_the_methods() {
        let found = table(&["GET /x", "PUT,PATCH /x"]).find("POST", "/x");
        assert_eq!(found, Lookup::OtherMethods(vec!["GET".into(), "PATCH".into(), "PUT".into()]));
    }

    #[test]
    fn two_routes_for_the_same_request_are_a_tie() {
        let mut table = table(&["PUT,PATCH /x/*"]);
        let second = RoutePattern::parse("PATCH /x/*").unwrap();
        assert_eq!(table.insert(&second, RouteIndex(1)), Err(Tie { first: RouteIndex(0) }));
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for path in ["", "a", "*"] {
            assert_eq!(check_path(path), Err(InvalidPath::NotAbsolute), "{path}");
        }
        for path in ["//", "/a//b", "/a/"] {
            assert_eq!(check_path(path), Err(InvalidPath::EmptySegment), "{path}");
        }
        for path in ["/.", "/a/../b", "/a/."] {
            assert_eq!(check_path(path), Err(InvalidPath::DotSegment), "{path}");
        }
        for path in ["/%2e%2e/a", "/a%2Fb", "/a%5cb", "/%61i/chat", "/a%", "/a%2", "/a%zz", "/%00"]
        {
            assert_eq!(check_path(path), Err(InvalidPath::EncodedCharacter), "{path}");
        }
        for path in ["/a\\b", "/a b", "/a\u{1}"] {
            assert_eq!(check_path(path), Err(InvalidPath::ForbiddenCharacter), "{path}");
        }
        for path in ["/", "/a", "/a/b%20c", "/a.b/..c", "/ä"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn patterns_that_cannot_match_are_refused() {
        assert_eq!(RoutePattern::parse("/a"), Err(InvalidPattern::Form));
        assert_eq!(RoutePattern::parse("get /a"), Err(InvalidPattern::Method("get".into())));
        assert_eq!(
            RoutePattern::parse("GET /a*"),
            Err(InvalidPattern::PartialWildcard("a*".into()))
        );
        assert_eq!(
            RoutePattern::parse("GET /a/../b"),
            Err(InvalidPattern::Path(InvalidPath::DotSegment))
        );
    }
}
