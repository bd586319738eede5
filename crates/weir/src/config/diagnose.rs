//! What is wrong with a configuration, and how it is shown: `file:line:column`, the line, a caret,
//! a hint.

use std::fmt;
use std::io::IsTerminal;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, SourceCode, SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};
use serde::Serialize;

use super::place::Place;
use super::veil::veiled;
use crate::terminal::{has_colour, width};

/// One objection to the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    /// Where.
    pub(crate) place: Place,
    /// The key it is about, from the root: `plans.pro.limits.ai`; empty for the file as a whole.
    pub(crate) path: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// Another place that matters: its line is added to the hint.
    pub(crate) also: Option<Place>,
}

/// A configuration that is not accepted: its text, its secrets veiled, and everything that is wrong
/// with it.
#[derive(Clone, Debug)]
pub(crate) struct Rejected {
    name: String,
    text: String,
    problems: Vec<Problem>,
}

/// How problems are drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Style {
    /// With ANSI colours.
    pub(crate) colour: bool,
    /// With box-drawing characters; else ASCII alone.
    pub(crate) unicode: bool,
    /// Columns after which hints are wrapped; `None`: never.
    pub(crate) width: Option<usize>,
}

/// A problem as `weir check --json` tells it.
#[derive(Serialize)]
pub(crate) struct ProblemWords<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    path: &'a str,
    message: &'a str,
    hint: Option<String>,
}

impl Rejected {
    /// From at least one problem; they are told in the order of the file.
    pub(crate) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        for problem in &mut problems {
            problem.place = visible(problem.place, text);
        }
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        Self { name: name.to_owned(), text: veiled(text), problems }
    }

    /// Every problem in the shape of the JSON output.
    pub(crate) fn words(&self) -> Vec<ProblemWords<'_>> {
        let words = |problem| {
            let shown = Shown { problem, rejected: self };
            let (line, column) = self.position(problem.place);
            let hint = shown.hint();
            let (path, message) = (&*problem.path, &*problem.message);
            ProblemWords { file: &self.name, line, column, path, message, hint }
        };
        self.problems.iter().map(words).collect()
    }

    /// Every problem with its place, but no line of the file: a secret may stand in one.
    pub(crate) fn spoken(&self) -> String {
        let told = self.words().into_iter().map(|problem| {
            let ProblemWords { file, line, column, path, message, hint } = problem;
            let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{file}:{line}:{column}: {path}{message}{hint}\n")
        });
        told.collect()
    }

    /// Draws every problem.
    pub(crate) fn render(&self, style: Style) -> String {
        let handler = handler(style);
        let mut drawn = String::new();
        for problem in &self.problems {
            let shown = Shown { problem, rejected: self };
            // Drawing writes into a string, which cannot fail; a half-drawn problem is still told.
            let _ = handler.render_report(&mut drawn, &shown);
            drawn.push('\n');
        }
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        drawn.push_str(&format!("{}: {count} {noun}\n", self.name));
        drawn
    }

    /// Line and column of a place, both from one; columns count characters.
    fn position(&self, place: Place) -> (usize, usize) {
        let before = self.text.get(..place.start).unwrap_or(&self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (line, before[line_start(before)..].chars().count() + 1)
    }
}

/// Without colours, in ASCII: what goes into logs and answers.
impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::PLAIN))
    }
}

impl std::error::Error for Rejected {}

impl Style {
    /// ASCII without colours.
    pub(crate) const PLAIN: Self = Self { colour: false, unicode: false, width: None };

    /// What standard error can show: colour on a terminal unless `NO_COLOR` is set, box-drawing
    /// characters where the locale is UTF-8.
    pub(crate) fn of_stderr() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let stderr = std::io::stderr();
        let terminal = stderr.is_terminal();
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find(|name| set(name))
            .and_then(|name| std::env::var(name).ok())
            .unwrap_or_default()
            .to_ascii_lowercase();
        Self {
            colour: has_colour(&stderr),
            unicode: terminal && (locale.contains("utf-8") || locale.contains("utf8")),
            width: width(&stderr).map(|width| width.min(WIDTH_MAX)),
        }
    }
}

struct Shown<'a> {
    problem: &'a Problem,
    rejected: &'a Rejected,
}

impl Shown<'_> {
    fn hint(&self) -> Option<String> {
        let hint = self.problem.hint.clone()?;
        Some(match self.problem.also {
            Some(also) => format!("{hint} (see line {})", self.rejected.position(also).0),
            None => hint,
        })
    }
}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.hint().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Place { start, end } = self.problem.place;
        Some(Box::new(std::iter::once(LabeledSpan::new(None, start, end - start))))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.rejected)
    }
}

/// Gives whole lines: those that a span touches. miette asks without context only for the position.
impl SourceCode for Rejected {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        _context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (start, end) = (span.offset(), span.offset() + span.len());
        let (Some(before), Some(after)) = (self.text.get(..start), self.text.get(end..)) else {
            return Err(MietteError::OutOfBounds);
        };
        let (line, column) = self.position(Place { start, end });
        let (start, column) = match context_lines_before {
            0 => (start, column - 1),
            _ => (line_start(before), 0),
        };
        let end = end + after.find('\n').unwrap_or(after.len());
        let lines = &self.text[start..end];
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            lines.as_bytes(),
            (start, end - start).into(),
            line - 1,
            column,
            lines.matches('\n').count(),
        )))
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.problem.path.is_empty() {
            write!(f, "{}: ", self.problem.path)?;
        }
        f.write_str(&self.problem.message)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.problem, f)
    }
}

impl std::error::Error for Shown<'_> {}

fn handler(style: Style) -> GraphicalReportHandler {
    let mut characters =
        if style.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() };
    characters.underline = '^';
    characters.underbar = '^';
    characters.error = "error:".to_owned();
    let styles = if style.colour { ThemeStyles::ansi() } else { ThemeStyles::none() };
    GraphicalReportHandler::new_themed(GraphicalTheme { characters, styles })
        .with_context_lines(1)
        .with_links(false)
        .with_wrap_lines(style.width.is_some())
        .with_width(style.width.unwrap_or(usize::MAX))
}

/// An empty place becomes the character after it or, at the end of a line, the one before it, so
/// that there is something to put the caret under.
fn visible(place: Place, text: &str) -> Place {
    let (Some(before), Some(after)) = (text.get(..place.start), text.get(place.start..)) else {
        return place;
    };
    if place.end > place.start {
        return place;
    }
    let shown = |letter: &char| !matches!(letter, '\n' | '\r');
    if let Some(next) = after.chars().next().filter(shown) {
        return Place { start: place.start, end: place.start + next.len_utf8() };
    }
    match before.chars().next_back().filter(shown) {
        Some(last) => Place { start: place.start - last.len_utf8(), end: place.start },
        None => place,
    }
}

/// Where the last line of a text begins.
fn line_start(text: &str) -> usize {
    text.rfind('\n').map_or(0, |newline| newline + 1)
}

/// Beyond that lines are harder to read.
const WIDTH_MAX: usize = 100;
