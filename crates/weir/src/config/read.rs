//! Reading a parsed file value by value, noting every problem instead of stopping at the first.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnose::Problem;
use super::expand::{Unexpandable, expand};
use super::place::{At, Named, Place};
use super::words::{closest, path_part, quoted};

/// A value as the TOML parser leaves it.
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// What a file may refer to outside itself.
pub(crate) struct World<'a> {
    /// The environment.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// Where relative paths begin: the folder of the file.
    pub(crate) folder: PathBuf,
}

/// A reading in progress: the problems noted so far and the key that is being read.
pub(crate) struct Reading<'a> {
    text: &'a str,
    world: &'a World<'a>,
    path: Vec<String>,
    problems: Vec<Problem>,
}

/// Something that can stand in the file as a value.
pub(crate) trait Read: Sized {
    /// Reads it, or notes a problem and gives `None`.
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self>;
}

/// A table of the file, remembering which keys were asked for, so that the rest can be refused.
pub(crate) struct Section<'t, 'i> {
    table: &'t DeTable<'i>,
    place: Place,
    asked: Vec<&'static str>,
}

impl<'a> Reading<'a> {
    /// A reading of this text.
    pub(crate) fn new(text: &'a str, world: &'a World<'a>) -> Self {
        Self { text, world, path: Vec::new(), problems: Vec::new() }
    }

    /// What may be referred to outside the file.
    pub(crate) fn world(&self) -> &'a World<'a> {
        self.world
    }

    /// Notes a problem with the key that is being read.
    pub(crate) fn object(&mut self, place: Place, message: impl Into<String>, hint: impl Hint) {
        self.problems.push(Problem {
            place,
            path: self.path.join("."),
            message: message.into(),
            hint: hint.into_hint(),
            also: None,
        });
    }

    /// Does `read` as a reading of `key` below the current one.
    pub(crate) fn under<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let result = read(self);
        self.path.pop();
        result
    }

    /// How many problems were noted so far.
    pub(crate) fn noted(&self) -> usize {
        self.problems.len()
    }

    /// Every problem noted.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// A text value with its variables put in.
    pub(crate) fn text(&mut self, value: &Value<'_>, want: &Want) -> Option<String> {
        let place = Place::from(value.span());
        let DeValue::String(text) = value.get_ref() else {
            let found = kind(value.get_ref());
            self.object(place, format!("expected {}, found {found}", want.what), want.hint());
            return None;
        };
        match expand(text, self.world.variable) {
            Ok(expanded) => Some(expanded),
            Err(Unexpandable::Missing(name)) => {
                let hint = format!("set it, or write $${{{name}}} if the text is meant as it is");
                let at = self.within(place, &format!("${{{name}}}"));
                self.object(at, format!("the environment has no variable {name}"), hint);
                None
            }
            Err(Unexpandable::Malformed) => {
                let hint = "write ${NAME}: letters, digits and _; $${ stands for ${ itself";
                let at = self.within(place, "${");
                self.object(at, "`${` without a name and a `}`", hint);
                None
            }
        }
    }

    /// A text value read by `parse`, which may answer with a guess at what was meant.
    pub(crate) fn parsed<T>(
        &mut self,
        value: &Value<'_>,
        want: &Want,
        parse: impl FnOnce(&str) -> Result<T, Option<String>>,
    ) -> Option<T> {
        let text = self.text(value, want)?;
        match parse(&text) {
            Ok(parsed) => Some(parsed),
            Err(guess) => {
                let hint = match guess {
                    Some(guess) => format!("did you mean \"{guess}\"?"),
                    None => want.hint(),
                };
                self.object(value.span().into(), format!("not {}", want.what), hint);
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        value: &Value<'_>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let what = format!("one of {}", quoted(&words));
        let want = Want { what: &what, example: &format!("{:?}", words[0]) };
        let text = self.text(value, &want)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*choice);
        }
        let hint = match closest(&text, words.iter().copied()) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("write {what}"),
        };
        self.object(value.span().into(), format!("not {what}"), hint);
        None
    }

    /// The first place of `part` within a place, or the whole of it.
    fn within(&self, place: Place, part: &str) -> Place {
        match self.text.get(place.start..place.end).and_then(|text| text.find(part)) {
            Some(at) => Place { start: place.start + at, end: place.start + at + part.len() },
            None => place,
        }
    }
}

/// What a value should have been.
pub(crate) struct Want<'a> {
    /// In words, with its article: `a length of time`.
    pub(crate) what: &'a str,
    /// As it would be written, with its quotes.
    pub(crate) example: &'a str,
}

impl Want<'_> {
    /// The example as a hint.
    pub(crate) fn hint(&self) -> String {
        format!("write it like this: {}", self.example)
    }
}

/// What may be given as a hint.
pub(crate) trait Hint {
    /// The hint's text.
    fn into_hint(self) -> Option<String>;
}

