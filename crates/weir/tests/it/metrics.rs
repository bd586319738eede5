//! What `/metrics` tells of calls that were made.

use std::collections::BTreeMap;

use crate::seed::{on, paying};
use crate::server::Weir;
use crate::support::Mock;
use crate::wallet;

const TIERED: &str = include_str!("../../../../examples/tiered.toml");

/// Every sample of an exposition by its name with labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

#[track_caller]
fn check(samples: &BTreeMap<String, f64>, name: &str, expected: f64) {
    let found = samples.get(name).unwrap_or_else(|| panic!("{name} in {samples:#?}"));
    assert!((found - expected).abs() < 1e-9, "{name}: {found}, not {expected}");
}

#[test]
fn calls_refusals_tokens_and_charges_stand_in_the_metrics() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    for _ in 0..3 {
        assert_eq!(weir.call(0, "GET", "/clusters/c-1", "").status, 200);
    }
    for _ in 0..6 {
        weir.call(0, "POST", "/training/jobs", "{}");
    }
    assert_eq!(weir.call(0, "GET", "/nowhere/at/all", "").status, 404);
    let found = samples(weir.admin("GET", "/metrics", "").text());
    let of = |route: &str, class: &str, outcome: &str| {
        format!(
            "weir_requests_total{{route=\"{route}\",class=\"{class}\",plan=\"free\",outcome=\"{outcome}\"}}"
        )
    };
    let reads = found.iter().filter(|(name, _)| name.contains("class=\"read\""));
    assert!((reads.map(|(_, count)| count).sum::<f64>() - 3.0).abs() < 1e-9, "{found:#?}");
    check(&found, &of("", "", "refused"), 1.0);
    check(&found, "weir_refusals_total{code=\"rate_limit_exceeded\"}", 1.0);
    check(&found, "weir_holds_open", 0.0);
    check(&found, "weir_time_to_first_byte_seconds_count", 10.0);
    assert!(found["weir_decision_duration_seconds_count"] >= 8.0, "{found:#?}");
}

#[test]
fn what_wallets_paid_stands_in_the_metrics_and_is_exact() {
    let mock = Mock::start();
    let weir = Weir::start(&wallet::config(&mock), &[paying("payg", "25.00")]);
    let body =
        r#"{"model":"llama-3-8b","max_tokens":20,"messages":[{"role":"user","content":"Hello!"}]}"#;
    let mut charged = 0.0;
    for _ in 0..4 {
        let answer = weir.call(0, "POST", "/ai/chat", body);
        let charge = answer.header("x-weir-charge").expect("a charge");
        charged += charge.parse::<f64>().expect("a number");
    }
    let found = samples(weir.admin("GET", "/metrics", "").text());
    check(&found, "weir_charged_total", charged);
    check(&found, "weir_debt_total", 0.0);
    check(&found, "weir_store_commit_seconds_count", 4.0);
    let output = found.iter().find(|(name, _)| {
        name.starts_with("weir_tokens_total") && name.contains("direction=\"output\"")
    });
    assert!(output.is_some_and(|(_, tokens)| (tokens - 80.0).abs() < 1e-9), "{found:#?}");
}

/// The names that the exposition declares, as Prometheus stores them.
fn declared(text: &str) -> BTreeMap<String, String> {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let kinds = kinds.filter_map(|line| line.split_once(' '));
    kinds
        .map(|(name, kind)| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            (format!("{name}{suffix}"), kind.to_owned())
        })
        .collect()
}

fn exposition() -> String {
    let mock = Mock::start();
    let weir = Weir::start(&wallet::config(&mock), &[paying("payg", "25.00")]);
    let body =
        r#"{"model":"llama-3-8b","max_tokens":2,"messages":[{"role":"user","content":"Hi"}]}"#;
    assert_eq!(weir.call(0, "POST", "/ai/chat", body).status, 200);
    weir.admin("GET", "/metrics", "").text().to_owned()
}

#[test]
fn every_metric_of_the_contract_is_there_after_one_call() {
    let text = exposition();
    let found = declared(&text);
    // Without a response cache there is nothing for weir_cache_total to count.
    for (name, kind) in [
        ("weir_requests_total", "counter"),
        ("weir_decision_duration_seconds", "histogram"),
        ("weir_overhead_seconds", "histogram"),
        ("weir_upstream_duration_seconds", "histogram"),
        ("weir_time_to_first_byte_seconds", "histogram"),
        ("weir_tokens_total", "counter"),
        ("weir_charged_total", "counter"),
        ("weir_debt_total", "counter"),
        ("weir_holds_open", "gauge"),
        ("weir_refusals_total", "counter"),
        ("weir_webhook_deliveries_total", "counter"),
        ("weir_store_commit_seconds", "histogram"),
        ("weir_build_info", "gauge"),
    ] {
        assert_eq!(found.get(name).map(String::as_str), Some(kind), "{name} in {found:#?}");
    }
    check(&samples(&text), "weir_webhook_deliveries_total{result=\"delivered\"}", 0.0);
}

#[test]
fn dashboard_and_alerts_only_ask_for_metrics_that_exist() {
    let found = declared(&exposition());
    let files = [
        include_str!("../../../../packaging/dashboard.json"),
        include_str!("../../../../packaging/alerts.yml"),
    ];
    let mut asked = 0;
    for word in files.iter().flat_map(|file| {
        file.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
    }) {
        if !word.starts_with("weir_") {
            continue;
        }
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        let known =
            base.is_some_and(|base| found.get(base).is_some_and(|kind| kind == "histogram"));
        assert!(known || found.contains_key(word), "{word} is no metric: {found:#?}");
        asked += 1;
    }
    assert!(asked > 10, "{asked}");
}
