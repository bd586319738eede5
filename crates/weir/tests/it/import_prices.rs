//! `weir import litellm-prices`, and what `weir check` warns of in prices.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::server::{ADMIN_KEY, Weir};
use crate::support::Mock;

/// A few entries in the shape of the public list; the figures are made up.
const LIST: &str = r#"{
  "sample_spec": { "input_cost_per_token": "explained here", "mode": "one of: chat" },
  "acme/large": {
    "litellm_provider": "acme", "mode": "chat", "max_output_tokens": 64000,
    "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
    "cache_read_input_token_cost": 3.125e-07, "cache_creation_input_token_cost": "1.5625e-06",
    "input_cost_per_token_above_200k_tokens": 2.5e-06,
    "output_cost_per_token_above_200k_tokens": 1.5E-05,
    "input_cost_per_token_above_128k_tokens": null,
    "output_cost_per_reasoning_token": 1.2345678901234567e-06,
    "search_context_cost_per_query": { "search_context_size_low": 0.03 },
    "supports_vision": true
  },
  "acme/voice": {
    "input_cost_per_token": 6e-07, "output_cost_per_token": 2.4e-06,
    "input_cost_per_audio_token": 1e-05, "output_cost_per_audio_token": 2e-05,
    "input_cost_per_request": 0.0001, "input_cost_per_character": 1.5e-05
  },
  "acme/whisper": { "mode": "audio_transcription", "input_cost_per_second": 0.0001,
    "output_cost_per_second": 0.0 },
  "acme/paint": { "mode": "image_generation", "output_cost_per_image": 0.04 },
  "acme/embed": { "input_cost_per_token": 2e-08 },
  "acme/free": { "input_cost_per_token": 0.0, "output_cost_per_token": 0.0 },
  "acme/odd": { "input_cost_per_token": -1e-06 }
}"#;

const PRESENT: &str = r#"
[plans.payg]
billing = "wallet"
[prices."acme/large"]
input_tokens = "1/1M"
output_tokens = "10/1M"
[prices.mine]
request = "1"
"#;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.current_dir(folder).args(arguments);
    command.env_remove("WEIR_ADMIN_URL").env_remove("WEIR_ADMIN_KEY");
    command.env("XDG_CONFIG_HOME", folder).output().expect("the binary starts")
}

/// Its exit code, standard output and standard error.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("list.json"), LIST).expect("written");
    std::fs::write(folder.path().join("present.toml"), PRESENT).expect("written");
    folder
}

#[test]
fn a_price_list_is_compared_written_and_nothing_of_it_is_dropped_in_silence() {
    let folder = folder();
    let import = ["import", "litellm-prices", "list.json", "--config", "present.toml"];
    let (code, out, notes) = told(&run(folder.path(), &[&import[..], &["--json"]].concat()));
    assert_eq!(code, Some(0), "{notes}");
    let changes: Value = serde_json::from_str(&out).expect("JSON");
    let all = changes["changes"].as_array().expect("a list").clone();
    let direction = |price: &str, meter: &str| {
        let fits = |change: &&Value| change["price"] == price && change["meter"] == meter;
        all.iter().find(fits).map(|change| change["direction"].as_str().expect("text").to_owned())
    };
    assert_eq!(direction("acme/large", "input_tokens").as_deref(), Some("up"));
    assert_eq!(direction("acme/large", "output_tokens"), None, "10 it is, and stays");
    assert_eq!(direction("acme/large", "input_tokens above 200000").as_deref(), Some("added"));
    assert!(!out.contains("mine"), "a price that the list does not have stays: {out}");
    for note in [
        "acme/large: output_cost_per_reasoning_token = 1.2345678901234567e-06 is left out: it is finer",
        "acme/large: search_context_cost_per_query",
        "acme/voice: input_cost_per_character = 1.5e-05 is left out: Weir has no meter for it",
        "acme/free: it costs nothing",
        "acme/odd: input_cost_per_token = -1e-06 is left out",
        "acme/odd: it has no price that can be taken over",
        "left out: litellm_provider, mode, supports_vision",
    ] {
        assert!(notes.contains(note), "{note} in {notes}");
    }
    assert!(!notes.contains("sample_spec"), "{notes}");
    assert!(!folder.path().join("prices.toml").exists(), "a dry run writes nothing");

    let write = [&import[..], &["--write", "prices.toml"]].concat();
    let (code, out, _) = told(&run(folder.path(), &write));
    assert_eq!(code, Some(0), "{out}");
    let file = std::fs::read_to_string(folder.path().join("prices.toml")).expect("written");
    let read: toml::Value = toml::from_str(&file).expect("TOML");
    let rate =
        |name: &str, meter: &str| read["prices"][name][meter].as_str().expect("text").to_owned();
    assert_eq!(rate("acme/large", "input_tokens"), "1.25/1M");
    assert_eq!(rate("acme/large", "cached_input_tokens"), "0.3125/1M");
    assert_eq!(rate("acme/large", "cache_write_tokens"), "1.5625/1M");
    assert_eq!(rate("acme/voice", "audio_output_tokens"), "20/1M");
    assert_eq!(rate("acme/voice", "request"), "0.0001");
    assert_eq!(rate("acme/whisper", "second"), "0.0001");
    assert_eq!(rate("acme/paint", "image"), "0.04");
    assert_eq!(rate("acme/embed", "input_tokens"), "0.02/1M");
    let long = &read["prices"]["acme/large"]["long_context"][0];
    assert_eq!(long["above"].as_integer(), Some(200_000));
    assert_eq!(
        (long["input_tokens"].as_str(), long["output_tokens"].as_str()),
        (Some("2.5/1M"), Some("15/1M"))
    );
    let (code, _, why) = told(&run(folder.path(), &["check", "--config", "prices.toml"]));
    assert_eq!(code, Some(0), "{why}");
    let (code, out, why) = told(&run(folder.path(), &write));
    assert_eq!(code, Some(0), "{why}");
    assert!(out.contains("no price changes"), "{out}");
    let again = std::fs::read_to_string(folder.path().join("prices.toml")).expect("there");
    assert_eq!(again, file, "what has it all stays as it is");
    let (_, out, _) = told(&run(folder.path(), &[&import[..], &["--model", "acme/pa*"]].concat()));
    assert!(out.contains("acme/paint") && !out.contains("acme/large"), "{out}");
}

