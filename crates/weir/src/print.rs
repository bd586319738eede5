//! What commands print: tables for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

/// A column: its heading, and where its value stands in a row (a JSON pointer).
pub(crate) type Column = (&'static str, &'static str);

/// Prints rows as a table, or as JSON.
///
/// # Errors
///
/// When standard output is gone.
pub(crate) fn rows(rows: &[Value], columns: &[Column], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        return writeln!(out, "{}", Value::from(rows.to_vec()));
    }
    if rows.is_empty() {
        return writeln!(out, "nothing");
    }
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let cells = |row: &Value| columns.iter().map(|(_, place)| cell(row.pointer(place))).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    sheet(&headings, rows, &mut out)
}

/// Writes rows under headings; columns of numbers stand to the right.
///
/// # Errors
///
/// When the writer is gone.
pub(crate) fn sheet(
    headings: &[&str],
    rows: Vec<Vec<String>>,
    out: &mut impl Write,
) -> io::Result<()> {
    let is_number = |text: &String| text.parse::<f64>().is_ok();
    let numbers: Vec<bool> = (0..headings.len())
        .map(|column| {
            let mut cells = rows.iter().filter_map(|row| row.get(column));
            cells.clone().any(is_number)
                && cells.all(|cell| is_number(cell) || matches!(cell.as_str(), "-" | "unlimited"))
        })
        .collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    table.add_rows(rows);
    for (column, is_number) in table.column_iter_mut().zip(numbers) {
        column.set_padding((0, 2));
        if is_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints one resource, a line for each member, or as JSON.
///
/// # Errors
///
/// When standard output is gone.
pub(crate) fn one(resource: &Value, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Some(members) = resource.as_object().filter(|_| !json) else {
        return writeln!(out, "{resource:#}");
    };
    let width = members.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in members {
        let parts = match value {
            Value::Null => continue,
            // A list of objects: a line for each.
            Value::Array(parts) if parts.iter().any(Value::is_object) => &parts[..],
            one => std::slice::from_ref(one),
        };
        for (place, part) in parts.iter().enumerate() {
            let label = if place == 0 { name } else { "" };
            writeln!(out, "{label:width$}  {}", cell(Some(part)))?;
        }
    }
    Ok(())
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => to_the_second(text).unwrap_or_else(|| text.clone()),
        Some(Value::Array(items)) if items.iter().all(|item| !item.is_object()) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(Value::Object(members)) if !members.is_empty() => {
            let said = members.iter().filter(|(_, value)| !value.is_null());
            said.map(|(name, value)| format!("{name} {}", cell(Some(value))))
                .collect::<Vec<_>>()
                .join(", ")
        }
        Some(other) => other.to_string(),
    }
}

/// A time such as `2026-01-31T12:00:00.123456Z` without what comes after the second.
fn to_the_second(text: &str) -> Option<String> {
    let (before, fraction) = text.strip_suffix('Z')?.split_once('.')?;
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = before.len() == 19 && before.as_bytes().get(10) == Some(&b'T');
    (digits && is_time).then(|| format!("{before}Z"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_told_by_its_members_and_what_is_not_set_is_left_out() {
        let grant = json!({"category": "paid", "expires_at": null, "remaining": "5.00"});
        assert_eq!(cell(Some(&grant)), "category paid, remaining 5.00");
        assert_eq!(cell(Some(&json!({}))), "{}");
        assert_eq!(cell(Some(&json!(["a", 1]))), "a, 1");
        assert_eq!(cell(None), "-");
    }

    #[test]
    fn people_read_times_to_the_second_and_other_texts_as_they_are() {
        for (text, shown) in [
            ("2026-11-22T23:00:10.016844Z", "2026-11-22T23:00:10Z"),
            ("2026-11-22T23:00:10Z", "2026-11-22T23:00:10Z"),
            ("0.0000129", "0.0000129"),
            ("weir.exampleZ", "weir.exampleZ"),
        ] {
            assert_eq!(cell(Some(&json!(text))), shown);
        }
    }

    #[test]
    fn numbers_stand_to_the_right_and_no_line_begins_or_ends_with_a_space() {
        let rows = [["read", "5", "-"], ["ai", "1000", "0.50"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        let mut out = Vec::new();
        sheet(&["name", "used", "charged"], rows, &mut out).unwrap();
        let expected = "NAME  USED  CHARGED\nread     5        -\nai    1000     0.50\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
