//! `weir config schema` as an editor gets it.

use std::process::Command;

use jsonschema::Validator;
use serde_json::Value;

fn schema() -> (String, Validator) {
    let printed = Command::new(env!("CARGO_BIN_EXE_weir"))
        .env_remove("WEIR_ADMIN_URL")
        .env_remove("WEIR_ADMIN_KEY")
        .args(["config", "schema"])
        .output()
        .expect("the binary starts");
    assert_eq!((printed.status.code(), printed.stderr.len()), (Some(0), 0), "{printed:?}");
    let text = String::from_utf8(printed.stdout).expect("it writes text");
    let value: Value = serde_json::from_str(&text).expect("it writes JSON");
    assert_eq!(value["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::meta::validate(&value).expect("a sound schema");
    (text, jsonschema::validator_for(&value).expect("a schema"))
}

fn problems(validator: &Validator, text: &str) -> Vec<String> {
    let value: Value = toml::from_str(text).expect("TOML");
    validator.iter_errors(&value).map(|error| error.to_string()).collect()
}

#[test]
fn what_is_printed_is_the_documented_schema() {
    assert_eq!(schema().0, include_str!("../../../../docs/weir.schema.json"));
}

#[test]
fn the_examples_and_the_demo_are_valid() {
    let (_, validator) = schema();
    let demo = include_str!("../../src/command/demo.toml")
        .replace("LISTEN", "127.0.0.1:0")
        .replace("ADMIN", "127.0.0.1:0")
        .replace("UPSTREAM", "http://127.0.0.1:1");
    for (name, text) in [
        ("tiered", include_str!("../../../../examples/tiered.toml")),
        ("wallet", include_str!("../../../../examples/wallet.toml")),
        ("hybrid", include_str!("../../../../examples/hybrid.toml")),
        ("demo", &demo),
    ] {
        assert_eq!(problems(&validator, text), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn an_unknown_key_and_a_wrong_type_are_not() {
    let (_, validator) = schema();
    for (text, part) in [
        ("lisen = \"x\"", "lisen"),
        ("[server]\nlisen = \"x\"", "lisen"),
        ("[[routes]]\nmatch = \"GET /a\"\nupstream = \"a\"\nclas = \"read\"", "clas"),
        ("[server]\nmax_headers = \"100\"", "integer"),
        ("[plans.a]\nalerts = \"5.00\"", "array"),
        ("routes = 5", "array"),
    ] {
        let found = problems(&validator, text);
        assert!(found.iter().any(|problem| problem.contains(part)), "{text}: {found:?}");
    }
}