#[test]
fn a_price_list_is_put_into_a_configuration_that_is_there() {
    let folder = folder();
    let path = folder.path().join("present.toml");
    let commented = format!("# by hand\n{PRESENT}").replace("\"1/1M\"", "\"1/1M\" # agreed");
    std::fs::write(&path, &commented).expect("written");
    let import = ["import", "litellm-prices", "list.json", "--write", "present.toml"];
    let (code, out, notes) = told(&run(folder.path(), &[&import[..], &["--json"]].concat()));
    assert_eq!(code, Some(0), "{notes}");
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["kept"], serde_json::json!(["acme/large"]), "{out}");
    assert!(notes.contains("1 prices differ from the list and stay: acme/large; --update"));
    let changes = answer["changes"].as_array().expect("a list");
    assert!(changes.iter().all(|change| change["direction"] == "added"), "{out}");
    assert!(changes.iter().any(|change| change["price"] == "acme/paint"), "{out}");
    let file = std::fs::read_to_string(&path).expect("there");
    assert!(commented.lines().all(|line| file.lines().any(|one| one == line)), "{file}");
    let (code, out, notes) = told(&run(folder.path(), &[&import[..], &["--update"]].concat()));
    assert_eq!(code, Some(0), "{notes}");
    assert!(out.contains("acme/large") && !out.contains("acme/paint"), "{out}");
    let file = std::fs::read_to_string(&path).expect("there");
    assert!(file.contains("input_tokens = \"1.25/1M\" # agreed"), "{file}");
    let (code, _, why) = told(&run(folder.path(), &["check", "--config", "present.toml"]));
    assert_eq!(code, Some(0), "{why}");
    // What is not valid is not touched.
    std::fs::write(&path, "[plans.payg]\nbiling = \"wallet\"\n").expect("written");
    let (code, _, why) = told(&run(folder.path(), &import));
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("biling"), "{why}");
}

#[test]
fn a_price_list_is_compared_with_what_the_server_has_in_force() {
    let folder = folder();
    let import = ["import", "litellm-prices", "list.json"];
    let (code, _, why) = told(&run(folder.path(), &import));
    assert_eq!(code, Some(1));
    assert!(why.contains("--config FILE"), "{why}");
    let mock = Mock::start();
    let server = Weir::start(
        &format!("[upstreams.mock]\nurls = [\"http://{}\"]\n{PRESENT}", mock.address),
        &[],
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.current_dir(folder.path()).args(import).env("XDG_CONFIG_HOME", folder.path());
    command.env("WEIR_ADMIN_URL", format!("http://{}", server.admin));
    let (code, out, why) =
        told(&command.env("WEIR_ADMIN_KEY", ADMIN_KEY).output().expect("it starts"));
    assert_eq!(code, Some(0), "{why}");
    let up = |line: &str| {
        line.contains("acme/large") && line.contains("input_tokens") && line.contains("up")
    };
    assert!(out.lines().any(up), "{out}");
}

#[test]
fn check_warns_of_a_price_that_forgets_one_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = r#"
[plans.payg]
billing = "wallet"
[prices.half]
input_tokens = "1/1M"
[prices.other]
output_tokens = "1/1M"
[prices.meant]
input_tokens = "1/1M"
output_tokens = "0"
[prices.call]
request = "1"
"#;
    std::fs::write(folder.path().join("weir.toml"), config).expect("written");
    let (code, out, warned) = told(&run(folder.path(), &["check"]));
    assert_eq!(code, Some(0), "a warning is no error: {warned}");
    assert!(out.contains("ok"), "{out}");
    assert!(warned.contains("prices.half: it has input_tokens and no output_tokens"), "{warned}");
    assert!(warned.contains("prices.other: it has output_tokens and no input_tokens"), "{warned}");
    assert_eq!(warned.lines().count(), 2, "{warned}");
    let (_, out, _) = told(&run(folder.path(), &["check", "--json"]));
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["warnings"].as_array().map(Vec::len), Some(2), "{out}");
}
