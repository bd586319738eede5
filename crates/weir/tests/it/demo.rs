//! `weir demo`: what a newcomer sees first.

use std::process::Command;
use std::time::Duration;

use crate::server::Demo;

#[test]
fn the_demo_is_ready_within_a_second() {
    // The best of three: the machine may be busy with other tests, the demo must not be.
    let best = (0..3).map(|_| Demo::start().process.took).min().unwrap_or_default();
    assert!(best < Duration::from_secs(1), "{best:?}");
}

#[test]
fn every_line_that_the_demo_prints_works_as_printed() {
    let demo = Demo::start();
    let samples = demo.samples();
    assert!(samples.len() >= 6, "{}", demo.process.printed);
    for (about, line) in samples {
        let done = Command::new("sh").args(["-c", &line]).output().expect("sh is there");
        let (out, told) =
            (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{about}\n{line}\n{out}\n{told}");
        if about.contains("limits in the headers") {
            assert!(out.to_lowercase().contains("x-ratelimit-remaining: "), "{out}");
        }
        if about.contains("X-Weir-Charge") {
            assert!(out.to_lowercase().contains("x-weir-charge: 0.0000"), "{out}");
        }
        if about.contains("stream") {
            assert!(out.contains("\"cost\":") && out.trim_end().ends_with("data: [DONE]"), "{out}");
        }
        if about.contains("refusal") {
            assert!(out.contains("missing_key"), "{out}");
        }
    }
}

#[test]
fn the_demo_goes_without_a_trace() {
    let mut demo = Demo::start();
    assert_eq!(demo.process.terminate().code(), Some(0));
    assert_eq!(demo.process.log(), "");
}
