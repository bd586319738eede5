//! The JSON Schema says what the reader says: the same keys, the same defaults, the same words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::support::read;
use crate::config::preset::SCHEMA;

/// A file whose `unknown` stands in a section, and where the schema describes that section.
const SECTIONS: [(&str, &str); 20] = [
    ("unknown = 1", ""),
    ("[server]\nunknown = 1", "/properties/server"),
    ("[server.tls]\nunknown = 1", "/properties/server/properties/tls"),
    ("[server.cors]\nunknown = 1", "/properties/server/properties/cors"),
    ("[store]\nunknown = 1", "/properties/store"),
    ("[store.usage_retention]\nunknown = 1", "/properties/store/properties/usage_retention"),
    ("[billing]\nunknown = 1", "/properties/billing"),
    ("[auth]\nunknown = 1", "/properties/auth"),
    ("[webhooks]\nunknown = 1", "/properties/webhooks"),
    ("[email]\nunknown = 1", "/properties/email"),
    ("[upstreams.a]\nunknown = 1", "/$defs/upstream"),
    ("[[routes]]\nunknown = 1", "/$defs/route"),
    ("[models.a]\nunknown = 1", "/$defs/model"),
    ("[plans.a]\nunknown = 1", "/$defs/plan"),
    ("[prices.a]\nunknown = 1", "/$defs/price"),
    ("[plans.a]\nlimits.ai = { unknown = 1 }", "/$defs/rule_table"),
    ("[prices.a]\nrequest = { unknown = 1 }", "/$defs/tiers"),
    ("[prices.a]\nrequest = { tiers = [{ unknown = 1 }] }", "/$defs/tier"),
    ("[prices.a]\nlong_context = [{ unknown = 1 }]", "/$defs/long_context"),
    ("[plans.a.key_limits]\nunknown = {}", "/$defs/plan/properties/key_limits"),
];

/// Sections whose keys are free, so that their properties are only remarks.
const FREE: [&str; 1] = ["/$defs/key_limits"];

