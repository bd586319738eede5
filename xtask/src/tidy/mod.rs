//! `cargo xtask tidy`: the rules of the house that neither the compiler nor clippy holds.

mod complaint;
mod source;

mod doors;
mod imports;
mod layers;
mod words;

use std::path::Path;

use anyhow::bail;

use crate::step::say;
use crate::tidy::complaint::Complaint;
use crate::tidy::source::Tree;

/// Checks the working tree and prints every complaint.
///
/// # Errors
///
/// When there is a complaint, or the tree cannot be read.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let complaints = complaints(root)?;
    for complaint in &complaints {
        say(&complaint.to_string())?;
    }
    match complaints.len() {
        0 => Ok(()),
        count => bail!("{count} rules of the house broken"),
    }
}

fn complaints(root: &Path) -> anyhow::Result<Vec<Complaint>> {
    let tree = Tree::read(root)?;
    let mut complaints = layers::check(root)?;
    complaints.extend(doors::check(&tree));
    complaints.extend(imports::check(&tree));
    complaints.extend(words::check(&tree));
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_tree_is_tidy() {
        let complaints = complaints(&crate::root()).expect("the tree can be read");
        let lines: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }
}
