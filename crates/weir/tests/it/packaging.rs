//! What lies in `packaging` fits the binary and the tools that read it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name)
}

const UNITS: [&str; 3] = ["weir.service", "weir.socket", "weir-admin.socket"];

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in UNITS {
        let unit = std::fs::read_to_string(packaged(name)).expect(name);
        // It looks whether the program is there.
        let unit = unit.replace("/usr/bin/weir", env!("CARGO_BIN_EXE_weir"));
        let unit = unit.replace("# Sockets=", "Sockets=");
        std::fs::write(folder.path().join(name), unit).expect(name);
    }
    for name in UNITS {
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).arg(folder.path().join(name));
        let Ok(output) = verify.output() else {
            // Written past the harness, which hides what a passing test prints.
            let said = "SKIPPED: the systemd units: no systemd-analyze\n";
            std::io::stderr().write_all(said.as_bytes()).expect("stderr is there");
            return;
        };
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && told.is_empty(), "{name}: {told}");
    }
}

/// The value of a key of a unit.
fn value(unit: &str, key: &str) -> String {
    let text = std::fs::read_to_string(packaged(unit)).expect(unit);
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let mut found = lines.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned());
    found.next().unwrap_or_else(|| panic!("no {key} in {unit}"))
}

#[test]
fn the_sockets_have_the_names_and_ports_that_the_binary_knows() {
    for (unit, name, port) in
        [("weir.socket", "data", "8080"), ("weir-admin.socket", "admin", "8081")]
    {
        assert_eq!(value(unit, "FileDescriptorName"), name);
        assert!(value(unit, "ListenStream").ends_with(&format!(":{port}")), "{unit}");
        assert_eq!(value(unit, "Service"), "weir.service");
    }
    // systemd must not kill what is still draining.
    let patience: u32 = value("weir.service", "TimeoutStopSec").parse().expect("seconds");
    assert!(patience > 30, "the drain takes up to 30 s");
}

#[test]
fn a_start_that_fails_again_and_again_does_not_end_the_sockets() {
    // A service that systemd gives up takes its sockets along, and connections are refused.
    assert_eq!(value("weir.service", "StartLimitIntervalSec"), "0");
    assert_eq!(value("weir.service", "Restart"), "on-failure");
    // The books are nobody else's business.
    assert_eq!(value("weir.service", "StateDirectoryMode"), "0700");
}
