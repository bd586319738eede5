//! The files of the working tree, and Rust code without its comments, strings and tests.

use std::path::Path;

use anyhow::Context;

/// Every text file that people write.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// A file and where it stands.
#[derive(Debug)]
pub(crate) struct File {
    /// From the root of the workspace, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Tree {
    /// Reads the tree below a folder, without what is built or downloaded.
    ///
    /// # Errors
    ///
    /// When a folder or file cannot be read.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.enter(root, "")?;
        tree.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(tree)
    }

    fn enter(&mut self, folder: &Path, prefix: &str) -> anyhow::Result<()> {
        let entries = std::fs::read_dir(folder);
        for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() && !FOLDERS_SKIPPED.contains(&name.as_str()) {
                self.enter(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() && is_text(&path) {
                let text = std::fs::read_to_string(entry.path());
                let text = text.with_context(|| format!("cannot read {path}"))?;
                self.files.push(File { path, text });
            }
        }
        Ok(())
    }

    /// The Rust files in the `src` of a crate, by their path below it; the crates' folders in turn.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.files.iter().filter_map(|file| {
            let (package, below) = file.path.split_once("/src/")?;
            let package = package.strip_prefix("crates/").unwrap_or(package);
            let is_rust = below.ends_with(".rs") && !package.contains('/');
            is_rust.then_some(Source { package, below, file })
        })
    }
}

/// A Rust file of a crate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    /// The name of the crate's folder.
    pub(crate) package: &'a str,
    /// From the crate's `src`.
    pub(crate) below: &'a str,
    pub(crate) file: &'a File,
}

fn is_text(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ENDINGS.contains(&ending) || path == ".ci/run"
}

/// The code of a Rust file: comments and the contents of literals are blanked, lines kept, and
/// everything from `#[cfg(test)]` with a module in braces is left out.
pub(crate) fn code(text: &str) -> String {
    let blank = blanked(text);
    let opens_braces = |at: &usize| {
        let item = blank[*at..].trim_start_matches("#[cfg(test)]").trim_start();
        item.starts_with("mod ")
            && item.find(['{', ';']).is_some_and(|end| item[end..].starts_with('{'))
    };
    let tests = blank.match_indices("#[cfg(test)]").map(|(at, _)| at).find(opens_braces);
    blank[..tests.unwrap_or(blank.len())].to_owned()
}

fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = literal_or_comment(rest, out.chars().next_back());
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        out.extend(rest[..length].chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    out
}

/// The length of the comment or literal that begins here; 0 when none does.
fn literal_or_comment(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        return 1 + closing(quoted, '"');
    }
    if let Some(marks) = raw(rest).filter(|_| !in_word) {
        let hashes = marks.len() - marks.trim_start_matches('#').len();
        if marks[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let opened = rest.len() - marks.len() + hashes + 1;
            return rest[opened..].find(&end).map_or(rest.len(), |at| opened + at + end.len());
        }
    }
    if let Some(quoted) = rest.strip_prefix('\'') {
        let mut letters = quoted.chars();
        return match (letters.next(), letters.next()) {
            (Some('\\'), _) => 1 + closing(quoted, '\''),
            (Some(letter), Some('\'')) => 2 + letter.len_utf8(),
            // A lifetime.
            _ => 0,
        };
    }
    0
}

/// What follows the prefix of a raw string.
fn raw(rest: &str) -> Option<&str> {
    rest.strip_prefix('r').or_else(|| rest.strip_prefix("br"))
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length up to and with the closing quote; a backslash hides what follows it.
fn closing(quoted: &str, quote: char) -> usize {
    let mut hidden = false;
    for (at, letter) in quoted.char_indices() {
        if hidden {
            hidden = false;
        } else if letter == '\\' {
            hidden = true;
        } else if letter == quote {
            return at + letter.len_utf8();
        }
    }
    quoted.len()
}

const FOLDERS_SKIPPED: [&str; 7] =
    [".git", "target", "node_modules", ".venv", "dist", "weir-data", "corpus"];
const ENDINGS: [&str; 16] = [
    "rs", "toml", "md", "sh", "py", "js", "mjs", "ts", "tsx", "json", "yml", "yaml", "html", "css",
    "conf", "snap",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(code(text), expected);
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ */ d", "a                 d");
        check(r#"f("x\"y", 'z', '\'', "é")"#, r"f(      ,    ,     ,    )".to_owned().as_str());
        check("g(r#\"\"x\"#, b\"y\")", "g(       , b   )");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("var\"x\"", "var   ");
    }

    #[test]
    fn the_tests_of_a_file_are_left_out() {
        check("a;\n#[cfg(test)]\nmod tests {\n b }", "a;\n");
        check("#[cfg(test)]\nmod model;\nmod x;", "#[cfg(test)]\nmod model;\nmod x;");
    }
}
