//! Tables of Markdown.

/// A table under a heading; nothing without rows.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!("\n| {} |\n|{}\n", heading.join(" | "), "---|".repeat(heading.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// As code, unless there is nothing.
pub(super) fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// Some values, as code.
pub(super) fn codes(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().map(|text| code(&text)).collect::<Vec<_>>().join(", ")
}

/// Fits into a cell: no line ends, no bars.
fn escaped(cell: &str) -> String {
    cell.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
