//! The samples of docs/limits.md are configurations that `weir check` accepts.

use std::process::Command;

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
