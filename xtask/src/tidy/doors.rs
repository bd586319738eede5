//! `lib.rs` is a door: docs, `mod` and `pub use`; and no file is longer than one thing.

use crate::tidy::complaint::Complaint;
use crate::tidy::source::{Tree, code};

/// Checks doors and lengths of all crates.
pub(crate) fn check(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for source in tree.sources() {
        let file = source.file;
        if source.below == "lib.rs" {
            complaints.extend(furniture(&file.path, &file.text));
        }
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            let text = format!("{lines} lines; above {LINES_MAX} a file is more than one thing");
            complaints.push(Complaint::of(&file.path, text));
        }
    }
    complaints
}

/// Everything in a door that does not belong there.
fn furniture(path: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut in_use = false;
    for (index, line) in code(text).lines().enumerate() {
        let line = line.trim();
        let begins_use = line.starts_with("pub use ");
        let is_mod = ["mod ", "pub mod ", "pub(crate) mod "]
            .iter()
            .any(|start| line.starts_with(start) && line.ends_with(';'));
        let is_attribute = line.starts_with("#[") || line.starts_with("#![");
        if !(line.is_empty() || is_attribute || is_mod || begins_use || in_use) {
            let wanted = "a lib.rs holds docs, `mod` and `pub use`; this belongs in a file";
            complaints.push(Complaint::at(path, index, wanted));
        }
        in_use = (in_use || begins_use) && !line.ends_with(';');
    }
    complaints
}

const LINES_MAX: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, lines: &[usize]) {
        let found: Vec<usize> = furniture("x", text).iter().map(|found| found.line).collect();
        assert_eq!(found, lines);
    }

    #[test]
    fn a_door_holds_docs_modules_and_uses() {
        check("//! Docs.\n\n#![forbid(x)]\npub mod a;\n#[cfg(test)]\nmod b;\n", &[]);
        check("pub use a::{\n    B,\n    C,\n};\npub mod d;\n", &[]);
        check("mod a;\nuse a::B;\nconst C: u8 = 1;\n", &[2, 3]);
        check("mod a {\n}\n", &[1, 2]);
    }
}
