//! What commands print: tables for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::{Table, presets};
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
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|(heading, _)| heading.to_uppercase()));
    for row in rows {
        table.add_row(columns.iter().map(|(_, place)| cell(row.pointer(place))));
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
        Some(Value::String(text)) => text.clone(),
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
}
