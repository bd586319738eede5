//! Inside a crate imports run one way: from files whose `mod` line stands above one's own.
//!
//! The order is that of `lib.rs` or `main.rs`, and below it that of each `mod.rs`. A name is
//! imported from the file that defines it, never through the door that one stands behind oneself.

use std::collections::BTreeMap;

use crate::tidy::complaint::Complaint;
use crate::tidy::source::{Tree, code};

/// Checks every crate of the tree.
pub(crate) fn check(tree: &Tree) -> Vec<Complaint> {
    let mut packages: BTreeMap<&str, Package> = BTreeMap::new();
    for source in tree.sources() {
        let package = packages.entry(source.package).or_default();
        package.files.push((
            source.file.path.clone(),
            place(source.below),
            code(&source.file.text),
        ));
    }
    packages.into_values().flat_map(|mut package| package.check()).collect()
}

/// A file: its path, its place among the modules, its code.
type Room = (String, Vec<String>, String);

#[derive(Debug, Default)]
struct Package {
    files: Vec<Room>,
    /// The modules of each module, in the order of their `mod` lines.
    order: BTreeMap<Vec<String>, Vec<String>>,
}

impl Package {
    fn check(&mut self) -> Vec<Complaint> {
        self.order =
            self.files.iter().map(|(_, place, code)| (place.clone(), modules(code))).collect();
        let mut complaints = Vec::new();
        for (path, place, code) in self.files.iter().filter(|(_, place, _)| is_ruled(place)) {
            for (index, target) in imports(code, place) {
                if let Some(text) = self.judge(place, &target) {
                    complaints.push(Complaint::at(path, index, text));
                }
            }
        }
        complaints
    }

    /// What is wrong with an import, if anything.
    fn judge(&self, place: &[String], target: &[String]) -> Option<String> {
        let common = place.iter().zip(target).take_while(|(one, other)| one == other).count();
        if common == place.len() {
            // Its own child, or itself.
            return None;
        }
        let siblings = self.order.get(&place[..common])?;
        let position = |name: &String| siblings.iter().position(|sibling| sibling == name);
        // A file without a `mod` line is not compiled.
        let own = position(&place[common])?;
        let name = target.get(common).filter(|name| position(name).is_some());
        let Some(name) = name else {
            let shown = target.join("::");
            return Some(format!("`{shown}` goes through the door of a room one stands in"));
        };
        (position(name)? > own).then(|| {
            format!("imports `{name}`, whose `mod` line stands below that of `{}`", place[common])
        })
    }
}

/// Doors import nothing, and tests may look at everything in their room.
fn is_ruled(place: &[String]) -> bool {
    place.last().is_some_and(|name| name != "tests" && !name.ends_with("_tests"))
}

/// The module of a file, from its path below `src`.
fn place(below: &str) -> Vec<String> {
    let stem = below.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    match stem {
        "lib" | "main" | "mod" => Vec::new(),
        stem => stem.split('/').map(str::to_owned).collect(),
    }
}

/// The names of `mod NAME;` lines in order.
fn modules(code: &str) -> Vec<String> {
    code.lines()
        .filter_map(|line| {
            let line = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            Some(line.strip_prefix("mod ")?.strip_suffix(';')?.trim().to_owned())
        })
        .collect()
}

/// Every path in the code that begins with `crate::` or `super::`, as seen from the crate's root,
/// with the index of its line.
fn imports(code: &str, place: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("::") {
        let before = &code[..start];
        let word = before.rsplit(|letter: char| !is_word(letter)).next().unwrap_or_default();
        let ahead = before[..before.len() - word.len()].chars().next_back();
        if matches!(ahead, Some(':' | '$')) {
            continue;
        }
        let base = match word {
            "crate" => Vec::new(),
            "super" => place[..place.len().saturating_sub(1)].to_vec(),
            _ => continue,
        };
        let line = before.matches('\n').count();
        let mut paths = Vec::new();
        tree(&code[start + 2..], base, &mut paths);
        found.extend(paths.into_iter().map(|path| (line, path)));
    }
    found
}

/// Reads a use tree (`a::{b, c::d}`) and collects its paths; returns what follows it.
fn tree<'a>(text: &'a str, base: Vec<String>, paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut rest = text.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        rest = group.trim_start();
        while !rest.is_empty() && !rest.starts_with('}') {
            let after = tree(rest, base.clone(), paths).trim_start();
            let after = after.strip_prefix(',').unwrap_or(after).trim_start();
            if after.len() == rest.len() {
                return after;
            }
            rest = after;
        }
        return rest.strip_prefix('}').unwrap_or(rest);
    }
    let word = &rest[..rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())];
    let after = &rest[word.len()..];
    let mut path = base;
    match word {
        // `*` and whatever else stands there: the module itself.
        "" | "self" => {}
        "super" => drop(path.pop()),
        name => path.push(name.to_owned()),
    }
    if let Some(deeper) = after.strip_prefix("::").filter(|_| !word.is_empty()) {
        return tree(deeper, path, paths);
    }
    paths.push(path);
    let after = after.strip_prefix('*').unwrap_or(after);
    match after.trim_start().strip_prefix("as ") {
        Some(alias) => alias.trim_start().trim_start_matches(is_word),
        None => after,
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], complaints: &[&str]) {
        let rooms =
            files.iter().map(|(below, text)| ((*below).to_owned(), place(below), code(text)));
        let mut package = Package { files: rooms.collect(), order: BTreeMap::new() };
        let found: Vec<String> = package.check().iter().map(ToString::to_string).collect();
        assert_eq!(found, complaints);
    }

    #[test]
    fn imports_from_above_and_from_children_pass() {
        let low = ("low.rs", "pub struct Low;");
        let room = ("room/mod.rs", "mod a;\nmod b;\npub(crate) use b::B;");
        let a = ("room/a.rs", "use crate::low::Low;");
        let b = ("room/b.rs", "use crate::low::{self, Low as L};\nuse crate::room::a::*;");
        let high = ("high.rs", "use crate::{low::Low, room::B};\nfn f() { crate::low::g() }");
        check(&[("lib.rs", "mod low;\nmod room;\npub mod high;"), low, room, a, b, high], &[]);
    }

    #[test]
    fn imports_from_below_are_found_wherever_they_stand() {
        let lib = ("lib.rs", "mod low;\nmod high;");
        let low =
            ("low.rs", "use std::fmt;\n\nfn f() { crate::high::g(); }\nuse super::high::{g, h};");
        let line = "imports `high`, whose `mod` line stands below that of `low`";
        let (third, fourth) = (format!("low.rs:3: {line}"), format!("low.rs:4: {line}"));
        check(&[lib, low, ("high.rs", "")], &[&third, &fourth, &fourth]);
    }

    #[test]
    fn the_door_of_ones_own_room_is_not_gone_through() {
        let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A;");
        let b = ("b.rs", "use crate::A;");
        check(
            &[lib, ("a.rs", ""), b],
            &["b.rs:1: `A` goes through the door of a room one stands in"],
        );
    }

    #[test]
    fn tests_comments_and_other_crates_are_free() {
        let lib = ("lib.rs", "mod low;\nmod high;");
        let low =
            "// crate::high\nuse other::crate_::x;\n#[cfg(test)]\nmod tests {\n use crate::high; }";
        check(&[lib, ("low.rs", low), ("high.rs", "")], &[]);
    }
}
