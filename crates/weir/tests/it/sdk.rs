//! OpenAI's official SDKs, as their users have them, against the binary.
//!
//! They are installed by `cargo xtask test`, which says where in `WEIR_SDK_DIR`; without it the
//! tests say that they are skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::seed::on;
use crate::server::{Demo, Weir};
use crate::support::Mock;

const STEPS: &str = "ok chat\nok stream\nok stream with usage\nok headers\nok 401\nok 402\n\
                     ok 404\nok 429\n";

/// Where the SDKs are; `None`, said aloud, where they are not.
pub(crate) fn place(what: &str) -> Option<PathBuf> {
    let place = std::env::var_os("WEIR_SDK_DIR").map(PathBuf::from);
    if place.is_none() {
        // Not through the harness, which shows nothing of a test that passes.
        let said = format!("SKIPPED: {what}: WEIR_SDK_DIR is unset, see `cargo xtask test`\n");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes());
    }
    place
}

/// Runs a script to its end; gives back what it printed.
#[track_caller]
pub(crate) fn run(command: &mut Command, variables: &[(&str, String)]) -> String {
    let done = command.envs(variables.iter().cloned()).output().expect("the interpreter is there");
    let told = String::from_utf8_lossy(&done.stderr);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{told}");
    said
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("sdk").join(name)
}

fn python(place: &Path, name: &str) -> Command {
    let mut command = Command::new(place.join("venv").join("bin").join("python"));
    command.arg(script(name));
    command
}

/// Node looks for packages beside the script, so that a copy of it goes there.
fn node(place: &Path, name: &str, folder: &Path) -> Command {
    let packages = place.join("node").join("node_modules");
    std::os::unix::fs::symlink(packages, folder.join("node_modules")).expect("linked");
    std::fs::copy(script(name), folder.join(name)).expect("copied");
    let mut command = Command::new("node");
    command.arg(folder.join(name));
    command
}

fn demo_variables(demo: &Demo) -> [(&'static str, String); 4] {
    [
        ("WEIR_URL", format!("http://{}", demo.data)),
        ("WEIR_KEY_FREE", demo.key("free")),
        ("WEIR_KEY_PAYG", demo.key("payg")),
        ("WEIR_KEY_EMPTY", demo.key("empty")),
    ]
}

/// A gateway that lets one chat pass in two seconds.
fn one_in_two_seconds(mock: &Mock) -> Weir {
    let config = format!(
        "[upstreams.mock]\nurls = [\"http://{}\"]\n[plans.quick]\nlimits = {{ ai = \"1/2s\" }}\n\
         [[routes]]\nmatch = \"POST /v1/chat/completions\"\nclass = \"ai\"\n\
         upstream = \"mock\"\nusage = \"openai\"\n",
        mock.address
    );
    Weir::start(&config, &[on("quick")])
}

fn retry_variables(weir: &Weir) -> [(&'static str, String); 2] {
    [("WEIR_URL", format!("http://{}", weir.data)), ("WEIR_KEY", weir.keys[0].clone())]
}

#[test]
fn the_python_sdk_understands_answers_and_errors() {
    let Some(place) = place("OpenAI's Python SDK") else { return };
    let demo = Demo::start();
    let said = run(&mut python(&place, "openai_demo.py"), &demo_variables(&demo));
    assert_eq!(said, STEPS);
}

#[test]
fn the_python_sdk_waits_as_long_as_it_is_told() {
    let Some(place) = place("OpenAI's Python SDK, retries") else { return };
    let mock = Mock::start();
    let weir = one_in_two_seconds(&mock);
    let said = run(&mut python(&place, "openai_retry.py"), &retry_variables(&weir));
    assert_eq!((said.as_str(), &mock.stats()["requests"]), ("ok retry\n", &2.into()));
}

#[test]
fn the_javascript_sdk_understands_answers_and_errors() {
    let Some(place) = place("OpenAI's JavaScript SDK") else { return };
    let (demo, folder) = (Demo::start(), tempfile::tempdir().expect("a folder"));
    let mut command = node(&place, "openai_demo.mjs", folder.path());
    assert_eq!(run(&mut command, &demo_variables(&demo)), STEPS);
}

#[test]
fn the_javascript_sdk_waits_as_long_as_it_is_told() {
    let Some(place) = place("OpenAI's JavaScript SDK, retries") else { return };
    let (mock, folder) = (Mock::start(), tempfile::tempdir().expect("a folder"));
    let weir = one_in_two_seconds(&mock);
    let mut command = node(&place, "openai_retry.mjs", folder.path());
    let said = run(&mut command, &retry_variables(&weir));
    assert_eq!((said.as_str(), &mock.stats()["requests"]), ("ok retry\n", &2.into()));
}