impl Hint for String {
    fn into_hint(self) -> Option<String> {
        Some(self)
    }
}

impl Hint for &str {
    fn into_hint(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl Hint for Option<String> {
    fn into_hint(self) -> Option<String> {
        self
    }
}

impl<'t, 'i> Section<'t, 'i> {
    /// The root of a file.
    pub(crate) fn root(table: &'t DeTable<'i>) -> Self {
        Self { table, place: Place::default(), asked: Vec::new() }
    }

    /// What stands for a table where there is none.
    pub(crate) fn absent(empty: &'t DeTable<'i>, place: Place) -> Self {
        Self { table: empty, place, asked: Vec::new() }
    }

    /// A value that must be a table.
    pub(crate) fn of(value: &'t Value<'i>, reading: &mut Reading<'_>) -> Option<Self> {
        let place = value.span().into();
        match value.get_ref() {
            DeValue::Table(table) => Some(Self { table, place, asked: Vec::new() }),
            other => {
                let hint = "write { key = value, … } or a [section]";
                reading.object(place, format!("expected a table, found {}", kind(other)), hint);
                None
            }
        }
    }

    /// Where the table stands.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The value under a key, as it is.
    pub(crate) fn value(&mut self, key: &'static str) -> Option<&'t Value<'i>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// The value under a key; `None` if it is not there or has a problem, which is then noted.
    pub(crate) fn get<T: Read>(
        &mut self,
        key: &'static str,
        reading: &mut Reading<'_>,
    ) -> Option<At<T>> {
        let value = self.value(key)?;
        let place = value.span().into();
        reading.under(key, |reading| T::read(value, reading)).map(|value| At { value, place })
    }

    /// The value under a key, or `default`.
    pub(crate) fn or<T: Read>(
        &mut self,
        key: &'static str,
        default: T,
        reading: &mut Reading<'_>,
    ) -> T {
        self.get(key, reading).map_or(default, |found| found.value)
    }

    /// The value under a key that must be there.
    pub(crate) fn need<T: Read>(
        &mut self,
        key: &'static str,
        example: &str,
        reading: &mut Reading<'_>,
    ) -> Option<At<T>> {
        if !self.table.contains_key(key) {
            self.asked.push(key);
            reading.object(self.place, format!("`{key}` is missing"), format!("add {example}"));
            return None;
        }
        self.get(key, reading)
    }

    /// The table under a key, read by `read`; an absent one reads as empty.
    pub(crate) fn table<T>(
        &mut self,
        key: &'static str,
        reading: &mut Reading<'_>,
        read: impl FnOnce(&mut Section<'_, '_>, &mut Reading<'_>) -> T,
    ) -> T {
        let empty = DeTable::new();
        let value = self.value(key);
        reading.under(key, |reading| {
            let found = value.and_then(|value| Section::of(value, reading));
            let mut section = found.unwrap_or_else(|| Section::root(&empty));
            let result = read(&mut section, reading);
            section.finish(reading);
            result
        })
    }

    /// The table under a key, whose own keys are names; in the order of the file.
    pub(crate) fn named<T>(
        &mut self,
        key: &'static str,
        reading: &mut Reading<'_>,
        read: impl FnMut(&At<String>, &Value<'_>, &mut Reading<'_>) -> Option<T>,
    ) -> Vec<Named<T>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        reading.under(key, |reading| match Section::of(value, reading) {
            Some(section) => section.entries(reading, read),
            None => Vec::new(),
        })
    }

    /// Reads every entry of a table whose keys are names; in the order of the file.
    pub(crate) fn entries<T>(
        self,
        reading: &mut Reading<'_>,
        mut read: impl FnMut(&At<String>, &Value<'_>, &mut Reading<'_>) -> Option<T>,
    ) -> Vec<Named<T>> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .filter_map(|(key, value)| {
                let name =
                    At { value: key.get_ref().clone().into_owned(), place: key.span().into() };
                let value = reading.under(&path_part(&name.value), |reading| {
                    if name.value.is_empty() || name.value.len() > NAME_BYTES_MAX {
                        reading.object(name.place, "a name has 1 to 200 bytes", None);
                        return None;
                    }
                    read(&name, value, reading)
                })?;
                Some(Named { name, value })
            })
            .collect()
    }

    /// Refuses every key that was not asked for.
    pub(crate) fn finish(self, reading: &mut Reading<'_>) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let mut known = self.asked.clone();
            known.sort_unstable();
            known.dedup();
            let all = format!("known here: {}", known.join(", "));
            let hint = match closest(name, known.iter().copied()) {
                Some(close) => format!("did you mean `{close}`? ({all})"),
                None => all,
            };
            reading.object(key.span().into(), format!("unknown key `{name}`"), hint);
        }
    }
}

/// What a value is, in words, with its article.
pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

const NAME_BYTES_MAX: usize = 200;
