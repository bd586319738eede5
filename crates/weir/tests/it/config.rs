//! `weir init` and `weir check` as they are typed.

use std::path::Path;
use std::process::{Command, Output};

fn weir(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it writes text")
}

#[test]
fn what_init_writes_passes_check() {
    let folder = tempfile::tempdir().expect("a folder");
    for (preset, counts) in [
        ("tiered", "3 plans, 18 routes, 1 upstream"),
        ("wallet", "1 plan, 7 routes, 1 upstream, 3 models, 6 prices"),
        ("hybrid", "3 plans, 5 routes, 1 upstream, 1 model, 6 prices"),
    ] {
        let file = format!("{preset}.toml");
        let wrote = weir(folder.path(), &["init", "--preset", preset, &file]);
        assert_eq!(wrote.status.code(), Some(0), "{wrote:?}");
        let checked = weir(folder.path(), &["check", "--config", &file]);
        assert_eq!(text(&checked.stdout), format!("{file}: ok ({counts})\n"));
        assert_eq!((checked.status.code(), checked.stderr.len()), (Some(0), 0));
    }
}

#[test]
fn init_keeps_an_existing_file_unless_forced() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weir.toml");
    std::fs::write(&file, "mine").expect("written");
    let refused = weir(folder.path(), &["init"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("weir.toml exists; --force"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "mine");
    assert_eq!(weir(folder.path(), &["init", "--force"]).status.code(), Some(0));
    assert_eq!(weir(folder.path(), &["check"]).status.code(), Some(0));
}

#[test]
fn init_writes_to_standard_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let printed = weir(folder.path(), &["init", "--preset", "wallet", "-"]);
    assert!(text(&printed.stdout).contains("[plans.payg]"), "{printed:?}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
}

#[test]
fn check_tells_every_problem_on_standard_error_and_exits_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = "[server]\nlisen = \"x\"\nmax_body = \"32M\"\n[plans.free]\n";
    std::fs::write(folder.path().join("weir.toml"), wrong).expect("written");
    let checked = weir(folder.path(), &["check"]);
    assert_eq!((checked.status.code(), checked.stdout.len()), (Some(2), 0));
    let told = text(&checked.stderr);
    for part in ["weir.toml:2:1", "did you mean `listen`?", "^^^^^", "weir.toml:3:12", "\"32MB\""] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains('\u{1b}') && told.is_ascii(), "{told}");
}

#[test]
fn check_tells_the_same_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weir.toml");
    std::fs::write(&file, "[plans.free]\nlimit = 3\n").expect("written");
    let checked = weir(folder.path(), &["check", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!((checked.status.code(), &json["ok"]), (Some(2), &false.into()));
    let problem = &json["problems"][0];
    assert_eq!((&problem["line"], &problem["path"]), (&2.into(), &"plans.free".into()));
    std::fs::write(&file, "[plans.free]\n").expect("written");
    let checked = weir(folder.path(), &["check", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!((checked.status.code(), &json["counts"]["plans"]), (Some(0), &1.into()));
}

#[test]
fn a_file_that_is_not_there_is_a_bad_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let checked = weir(folder.path(), &["check"]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(text(&checked.stderr).contains("cannot read weir.toml"), "{checked:?}");
}
