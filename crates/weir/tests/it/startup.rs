//! What `weir serve` says when it cannot start.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const GOOD: &str = r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[store]
path = "store"
[upstreams.one]
urls = ["http://127.0.0.1:1"]
[plans.free]
limits = { read = "100/hour" }
[[routes]]
match = "GET /*"
upstream = "one"
"#;

/// `weir serve` on this configuration ends with this code, and says all of this and no more than
/// one error.
#[track_caller]
fn refuses(folder: &Path, config: &str, code: i32, told: &[&str]) {
    std::fs::write(folder.join("weir.toml"), config).expect("written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .current_dir(folder)
        .args(["serve", "--config", "weir.toml"])
        .env_remove("WEIR_TEST_ABSENT")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let began = Instant::now();
    while child.try_wait().expect("it can be asked").is_none() {
        if began.elapsed() > Duration::from_secs(20) {
            let _ = child.kill();
            panic!("it runs: {config}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it ended");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    for part in told {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    let errors = text.lines().filter(|line| line.contains("error")).count();
    assert_eq!(errors, 1, "one error is wanted:\n{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_wrong_configuration_is_one_error_with_place_and_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replacen(from, to, 1)
    };
    for (config, told) in [
        (
            wrong("listen = \"127.0.0.1:0\"", "lisen = \"127.0.0.1:0\""),
            &["weir.toml:3:1", "did you mean `listen`?"][..],
        ),
        (wrong("limits = {", "limit = {"), &["weir.toml:10:1", "did you mean `limits`?"]),
        (wrong("\"100/hour\"", "\"100/hours\""), &["weir.toml:10:", "did you mean \"hour\"?"]),
        (wrong("\"100/hour\"", "100"), &["weir.toml:10:", "100/hour"]),
        (wrong("[store]", "max_body = \"32M\"\n[store]"), &["weir.toml:5:12", "\"32MB\""]),
        (wrong("[store]", "header_timeout = 15\n[store]"), &["weir.toml:5:", "\"15s\""]),
        (wrong("upstream = \"one\"", "upstream = \"on\""), &["weir.toml:13:", "did you mean"]),
        (
            wrong("[upstreams.one]\nurls = [\"http://127.0.0.1:1\"]\n", ""),
            &["weir.toml:11:", "[upstreams."],
        ),
        (wrong("http://127.0.0.1:1", "${WEIR_TEST_ABSENT}"), &["weir.toml:8:", "WEIR_TEST_ABSENT"]),
        (wrong("[plans.free]", "[plans.free"), &["weir.toml:9:"]),
    ] {
        refuses(folder.path(), &config, 2, told);
    }
    assert!(!folder.path().join("store").exists(), "a wrong configuration leaves no trace");
}

#[test]
fn a_port_in_use_is_told_before_the_store_is_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address)).expect("an address");
    let address = taken.1.to_string();
    for key in ["listen", "admin_listen"] {
        let line = format!("\n{key} = \"127.0.0.1:0\"");
        let config = GOOD.replacen(&line, &format!("\n{key} = \"{address}\""), 1);
        refuses(folder.path(), &config, 1, &[&address, &format!("server.{key}"), "in use"]);
    }
    assert!(!folder.path().join("store").exists(), "a start that failed leaves no trace");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "x").expect("written");
    let config = GOOD.replace("path = \"store\"", "path = \"file/store\"");
    refuses(folder.path(), &config, 1, &["file/store"]);
    let config = GOOD.replace("path = \"store\"", "path = \"/proc/weir\"");
    refuses(folder.path(), &config, 1, &["/proc/weir"]);
}

#[test]
fn a_store_that_another_process_has_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mock = crate::support::Mock::start();
    let config = format!("[upstreams.one]\nurls = [\"http://{}\"]\n[plans.free]\n", mock.address);
    let weir = crate::server::Weir::start(&config, &[crate::seed::on("free")]);
    let store = weir.folder().join("store");
    let taken = GOOD.replace("\"store\"", &format!("\"{}\"", store.display()));
    refuses(folder.path(), &taken, 1, &[&store.display().to_string()]);
}

#[test]
fn a_missing_file_is_a_bad_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = Command::new(env!("CARGO_BIN_EXE_weir"))
        .current_dir(folder.path())
        .args(["serve", "--config", "none.toml"])
        .output()
        .expect("the binary starts");
    let text = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{text}");
    assert!(text.contains("cannot read none.toml") && text.contains("weir init"), "{text}");
}
