//! The samples of docs/limits.md are configurations that `weir check` accepts.

use std::process::Command;

use crate::limits::storm;
use crate::seed::on;
use crate::server::{ADMIN_KEY, JSON, Weir};
use crate::support::Mock;

const TIERED: &str = include_str!("../../../../examples/tiered.toml");

const DOC: &str = include_str!("../../../../docs/limits.md");
const AROUND: &str = "
[upstreams.u]
urls = [\"http://127.0.0.1:9000\"]

[[routes]]
match = \"GET /*\"
upstream = \"u\"

[[routes]]
match = \"POST /ai/*\"
upstream = \"u\"
class = \"ai\"
usage = \"openai\"
";

#[test]
fn every_sample_of_the_page_on_limits_is_a_good_configuration() {
    let samples: Vec<&str> =
        DOC.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(samples.len() >= 5, "{samples:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weir.toml");
    for sample in samples {
        std::fs::write(&file, format!("{sample}{AROUND}")).expect("written");
        let mut check = Command::new(env!("CARGO_BIN_EXE_weir"));
        let checked = check.arg("check").arg("--config").arg(&file).output().expect("it runs");
        let told = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{sample}\n{told}");
    }
}

/// Text with what differs from run to run left out, and one space for many.
fn lasting(text: &str) -> String {
    let words = text.split_whitespace().map(|word| match word {
        id if id.starts_with("acct_") => "acct_…,",
        word => word,
    });
    let words: Vec<&str> = words.collect();
    let waits = |at: usize| at > 1 && words[at - 2..at] == ["passes", "in"];
    let timeless = (0..words.len()).filter(|at| !(waits(*at) || *at > 0 && waits(*at - 1)));
    timeless.map(|at| words[at]).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_sample_of_an_explanation_is_what_is_printed() {
    let sample = DOC.split("```sh\nweir explain ").nth(1).expect("a sample");
    let (arguments, rest) = sample.split_once("\n```\n\n```text\n").expect("its output");
    let (shown, _) = rest.split_once("```").expect("an end");
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    let account = weir.admin("GET", "/admin/v1/accounts", "").json()["data"][0]["id"].clone();
    let target = format!("/admin/v1/accounts/{}", account.as_str().expect("an id"));
    let named = weir.admin("PATCH", &target, r#"{"external_id":"acme"}"#);
    assert_eq!(named.status, 200, "{}", named.text());
    let chat = r#"{"model":"llama-3-8b","max_tokens":1,"messages":[]}"#;
    let bearer = weir.bearer(0);
    let [passed] = storm(weir.data, &[&bearer, JSON], ("POST", "/ai/chat", chat), 50, [200]);
    assert_eq!(passed, 50);
    let printed = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("explain")
        .args(arguments.split_whitespace())
        .env("WEIR_ADMIN_URL", format!("http://{}", weir.admin))
        .env("WEIR_ADMIN_KEY", ADMIN_KEY)
        .output()
        .expect("it runs");
    let printed = String::from_utf8(printed.stdout).expect("text");
    let wanted = lasting(shown);
    assert!(lasting(&printed).starts_with(&wanted), "{wanted}\nis not the beginning of\n{printed}");
}
