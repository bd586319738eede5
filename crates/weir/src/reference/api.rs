//! The part on one API.

use serde_json::{Map, Value};

use super::table::{code, codes, table};

/// Every call of an API and every shape.
pub(super) fn section(name: &str, document: &Value) -> String {
    let suffix = name.split(' ').next().unwrap_or_default().to_lowercase();
    let link = Link { suffix };
    let mut text =
        format!("\n## {name}\n\n{}\n", document["info"]["description"].as_str().unwrap());
    let mut last = "";
    for (path, method, call) in calls(document) {
        let tag = call["tags"][0].as_str().unwrap_or_default();
        if tag != last {
            text.push_str(&format!("\n### {}: {tag}\n", name));
            last = tag;
        }
        text.push_str(&described(path, method, call, &link));
    }
    text.push_str(&format!(
        "\n### {name}: shapes\n\nA page of shapes is `{{\"data\": […], \"next_cursor\": …}}`: \
         `next_cursor` is `null` at the end. \
         Members marked `always` are in every answer, and must be in a request.\n"
    ));
    for (shape, schema) in document["components"]["schemas"].as_object().unwrap() {
        if !shape.starts_with("Page_") {
            text.push_str(&shaped(shape, schema, &link));
        }
    }
    text
}

/// Calls by tag, then by path.
fn calls(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, call)| (path.as_str(), method.as_str(), call))
    });
    let mut calls: Vec<_> = methods.collect();
    let order = |method: &str| METHODS.iter().position(|known| *known == method);
    calls.sort_by_key(|(path, method, call)| {
        (call["tags"][0].as_str().map(str::to_owned), *path, order(method))
    });
    calls
}

fn described(path: &str, method: &str, call: &Value, link: &Link) -> String {
    let summary = call["summary"].as_str().unwrap_or_default();
    let mut text = format!("\n#### {} {path}\n\n{summary}", method.to_uppercase());
    let body = &call["requestBody"]["content"];
    if let Some(schema) = body.as_object().and_then(|kinds| kinds.values().next()) {
        text.push_str(&format!(" Body: {}.", link.kind(&schema["schema"])));
    }
    text.push('\n');
    let parameters = call["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = parameters
        .iter()
        .map(|parameter| {
            let schema = &parameter["schema"];
            let meaning = parameter["description"].as_str().unwrap_or_default();
            vec![
                code(parameter["name"].as_str().unwrap_or_default()),
                parameter["in"].as_str().unwrap_or_default().to_owned(),
                link.kind(schema),
                meaning.to_owned(),
            ]
        })
        .collect();
    text.push_str(&table(&["parameter", "in", "type", "meaning"], &rows));
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (status, answer) in call["responses"].as_object().unwrap() {
        let said = answer["description"].as_str().unwrap_or_default();
        if status.starts_with(['4', '5']) {
            // Odd pieces are the codes, even ones their titles.
            let named = said.split('`').skip(1).step_by(2).map(str::to_owned);
            bad.push(format!("{status} {}", codes(named)));
        } else {
            let kinds = answer["content"].as_object().into_iter().flat_map(Map::values);
            let mut kinds: Vec<String> = kinds.map(|kind| link.kind(&kind["schema"])).collect();
            kinds.dedup();
            let kinds = kinds.join(" or ");
            good.push(format!("{status} {kinds}").trim().to_owned());
        }
    }
    text.push_str(&format!("\nAnswers: {}.", good.join(", ")));
    if !bad.is_empty() {
        text.push_str(&format!(" Errors: {}.", bad.join("; ")));
    }
    text.push('\n');
    text
}

fn shaped(name: &str, schema: &Value, link: &Link) -> String {
    let about = schema["description"].as_str().unwrap_or_default();
    let mut text = format!("\n#### {name} ({})\n\n{about}\n", link.suffix);
    let Some(members) = schema["properties"].as_object() else {
        text.push_str(&format!("\nOne of {}.\n", link.kind(schema)));
        return text;
    };
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = members
        .iter()
        .map(|(member, value)| {
            let needed = required.iter().any(|name| name == member);
            let meaning = value["description"].as_str().or_else(|| {
                value["oneOf"].as_array()?.iter().find_map(|one| one["description"].as_str())
            });
            vec![
                code(member),
                link.kind(value),
                if needed { "yes" } else { "" }.to_owned(),
                meaning.unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    text.push_str(&table(&["member", "type", "always", "meaning"], &rows));
    text
}

/// How shapes of one API are told and linked.
struct Link {
    suffix: String,
}

impl Link {
    fn kind(&self, schema: &Value) -> String {
        if let Some(path) = schema["$ref"].as_str() {
            let name = path.rsplit('/').next().unwrap_or_default();
            let (before, name) = match name.strip_prefix("Page_") {
                Some(name) => ("page of ", name),
                None => ("", name),
            };
            let anchor = name.to_lowercase();
            return format!("{before}[{name}](#{anchor}-{})", self.suffix);
        }
        for several in ["oneOf", "anyOf", "allOf"] {
            if let Some(kinds) = schema[several].as_array() {
                let kinds: Vec<String> = kinds.iter().map(|kind| self.kind(kind)).collect();
                return kinds.join(" or ");
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            return codes(values.iter().map(Value::to_string));
        }
        let named: Vec<String> = match &schema["type"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(several) => {
                several.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => return "any".to_owned(),
        };
        let named = named.iter().map(|named| match named.as_str() {
            "array" => format!("list of {}", self.kind(&schema["items"])),
            "string" => match schema["format"].as_str() {
                Some(format) => format!("string ({format})"),
                None => format!("string{}", range(schema, "minLength", "maxLength")),
            },
            "object" => match &schema["additionalProperties"] {
                Value::Object(_) => {
                    format!("object of {}", self.kind(&schema["additionalProperties"]))
                }
                _ => "object".to_owned(),
            },
            other => format!("{other}{}", range(schema, "minimum", "maximum")),
        });
        named.collect::<Vec<_>>().join(" or ")
    }
}

fn range(schema: &Value, least: &str, most: &str) -> String {
    match (&schema[least], &schema[most]) {
        (Value::Null, Value::Null) => String::new(),
        (Value::Null, most) => format!(" (to {most})"),
        (least, Value::Null) => format!(" (from {least})"),
        (least, most) => format!(" ({least} to {most})"),
    }
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
