//! What commands print: tables for people, JSON for programs.

use std::io::{self, Write};

use serde_json::Value;

use crate::sheet::{NONE, sheet, wrapped};
use crate::terminal::{harmless, width};

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
    sheet(&headings, rows, width(&io::stdout()), &mut out)
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
    let labels = members.keys().map(String::len).max().unwrap_or(0);
    let room = width(&io::stdout());
    // What it is called comes first.
    let (ids, others): (Vec<_>, Vec<_>) = members.iter().partition(|(name, _)| *name == "id");
    for (name, value) in ids.into_iter().chain(others) {
        let parts = match value {
            Value::Null => continue,
            // A list of objects: a line for each.
            Value::Array(parts) if parts.iter().any(Value::is_object) => &parts[..],
            one => std::slice::from_ref(one),
        };
        for (place, part) in parts.iter().enumerate() {
            let label = if place == 0 { name } else { "" };
            let told = wrapped(&cell(Some(part)), labels + 2, labels + 2, room);
            writeln!(out, "{label:labels$}  {told}")?;
        }
    }
    Ok(())
}

/// One value as people read it; `-` where there is none.
pub(crate) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => NONE.to_owned(),
        Some(Value::String(text)) if text.is_empty() => NONE.to_owned(),
        Some(Value::String(text)) => to_the_second(text).unwrap_or_else(|| harmless(text)),
        Some(Value::Array(items)) if items.is_empty() => NONE.to_owned(),
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
        assert_eq!(cell(Some(&json!([]))), "-");
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
}
