//! `weir doctor` finds what would be in the way, and says what to do.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::seed::paying;
use crate::server::Weir;
use crate::support::Mock;
use crate::wallet::config;

fn doctor(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.current_dir(folder).arg("doctor").args(arguments).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_sound_installation_passes_also_while_it_serves() {
    let mock = Mock::start();
    let mut weir = Weir::start(&config(&mock), &[paying("payg", "3.5")]);
    let looked = doctor(weir.folder(), &[]);
    let told = text(&looked.stdout);
    assert_eq!(looked.status.code(), Some(0), "{told}{}", text(&looked.stderr));
    assert!(told.contains("1 entries, 3.50 in all; they hold"), "{told}");
    assert!(told.contains("/ answers") || told.contains(" answers\n"), "{told}");
    // On fixed ports it is known as Weir, not as another program.
    let path = weir.config_path();
    let fixed = std::fs::read_to_string(&path).expect("a file");
    let fixed = fixed.replacen("127.0.0.1:0", &weir.data.to_string(), 1).replacen(
        "127.0.0.1:0",
        &weir.admin.to_string(),
        1,
    );
    std::fs::write(weir.folder().join("fixed.toml"), fixed).expect("written");
    let told = text(&doctor(weir.folder(), &["--config", "fixed.toml"]).stdout);
    assert_eq!(told.matches("Weir serves on").count(), 2, "{told}");
    weir.stop();
    let told = text(&doctor(weir.folder(), &["--config", "fixed.toml"]).stdout);
    assert_eq!(told.matches("is free").count(), 2, "{told}");
}

#[test]
fn what_is_in_the_way_is_told_with_what_to_do() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "[server]\nlisten = \"{}\"\nadmin_listen = \"127.0.0.1:0\"\n[store]\npath = \"store\"\n\
         [auth]\nadmin_key = \"short\"\n[upstreams.away]\nurls = [\"http://{gone}\"]\n\
         [plans.free]\n[[routes]]\nmatch = \"GET /*\"\nupstream = \"away\"\n",
        other.local_addr().expect("an address"),
    );
    std::fs::write(folder.path().join("weir.toml"), config).expect("written");
    std::fs::create_dir(folder.path().join("store")).expect("made");
    std::fs::write(folder.path().join("store/ledger.db"), "no database").expect("written");
    std::thread::spawn(move || {
        for stream in other.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut { stream }, b"SSH-2.0-x\r\n");
        }
    });
    let looked = doctor(folder.path(), &["--json"]);
    assert_eq!(looked.status.code(), Some(1), "{}", text(&looked.stderr));
    let found: Vec<Value> = serde_json::from_slice(&looked.stdout).expect("JSON");
    let state = |what: &str| {
        let found = found.iter().find(|finding| finding["what"] == what);
        let finding = found.unwrap_or_else(|| panic!("{what} in {found:?}"));
        let state = finding["state"].as_str().unwrap_or_default();
        assert_eq!(state != "ok", finding["advice"].is_string(), "{finding}");
        state.to_owned()
    };
    assert_eq!(state("listen"), "fail");
    assert_eq!(state("books"), "fail");
    assert_eq!(state("upstream"), "warn");
    assert_eq!(state("admin key"), "warn");
    assert!(!text(&looked.stdout).contains("short"), "no secret");
    std::fs::write(folder.path().join("weir.toml"), "[servr]\n").expect("written");
    assert_eq!(doctor(folder.path(), &[]).status.code(), Some(2));
}
