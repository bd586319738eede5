//! Rows as other programs take them: CSV (RFC 4180) and JSON Lines.

use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// How rows are written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, ToSchema)]
#[schema(as = TableFormat)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// One JSON document, with totals.
    Json,
    /// A header line, then a line for each row.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

impl Format {
    /// What the query names, else what `Accept` likes best, else JSON.
    pub(crate) fn chosen(named: Option<Self>, asked: &HeaderMap) -> Self {
        if let Some(named) = named {
            return named;
        }
        let mut best = (Self::Json, 0);
        for value in asked.get_all(ACCEPT) {
            for range in value.to_str().unwrap_or_default().split(',') {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
                let format = match kind.as_str() {
                    "text/csv" => Self::Csv,
                    "application/jsonl" | "application/x-ndjson" => Self::Jsonl,
                    "application/json" | "application/*" | "*/*" => Self::Json,
                    _ => continue,
                };
                let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1_000, weight);
                if weight > best.1 {
                    best = (format, weight);
                }
            }
        }
        best.0
    }

    /// Rows as an answer. A column is a JSON pointer (RFC 6901) into a row, under its heading.
    pub(crate) fn answer(self, columns: &[(String, String)], rows: &[Value]) -> Response {
        let (kind, text) = match self {
            Self::Json | Self::Jsonl => {
                ("application/jsonl", rows.iter().map(|row| format!("{row}\n")).collect())
            }
            Self::Csv => ("text/csv; charset=utf-8; header=present", csv(columns, rows)),
        };
        ([(CONTENT_TYPE, kind), (VARY, "accept")], text).into_response()
    }
}

/// A cell of a CSV file, in quotes where it must be.
pub fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

fn csv(columns: &[(String, String)], rows: &[Value]) -> String {
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| &**heading).collect();
    let mut text = headings.join(",");
    text.push('\n');
    for row in rows {
        let cells = columns.iter().map(|(_, pointer)| cell(row.pointer(pointer)));
        text.push_str(&cells.collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    text
}

/// A quality value (RFC 9110, 12.4.2) in thousandths; 0 for what is none.
fn weight(text: &str) -> u32 {
    match text.split_once('.') {
        Some(("0", digits)) if digits.len() <= 3 => format!("{digits:0<3}").parse().unwrap_or(0),
        Some(("1", _)) => 1_000,
        None if text == "1" => 1_000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let quoted = |text: &str| cell(Some(&Value::from(text)));
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(cell(Some(&Value::from(5))), "5");
        assert_eq!(cell(None), "");
    }

    #[test]
    fn the_query_decides_before_what_is_accepted() {
        let check = |accept: &'static str, format| {
            let asked = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Format::chosen(None, &asked), format, "{accept}");
            assert_eq!(Format::chosen(Some(Format::Csv), &asked), Format::Csv);
        };
        check("*/*", Format::Json);
        check("text/csv", Format::Csv);
        check("Text/CSV; charset=utf-8", Format::Csv);
        check("application/jsonl, */*", Format::Jsonl);
        check("application/json, text/csv", Format::Json);
        check("application/json;q=0.5, text/csv;q=0.75", Format::Csv);
        check("text/csv;q=0, application/x-ndjson;q=0.1", Format::Jsonl);
        check("image/png", Format::Json);
        assert_eq!(Format::chosen(None, &HeaderMap::new()), Format::Json);
    }
}
