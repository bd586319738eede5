//! The part on the configuration.

use yaml_serde::{Mapping, Value};

use super::table::{code, codes, table};

/// The schema of `weir.toml`. It is read as YAML, of which JSON is a part, since that keeps the
/// order of members.
pub(super) fn section(schema: &str) -> String {
    let schema: Value = yaml_serde::from_str(schema).unwrap();
    let mut text = String::from(HEAD);
    let mut sections = Sections { text: String::new() };
    for (name, section) in members(&schema, "properties") {
        match section.get("type").and_then(Value::as_str) {
            Some("array") => {
                sections.table(&format!("[[{name}]]"), described(section, &schema), &schema);
            }
            _ if section.get("additionalProperties").is_some_and(Value::is_mapping) => {
                let of = &section["additionalProperties"];
                sections.table(&format!("[{name}.NAME]"), resolved(of, &schema), &schema);
            }
            _ => sections.table(&format!("[{name}]"), section, &schema),
        }
    }
    text.push_str(&sections.text);
    let (tables, values): (Vec<_>, Vec<_>) =
        members(&schema, "$defs").partition(|(_, kind)| kind.get("properties").is_some());
    for (name, kind) in tables {
        if !SECTIONS.contains(&name) {
            let mut of_kind = Sections { text: String::new() };
            of_kind.table(&spoken(name), kind, &schema);
            text.push_str(&of_kind.text);
        }
    }
    text.push_str("\n### Kinds of values\n");
    let rows: Vec<Vec<String>> = values
        .into_iter()
        .filter(|(name, _)| *name != "variable")
        .map(|(name, kind)| {
            let bounds = bounds(kind);
            vec![spoken(name), format!("{} {bounds}", words(kind)), examples(kind)]
        })
        .collect();
    text.push_str(&table(&["kind", "what it is", "examples"], &rows));
    text
}

struct Sections {
    text: String,
}

impl Sections {
    /// A table of the keys of one table of the file; tables within it follow.
    fn table(&mut self, name: &str, section: &Value, schema: &Value) {
        let required: Vec<&str> = list(section, "required").filter_map(Value::as_str).collect();
        let mut within = Vec::new();
        let mut rows = Vec::new();
        for (key, value) in members(section, "properties") {
            if value.get("properties").is_some() {
                within.push((format!("{}.{key}]", name.trim_end_matches(']')), value));
            }
            let default = match value.get("default") {
                Some(default) => code(&toml(default)),
                None if required.contains(&key) => "required".to_owned(),
                None => String::new(),
            };
            let target = described(value, schema);
            let said = if words(value).is_empty() { words(target) } else { words(value) };
            rows.push(vec![code(key), kind(value), default, said]);
        }
        self.text.push_str(&format!("\n### {name}\n\n{}\n", words(section)));
        self.text.push_str(&table(&["key", "type", "default", "meaning"], &rows));
        for (name, section) in within {
            self.table(&name, section, schema);
        }
    }
}

/// What a value is, in words.
fn kind(value: &Value) -> String {
    if let Some(name) = value.get("$ref").and_then(Value::as_str) {
        let name = name.rsplit('/').next().unwrap_or_default();
        return spoken(name);
    }
    if let Some(one_of) = value.get("enum").and_then(Value::as_sequence) {
        return codes(one_of.iter().map(toml));
    }
    if let Some(only) = value.get("const") {
        return code(&toml(only));
    }
    if value.get("anyOf").is_some() {
        let kinds = list(value, "anyOf").map(kind).filter(|kind| kind != "variable");
        return kinds.collect::<Vec<_>>().join(" or ");
    }
    let bounds = bounds(value);
    match value.get("type").and_then(Value::as_str) {
        Some("array") => format!("list of {}", kind(&value["items"])),
        Some("object") if value.get("properties").is_some() => "table, below".to_owned(),
        Some("object") => format!("table of {}", kind(&value["additionalProperties"])),
        Some("string") => match examples(value) {
            examples if examples.is_empty() => "text".to_owned(),
            examples => format!("text, such as {examples}"),
        },
        Some(named) => format!("{named} {bounds}"),
        None => String::new(),
    }
}

/// From where to where.
fn bounds(value: &Value) -> String {
    let bound = |name: &str| value.get(name).map(toml);
    if let (Some(least), Some(most)) = (bound("minLength"), bound("maxLength")) {
        return format!("{least} to {most} characters");
    }
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("({least} to {most})"),
        (Some(least), None) => format!("(at least {least})"),
        (None, Some(most)) => format!("(at most {most})"),
        (None, None) => String::new(),
    }
}

/// What a reference or an array's items stand for.
fn described<'a>(value: &'a Value, schema: &'a Value) -> &'a Value {
    resolved(value.get("items").unwrap_or(value), schema)
}

fn resolved<'a>(value: &'a Value, schema: &'a Value) -> &'a Value {
    let named = value.get("$ref").and_then(Value::as_str);
    let named = named.and_then(|path| path.rsplit('/').next());
    named.and_then(|name| schema["$defs"].get(name)).unwrap_or(value)
}

fn members<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let members = value.get(name).and_then(Value::as_mapping).map(Mapping::iter);
    members.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str()?, value)))
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_sequence).into_iter().flatten()
}

fn words(value: &Value) -> String {
    value.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn examples(value: &Value) -> String {
    let of_one = |one: &Value| list(one, "examples").map(toml).collect::<Vec<_>>();
    let own = of_one(value);
    codes(if own.is_empty() { list(value, "anyOf").flat_map(of_one).collect() } else { own })
}

/// A value as it stands in the file.
fn toml(value: &Value) -> String {
    serde_json::to_string(value).unwrap()
}

fn spoken(name: &str) -> String {
    name.replace('_', " ")
}

/// What has a section of its own under its name in the file.
const SECTIONS: [&str; 5] = ["upstream", "route", "model", "plan", "price"];
const HEAD: &str = "
## Configuration

`weir.toml`; `weir check` says what is wrong with one, and `weir init` writes one to begin with. Any text may have `${NAME}`
in it, which is taken from the environment; a key that is not here is an error. Where no default stands and a key is
not required, leaving it out means what its words say.
";
