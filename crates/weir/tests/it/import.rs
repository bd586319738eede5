//! `weir import litellm`: customers of another gateway keep their keys.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::server::{ADMIN_KEY, Weir};
use crate::support::Mock;
use crate::wire::Line;

const PROXY: &str = r"
model_list:
  - model_name: gpt-4o-mini
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: http://UPSTREAM/v1
      api_key: os.environ/MODELS_KEY
      input_cost_per_token: 1.5e-07
      output_cost_per_token: 0.0000006
    model_info: { max_output_tokens: 4096 }
  - model_name: fast
    litellm_params: { model: groq/llama-3.1-8b, api_key: gsk_do_not_copy_me }
  - model_name: titan
    litellm_params: { model: bedrock/titan }
general_settings: { master_key: sk-1234 }
";

fn weir(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.current_dir(folder).args(["import", "litellm", "proxy.yaml"]).args(arguments);
    command.env_remove("WEIR_ADMIN_URL").env_remove("WEIR_ADMIN_KEY");
    command.env("XDG_CONFIG_HOME", folder);
    command
}

#[track_caller]
fn done(mut command: Command) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    let (out, hints) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(0), "{out}{hints}");
    (out.into_owned(), hints.into_owned())
}

#[test]
fn models_keys_and_budgets_of_a_proxy_work_after_the_import() {
    let mock = Mock::start();
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = PROXY.replace("UPSTREAM", &mock.address.to_string());
    std::fs::write(folder.path().join("proxy.yaml"), proxy).expect("written");
    let secret = "sk-the-customers-old-key";
    let digest = hex::encode(Sha256::digest(secret));
    let export = json!({
        "LiteLLM_TeamTable": [{
            "team_id": "team-1", "team_alias": "Acme", "max_budget": 10.0, "spend": 2.75,
            "rpm_limit": 100, "tpm_limit": 90_000,
        }],
        "LiteLLM_UserTable": [],
        "LiteLLM_VerificationToken": [
            { "token": digest, "key_alias": "prod", "team_id": "team-1", "spend": 0.0,
              "max_budget": 5, "budget_duration": "30d", "models": ["gpt-4o-mini"] },
            { "token": "ab".repeat(32), "key_alias": "gone", "expires": "2020-01-01T00:00:00" },
        ],
    });
    std::fs::write(folder.path().join("export.json"), export.to_string()).expect("written");

    // Without --write and --apply nothing is touched, and no server is needed.
    let (told, notes) = done(weir(folder.path(), &["--db-export", "export.json"]));
    assert!(told.contains("gpt-4o-mini  at openai  input 0.15  output 0.6"), "{told}");
    assert!(
        told.contains("Acme (litellm:team:team-1): plan imported-prepaid, 1 keys, balance 7.25"),
        "{told}"
    );
    for note in ["fast: LiteLLM renames it", "titan: bedrock speaks no API", "gone: it has expired"]
    {
        assert!(notes.contains(note), "{note} in {notes}");
    }
    assert!(!format!("{told}{notes}").contains("gsk_") && !notes.contains("sk-1234"), "{notes}");

    done(weir(folder.path(), &["--write", "weir.toml"]));
    let file = std::fs::read_to_string(folder.path().join("weir.toml")).expect("written");
    assert!(!file.contains("gsk_") && file.contains("Bearer ${GROQ_API_KEY}"), "{file}");
    let again = weir(folder.path(), &["--write", "weir.toml"]).output().expect("it starts");
    assert_eq!(again.status.code(), Some(1), "an existing file stays");
    let file = file
        .replace(
            "[server]\nlisten = \"127.0.0.1:8080\"\nadmin_listen = \"127.0.0.1:8081\"\n",
            "[server]\n",
        )
        .replace("[store]\npath = \"weir-data\"\n", "")
        .replace("[auth]\nheaders = [\"authorization\", \"x-api-key\"]\n", "")
        .replace("${MODELS_KEY}", "k")
        .replace("${GROQ_API_KEY}", "k");
    let server = Weir::start(&file, &[]);

    let apply = || {
        let mut command = weir(folder.path(), &["--db-export", "export.json", "--apply"]);
        command.env("WEIR_ADMIN_URL", format!("http://{}", server.admin));
        command.env("WEIR_ADMIN_KEY", ADMIN_KEY);
        done(command).0
    };
    assert!(apply().contains("made 1 accounts and 1 keys; 0 were there already"));
    assert!(apply().contains("made 0 accounts and 0 keys; 2 were there already"));
    check_calls(&server, secret);
}

/// What the customer of the old gateway meets at the new one.
#[track_caller]
fn check_calls(server: &Weir, secret: &str) {
    let bearer = format!("authorization: Bearer {secret}");
    let own = Line::open(server.data).call("GET", "/weir/v1/wallet", &[&bearer], "");
    assert_eq!(own.json()["available"], "7.25", "topped up once: {}", own.text());
    let body =
        r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"max_tokens":5}"#;
    let json = "content-type: application/json";
    let call = Line::open(server.data).call("POST", "/v1/chat/completions", &[&bearer, json], body);
    assert_eq!(call.status, 200, "{}", call.text());
    assert!(call.header("x-weir-charge").is_some_and(|it| it != "0.00"), "{}", call.text());
    let limits = Line::open(server.data).call("GET", "/weir/v1/limits", &[&bearer], "");
    let limits = limits.text();
    for name in ["\"all\"", "\"all.tokens\"", "\"key:all.credits\""] {
        assert!(limits.contains(name), "{name} in {limits}");
    }
    let other = body.replace("gpt-4o-mini", "llama-3-8b");
    let call =
        Line::open(server.data).call("POST", "/v1/chat/completions", &[&bearer, json], &other);
    assert_eq!(call.status, 403, "not a model of this key: {}", call.text());
}
