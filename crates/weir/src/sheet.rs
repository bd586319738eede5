//! Tables for people, as wide as their terminal.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};

/// Writes rows under headings; columns of numbers stand to the right. Of columns that do not fit
/// into `width` characters, what is in them follows on lines of its own.
///
/// # Errors
///
/// When the writer is gone.
pub(crate) fn sheet(
    headings: &[&str],
    rows: Vec<Vec<String>>,
    width: Option<usize>,
    out: &mut impl Write,
) -> io::Result<()> {
    let fitting = width.map_or(headings.len(), |width| fitting(headings, &rows, width));
    let (headings, others) = headings.split_at(fitting);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    table.add_rows(rows.iter().map(|row| row.iter().take(fitting)));
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, GAP));
        if is_of_numbers(&rows, at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut lines = table.lines();
    if let Some(head) = lines.next() {
        writeln!(out, "{}", head.trim_end())?;
    }
    for (line, row) in lines.zip(&rows) {
        writeln!(out, "{}", line.trim_end())?;
        let rest = others.iter().zip(row.iter().skip(fitting));
        let rest = rest.filter(|(_, cell)| *cell != NONE);
        write_rest(rest, width.unwrap_or(usize::MAX), out)?;
    }
    Ok(())
}

/// What does not stand in the table, piece by piece behind its heading.
fn write_rest<'a>(
    rest: impl Iterator<Item = (&'a &'a str, &'a String)>,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut used = 0;
    for (heading, cell) in rest {
        let piece = if heading.is_empty() { cell.clone() } else { format!("{heading}: {cell}") };
        let length = piece.chars().count();
        if used > 0 && used + usize::from(GAP) + length > width {
            writeln!(out)?;
            used = 0;
        }
        let before = if used == 0 { INDENT } else { usize::from(GAP) };
        write!(out, "{:before$}{}", "", wrapped(&piece, used + before, INDENT, Some(width)))?;
        used += before + length;
    }
    if used > 0 {
        writeln!(out)?;
    }
    Ok(())
}

/// A text that begins behind so many characters, in lines of at most `width`; they are broken at
/// spaces, and indented from the second on.
pub(crate) fn wrapped(text: &str, before: usize, indent: usize, width: Option<usize>) -> String {
    let mut lines = String::with_capacity(text.len());
    let mut used = before;
    for (at, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && width.is_some_and(|width| used + 1 + length > width) {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        } else if at > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    lines
}

/// How many of the columns, from the first on, fit side by side; at least one.
fn fitting(headings: &[&str], rows: &[Vec<String>], width: usize) -> usize {
    let length = |text: &str| text.chars().count();
    let mut used = 0;
    let widths = headings.iter().enumerate().map(|(at, heading)| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| length(cell));
        cells.chain([length(heading)]).max().unwrap_or(0)
    });
    let fit = widths.take_while(|column| {
        used += column + usize::from(GAP);
        used - usize::from(GAP) <= width
    });
    fit.count().max(1).min(headings.len())
}

fn is_of_numbers(rows: &[Vec<String>], column: usize) -> bool {
    let is_number = |text: &String| text.parse::<f64>().is_ok();
    let mut cells = rows.iter().filter_map(|row| row.get(column));
    cells.clone().any(is_number)
        && cells.all(|cell| is_number(cell) || matches!(cell.as_str(), NONE | "unlimited"))
}

/// What stands where there is nothing.
pub(crate) const NONE: &str = "-";
const GAP: u16 = 2;
const INDENT: usize = 4;

#[cfg(test)]
mod tests {
    use super::{sheet, wrapped};

    #[track_caller]
    fn check(headings: &[&str], rows: &[&[&str]], width: Option<usize>, expected: &str) {
        let rows = rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect());
        let mut out = Vec::new();
        sheet(headings, rows.collect(), width, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn numbers_stand_to_the_right_and_no_line_begins_or_ends_with_a_space() {
        let rows: [&[&str]; 2] = [&["read", "5", "-"], &["ai", "1000", "0.50"]];
        let expected = "NAME  USED  CHARGED\nread     5        -\nai    1000     0.50\n";
        check(&["name", "used", "charged"], &rows, None, expected);
        check(&["name", "used", "charged"], &rows, Some(19), expected);
    }

    #[test]
    fn what_does_not_fit_beside_follows_below_with_its_heading() {
        let rows: [&[&str]; 2] =
            [&["one", "1", "a", "bc", "d"], &["second", "22", "-", "a long text", "x"]];
        let expected = "NAME     N\none      1\n    why: a\n    how: bc  d\n\
                        second  22\n    how: a\n    long text\n    x\n";
        check(&["name", "n", "why", "how", ""], &rows, Some(14), expected);
        check(&["name"], &[&["too long for it"]], Some(5), "NAME\ntoo long for it\n");
    }

    #[test]
    fn long_texts_are_broken_at_spaces_and_words_stay_whole() {
        assert_eq!(wrapped("one two three", 2, 4, None), "one two three");
        assert_eq!(wrapped("one two three", 2, 4, Some(9)), "one two\n    three");
        assert_eq!(wrapped("a acct_1m8qg52360000", 0, 2, Some(8)), "a\n  acct_1m8qg52360000");
    }
}