/// What stands around a value where it has another place than its section's name.
const AROUND: [(&str, &str); 3] = [
    ("/$defs/route", "[[routes]]"),
    ("/$defs/plan", "[plans.a]"),
    ("/$defs/upstream", "[upstreams.a]"),
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// The keys that the schema names in one section.
fn described(schema: &Value, at: &str) -> BTreeSet<String> {
    let properties = &schema.pointer(at).unwrap()["properties"];
    properties.as_object().unwrap().keys().cloned().collect()
}

/// The keys that the reader lists when it meets one that it does not know.
fn known(text: &str) -> BTreeSet<String> {
    let rejected = read(text).unwrap_err();
    let problems = serde_json::to_value(rejected.words()).unwrap();
    let hint = problems.as_array().unwrap().iter().find_map(|problem| {
        let unknown = problem["message"].as_str()?.contains("`unknown`");
        problem["hint"].as_str().filter(|_| unknown).map(str::to_owned)
    });
    let hint = hint.unwrap_or_else(|| panic!("{text}: {problems:#}"));
    match hint.split_once("known here: ") {
        Some((_, list)) => list.trim_end_matches(')').split(", ").map(str::to_owned).collect(),
        None => hint.split('"').skip(1).step_by(2).map(str::to_owned).collect(),
    }
}

#[test]
fn the_schema_and_the_reader_know_the_same_keys() {
    let schema = schema();
    for (text, at) in SECTIONS {
        assert_eq!(described(&schema, at), known(text), "{at}");
    }
}

#[test]
fn every_section_of_the_schema_is_compared() {
    fn walk(value: &Value, at: &str, found: &mut BTreeSet<String>) {
        if let Value::Object(members) = value {
            if members.contains_key("additionalProperties") && members.contains_key("properties") {
                found.insert(at.to_owned());
            }
            for (name, member) in members {
                walk(member, &format!("{at}/{name}"), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&schema(), "", &mut found);
    let compared: BTreeSet<String> =
        SECTIONS.iter().map(|(_, at)| *at).chain(FREE).map(str::to_owned).collect();
    assert_eq!(found, compared);
}

/// The defaults of one section as they would be written.
fn defaults(section: &Value) -> Map<String, Value> {
    let properties = section["properties"].as_object().unwrap();
    let given = properties.iter().filter_map(|(key, value)| {
        value.get("default").map(|default| (key.clone(), default.clone()))
    });
    given.collect()
}

#[test]
fn writing_down_every_default_changes_nothing() {
    let schema = schema();
    let needed = BTreeMap::from([
        ("[upstreams.a]", "urls = [\"http://127.0.0.1:1\"]\n"),
        ("[[routes]]", "match = \"GET /a\"\nupstream = \"a\"\n"),
        ("[plans.a]", "limits = {}\n"),
    ]);
    let mut plain = String::new();
    let mut written = String::new();
    let mut said = 0;
    let small = schema["properties"].as_object().unwrap().iter();
    let small = small.filter(|(_, section)| section["properties"].is_object());
    let small = small.map(|(name, section)| (format!("[{name}]"), section));
    let large =
        AROUND.iter().map(|(at, header)| ((*header).to_owned(), schema.pointer(at).unwrap()));
    for (header, section) in small.chain(large) {
        let needed = needed.get(header.as_str()).copied().unwrap_or_default();
        plain.push_str(&format!("{header}\n{needed}"));
        written.push_str(&format!("{header}\n{needed}"));
        for (key, value) in defaults(section) {
            // A plan without a wallet has no alerts, not even none.
            if key != "alerts" {
                written.push_str(&format!("{key} = {value}\n"));
                said += 1;
            }
        }
    }
    assert!(said >= 30, "{said}");
    let (plain, written) = (read(&plain).unwrap(), read(&written).unwrap());
    assert_eq!(format!("{plain:?}"), format!("{written:?}"));
}

/// One value in the place of another, and whether it is taken.
const VALUES: [(&str, bool); 38] = [
    ("[server]\nlisten = \"0.0.0.0:1\"", true),
    ("[server]\nlisten = 8080", false),
    ("[server]\nmax_body = \"32MiB\"", true),
    ("[server]\nmax_body = \"32M\"", false),
    ("[server]\nheader_timeout = \"250ms\"", true),
    ("[server]\nheader_timeout = 250", false),
    ("[server]\napi_prefix = \"/a/b\"", false),
    ("[server]\nmax_headers = 1001", false),
    ("[server]\nruntime = \"many\"", false),
    ("[server]\ntrusted_proxies = \"10.0.0.0/8\"", false),
    ("[server]\npublic_url = \"ftp://a\"", false),
    ("[server]\ncors = { origins = [\"*\"] }", true),
    ("[store]\nusage_retention = { minute = \"72h\", hour = \"unlimited\" }", true),
    ("[store]\nusage_retention = { minute = 3 }", false),
    ("[store]\nusage_retention = { day = \"1y\" }", false),
    ("[billing]\ncurrency = \"usd\"", false),
    ("[auth]\nkey_prefix = \"${MODELS_KEY}\"", true),
    ("[auth]\nheaders = []", false),
    ("[webhooks]\nallow_private = \"yes\"", false),
    ("[email]\nfrom = \"a@example.com\"", false),
    ("[upstreams.b]\nurls = []", false),
    ("[plans.b]\nbilling = \"prepaid\"", false),
    ("[plans.b]\nendpoint_multiplier = 2.5", true),
    ("[plans.b]\nendpoint_multiplier = 0.5", false),
    ("[plans.b]\nconcurrency = 0", false),
    ("[plans.b]\nlimits = { ai = \"10/90s\", \"model:gpt-*\" = \"unlimited\" }", true),
    ("[plans.b]\nlimits = { ai = 5 }", false),
    ("[plans.b]\nlimits = { ai = \"5/week\" }", false),
    ("[plans.b]\nlimits = { ai = { limit = 5 } }", false),
    ("[plans.b]\nlimits = { ai = { limit = \"unlimited\" } }", true),
    ("[plans.b]\nlimits = { concurrency = 5 }", false),
    ("[plans.b]\nkey_limits.service = { concurrency = 5, ai = [\"5/day\"] }", true),
    ("[prices.b]\noutput_tokens = \"0.60/1M\"", true),
    ("[prices.b]\noutput_tokens = 0.60", false),
    (
        "[prices.b]\noutput_tokens = { tiers = [{ up_to = \"10M\", amount = \"1\" }, { amount = \"0.5\" }] }",
        true,
    ),
    ("[prices.b]\noutput_tokens = \".60/1M\"", false),
    ("[prices.free]\nrequest = \"0\"", false),
    ("[models.b]\nmax_output_tokens = 0", false),
];

#[test]
fn the_schema_and_the_reader_take_and_refuse_the_same_values() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for (text, good) in VALUES {
        let text = format!("[plans.a]\n{text}");
        let reader = read(&text).map(drop).map_err(|rejected| rejected.to_string());
        assert_eq!(reader.is_ok(), good, "{text}\n{reader:?}");
        let value: Value = toml::from_str(&text).unwrap();
        assert_eq!(validator.is_valid(&value), good, "{text}");
    }
}
