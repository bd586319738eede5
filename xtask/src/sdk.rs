//! What tests need beside Rust: Python and Node with OpenAI's SDKs, schemathesis, nginx, and for the faults
//! strace and libfaketime.
//!
//! Installed only where missing, under `target/sdk`: `venv` for Python, `node` for JavaScript.
//! Tests find the folder in the environment under [`PLACE_VARIABLE`].

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::step::{program, run, say, succeeds};

/// The environment variable that tells tests where the SDKs are; unset, they are not there.
pub(crate) const PLACE_VARIABLE: &str = "WEIR_SDK_DIR";

/// The folder of the SDKs.
pub(crate) fn place(root: &Path) -> PathBuf {
    root.join("target").join("sdk")
}

/// Installs what the machine lacks, when it is Debian's kind and ours to change.
///
/// # Errors
///
/// When the installation fails. Not being root is none: what is missing is told, and the step
/// that needs it fails.
pub(crate) fn install_packages(root: &Path) -> anyhow::Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|need| !succeeds(program(need.probe[0], root).args(&need.probe[1..])))
        .map(|need| need.package)
        .collect();
    if missing.is_empty() {
        return say("nothing is missing");
    }
    if !is_root(root) {
        return say(&format!("missing, and not root to install: {}", missing.join(" ")));
    }
    run(apt(root).args(["update", "-q"]))?;
    run(apt(root).args(["install", "-q", "-y", "--no-install-recommends"]).args(missing))
}

/// Makes a virtual environment with the SDK and schemathesis, once.
///
/// # Errors
///
/// When the environment or what belongs in it cannot be installed.
pub(crate) fn install_python(root: &Path) -> anyhow::Result<()> {
    let venv = place(root).join("venv");
    let python = venv.join("bin").join("python");
    if succeeds(program(&python, root).args(["-c", "import openai, schemathesis"])) {
        return say("already there");
    }
    std::fs::create_dir_all(place(root))?;
    run(program("python3", root).args(["-m", "venv", "--clear"]).arg(&venv))?;
    let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
    run(program(&python, root).args(quiet).args(PYTHON_PACKAGES))
}

/// Installs the SDK into a folder of its own, once.
///
/// # Errors
///
/// When npm fails.
pub(crate) fn install_javascript(root: &Path) -> anyhow::Result<()> {
    let node = place(root).join("node");
    if node.join("node_modules").join("openai").join("package.json").is_file() {
        return say("already there");
    }
    std::fs::create_dir_all(&node).with_context(|| format!("cannot make {}", node.display()))?;
    let quiet = ["install", "--no-audit", "--no-fund", "--no-update-notifier", "--prefix"];
    // Inside its own folder, so that no package.json above is taken for the project.
    run(program("npm", &node).args(quiet).arg(&node).arg(JAVASCRIPT_SDK))
}

fn is_root(root: &Path) -> bool {
    let id = program("id", root).arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn apt(root: &Path) -> Command {
    let mut command = program("apt-get", root);
    // Runlevel 1 keeps the packages from starting their services.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}

struct Need {
    package: &'static str,
    /// A program that exits with 0 where the package is installed.
    probe: &'static [&'static str],
}

const PACKAGES: [Need; 6] = [
    Need { package: "nginx", probe: &["nginx", "-v"] },
    Need { package: "python3-venv", probe: &["python3", "-c", "import ensurepip, venv"] },
    Need { package: "nodejs", probe: &["node", "--version"] },
    Need { package: "npm", probe: &["npm", "--version"] },
    Need { package: "strace", probe: &["strace", "--version"] },
    Need { package: "faketime", probe: &["faketime", "--version"] },
];
const PYTHON_PACKAGES: [&str; 2] = ["openai==3.*", "schemathesis==4.*"];
const JAVASCRIPT_SDK: &str = "openai@6";
