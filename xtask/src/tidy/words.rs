//! Words that must not stand in code, or in any file.

use crate::tidy::complaint::Complaint;
use crate::tidy::source::{Tree, code};

/// Checks the core for what would end its purity, and every file for leftovers and places that
/// exist on one machine only.
pub(crate) fn check(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for source in tree.sources().filter(|source| source.package == "weir-core") {
        complaints.extend(impure(&source.file.path, &code(&source.file.text)));
    }
    for file in tree.files.iter().filter(|file| file.path != CARGO_LOCK) {
        complaints.extend(leftovers(&file.path, &file.text));
    }
    complaints
}

fn impure(path: &str, code: &str) -> Vec<Complaint> {
    lines_with(code, &IMPURE, |before, after| !is_word(before) && !is_word(after))
        .map(|(index, word)| Complaint::at(path, index, format!("the core does without `{word}`")))
        .collect()
}

fn leftovers(path: &str, text: &str) -> Vec<Complaint> {
    let unfinished = lines_with(text, &UNFINISHED, |before, _| !is_word(before))
        .map(|(index, word)| Complaint::at(path, index, format!("`{word}` is left over")));
    // A path begins after a space or a mark; `/v1/work/` and `~/work/` do not.
    let begins = |before: Option<char>, _| {
        !is_word(before) && !matches!(before, Some('.' | '-' | '/' | '~' | '}' | '*'))
    };
    let places = lines_with(text, &PLACES, begins).map(|(index, word)| {
        Complaint::at(path, index, format!("`{word}…` is a place on one machine"))
    });
    let hosts = lines_with(text, &HOSTS, |_, after| !matches!(after, Some('-')))
        .map(|(index, word)| Complaint::at(path, index, format!("`{word}` is a registry's host")));
    unfinished.chain(places).chain(hosts).collect()
}

/// The lines that hold one of the words, where what stands around it fits.
fn lines_with<'a>(
    text: &'a str,
    words: &'a [&'a str],
    fits: impl Fn(Option<char>, Option<char>) -> bool + 'a,
) -> impl Iterator<Item = (usize, &'a str)> {
    text.lines().enumerate().flat_map(move |(index, line)| {
        let found: Vec<(usize, &str)> = words
            .iter()
            .filter(|word| {
                line.match_indices(**word).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    let after = line[at + word.len()..].chars().next();
                    fits(before, after)
                })
            })
            .map(|word| (index, *word))
            .collect();
        found
    })
}

fn is_word(letter: Option<char>) -> bool {
    letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
}

const CARGO_LOCK: &str = "Cargo.lock";
const IMPURE: [&str; 10] = [
    "async",
    "std::time",
    "HashMap",
    "HashSet",
    "f32",
    "f64",
    "serde",
    "println",
    "eprintln",
    "tokio",
];
// Taken apart, so that this file does not complain about itself.
const UNFINISHED: [&str; 5] = [
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("dbg", "!("),
];
const PLACES: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
const HOSTS: [&str; 7] = [
    concat!("crates", ".io"),
    concat!("registry", ".npmjs.org"),
    concat!("py", "pi.org"),
    concat!("files.python", "hosted.org"),
    concat!("proxy", ".golang.org"),
    concat!("registry-1", ".docker.io"),
    concat!("gh", "cr.io"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: Vec<Complaint>, count: usize) {
        assert_eq!(found.len(), count, "{found:?}");
    }

    #[test]
    fn the_core_is_pure_in_its_code_not_in_its_words() {
        check(impure("x", &code("use std::time::Duration;\nlet x: f64 = serde;")), 3);
        check(impure("x", &code("// no f64\nlet prehashed = \"HashMap\"; let f640 = asyncs;")), 0);
    }

    #[test]
    fn leftovers_and_places_are_found_in_any_file() {
        check(leftovers("x", concat!("// FIX", "ME later\n    to", "do!()")), 2);
        check(leftovers("x", concat!("see /ro", "ot/x and \"/ho", "me/y\"")), 2);
        check(leftovers("x", concat!("GET /v1/wo", "rk/7, mastodon, ~/wo", "rk/")), 0);
        check(leftovers("x", concat!("https://crates", ".io/x")), 1);
    }
}
