//! Load by wrk, and what it saw.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};

use super::line::{Line, Load};
use super::server::{Core, on_core};

/// What wrk saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) requests: f64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Loads a line. Answers other than 2xx are an error: they would be cheaper.
pub(super) fn wrk(line: &Line, load: Load, core: Core, folder: &Path) -> anyhow::Result<Seen> {
    let script = folder.join("load.lua");
    fs::write(&script, lua(line))?;
    let mut command = on_core(core, "wrk");
    command
        .args(["-t1", "-c", &load.connections.to_string(), "-d"])
        .arg(format!("{}s", load.seconds))
        .arg("--latency")
        .arg("-s")
        .arg(&script)
        .arg(format!("http://{}{}", line.address(), line.path));
    let output = command.stdin(Stdio::null()).output().context("cannot start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text.lines().find_map(|line| line.strip_prefix("FIGURES "));
    let figures = figures.with_context(|| format!("wrk told nothing: {text}"))?;
    let figures: Vec<f64> = figures.split(' ').filter_map(|figure| figure.parse().ok()).collect();
    let [requests, micros, bad, errors, p50_us, p99_us] = figures[..] else {
        bail!("wrk told {figures:?}");
    };
    if bad > 0.0 || errors > 0.0 {
        bail!("{}: {bad} answers are no success, {errors} socket errors", line.name);
    }
    Ok(Seen { requests, seconds: micros / 1e6, p50_us, p99_us })
}

fn lua(line: &Line) -> String {
    let mut script = String::from("wrk.method = \"POST\"\n");
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    for (name, value) in headers.iter().chain(&line.headers) {
        script.push_str(&format!("wrk.headers[\"{name}\"] = \"{value}\"\n"));
    }
    script.push_str(&format!("wrk.body = [[{}]]\n", line.body));
    script.push_str(FIGURES);
    script
}

const FIGURES: &str = r#"
done = function(summary, latency, requests)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("FIGURES %d %d %d %d %f %f\n", summary.requests, summary.duration,
    errors.status, broken, latency:percentile(50), latency:percentile(99)))
end
"#;
