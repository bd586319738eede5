//! A configuration changes under a running server.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::seed::on;
use crate::server::{JSON, Weir};
use crate::support::{Mock, eventually};

const CONFIG: &str = r#"
[upstreams.mock]
urls = ["http://UPSTREAM"]
[plans.free]
limits = { read = "100000/hour" }
[[routes]]
match = "GET /clusters/*"
upstream = "mock"
price = "free"
"#;

fn start(mock: &Mock) -> Weir {
    Weir::start(&CONFIG.replace("UPSTREAM", &mock.address.to_string()), &[on("free")])
}

/// Changes the file in place of the old one at once, as editors and deployments do.
fn rewrite(weir: &Weir, change: impl FnOnce(String) -> String) {
    let path = weir.config_path();
    let text = std::fs::read_to_string(&path).expect("the file is there");
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, change(text)).expect("written");
    std::fs::rename(&fresh, &path).expect("renamed");
}

fn header(weir: &Weir, name: &str) -> String {
    let answer = weir.call(0, "GET", "/clusters/x", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header(name).unwrap_or_default().to_owned()
}

#[test]
fn a_changed_file_is_taken_by_itself_and_counts_stay() {
    let mock = Mock::start();
    let weir = start(&mock);
    assert_eq!(header(&weir, "x-ratelimit-remaining"), "99999");
    rewrite(&weir, |text| text.replace("100000/hour", "90000/hour"));
    eventually("the new limit", || header(&weir, "x-ratelimit-limit") == "90000");
    let left: u64 = header(&weir, "x-ratelimit-remaining").parse().expect("a number");
    assert!(left <= 89_997, "what was used stays used: {left}");
}

#[test]
fn a_plans_other_figure_acts_on_the_next_call_and_what_was_used_stays() {
    let mock = Mock::start();
    let weir = start(&mock);
    let figure = |figure: &str| {
        rewrite(&weir, |text| {
            let (before, after) = text.split_once("read = \"").expect("a limit");
            let (_, after) = after.split_once('"').expect("a limit");
            format!("{before}read = \"{figure}\"{after}")
        });
        let answer = weir.admin("POST", "/admin/v1/config/reload", "");
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let next = || {
        let answer = weir.call(0, "GET", "/clusters/x", "");
        (
            answer.status,
            answer.remaining("read"),
            answer.header("x-ratelimit-reset").map(str::to_owned),
        )
    };
    let (_, _, reset) = next();
    assert!(reset.is_some());
    // More, less than was used, one more than that, no bound at all, and what it was.
    for (quota, status, left) in [
        ("5/hour", 200, Some(3)),
        ("2/hour", 429, Some(0)),
        ("3/hour", 200, Some(0)),
        ("unlimited", 200, None),
        // A limit without a bound counts nothing.
        ("100000/hour", 200, Some(99_996)),
    ] {
        figure(quota);
        let (answered, remaining, ends) = next();
        assert_eq!((answered, remaining), (status, left), "{quota}");
        assert!(left.is_none() || ends == reset, "{quota}: the window is the same");
    }
}

#[test]
fn a_wrong_file_and_one_without_a_plan_in_use_change_nothing_and_say_why() {
    let mock = Mock::start();
    let weir = start(&mock);
    rewrite(&weir, |text| text.replace("[plans.free]", "[plans.fre]"));
    let refused = weir.admin("POST", "/admin/v1/config/reload", "");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("`free`, used by acc"), "{}", refused.text());
    rewrite(&weir, |text| text.replace("100000/hour", "100000/hur"));
    let refused = weir.admin("POST", "/admin/v1/config/reload", "");
    assert!(refused.status == 400 && refused.text().contains("hour"), "{}", refused.text());
    assert_eq!(header(&weir, "x-ratelimit-limit"), "100000");
}

#[test]
fn a_difference_tells_limits_and_accounts_and_what_waits_for_a_restart() {
    let mock = Mock::start();
    let weir = start(&mock);
    let text = std::fs::read_to_string(weir.config_path()).expect("the file is there");
    let other = text.replace("100000/hour", "9/hour").replacen(
        "listen = \"127.0.0.1:0\"",
        "listen = \"127.0.0.1:18499\"",
        1,
    );
    let answer = weir.admin("POST", "/admin/v1/config/diff", &other);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["limits"][0]["direction"], "down");
    assert_eq!(told["limits"][0]["accounts"], 1);
    assert_eq!(told["needs_restart"], serde_json::json!(["server.listen"]));
    assert_eq!(header(&weir, "x-ratelimit-limit"), "100000");
    let shown = weir.admin("GET", "/admin/v1/config", "");
    assert_eq!(shown.status, 200);
    assert!(!shown.text().contains("admin_key"), "{}", shown.text());
}

#[test]
fn reloads_under_load_fail_no_call_and_lose_no_count() {
    let mock = Mock::start();
    let weir = start(&mock);
    let (calls, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut line = weir.line();
                while !stop.load(Ordering::Relaxed) {
                    let answer = line.call("GET", "/clusters/x", &[&weir.bearer(0), JSON], "");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..100 {
            let quota = 200_000 + round;
            rewrite(&weir, |text| {
                let (before, after) = text.split_once("read = \"").expect("a limit");
                let (_, after) = after.split_once('/').expect("a limit");
                format!("{before}read = \"{quota}/{after}")
            });
            let answer = weir.admin("POST", "/admin/v1/config/reload", "");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        stop.store(true, Ordering::Relaxed);
    });
    let calls = calls.load(Ordering::Relaxed);
    let left: u64 = header(&weir, "x-ratelimit-remaining").parse().expect("a number");
    assert_eq!(left, 200_099 - calls - 1);
    let metrics = weir.admin("GET", "/metrics", "");
    let counted: Option<u64> = metrics.text().lines().find_map(|line| {
        let ok = line.starts_with("weir_requests_total") && line.contains("outcome=\"ok\"");
        ok.then(|| line.rsplit(' ').next()?.parse().ok()).flatten()
    });
    assert_eq!(counted, Some(calls + 1));
}

#[test]
fn a_rejected_file_is_told_without_its_lines_for_a_secret_may_stand_there() {
    let mock = Mock::start();
    let mut weir = start(&mock);
    let secret = "sk-live-0123456789";
    // The upstream's key and what is wrong stand in one line.
    let line = format!(
        "headers = {{ authorization = \"Bearer {secret}\" }}\ncolour = \"{secret}\"\n[plans.free]"
    );
    rewrite(&weir, |text| text.replace("[plans.free]", &line));
    let refused = weir.admin("POST", "/admin/v1/config/reload", "");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("unknown key `colour`"), "{}", refused.text());
    assert!(!refused.text().contains(secret), "{}", refused.text());
    let whole = std::fs::read_to_string(weir.config_path()).expect("a file");
    let compared = weir.admin("POST", "/admin/v1/config/diff", &whole);
    assert_eq!(compared.status, 400);
    assert!(!compared.text().contains(secret), "{}", compared.text());
    eventually("the log tells it", || weir.process.log().contains("unknown key `colour`"));
    assert!(!weir.process.log().contains(secret), "{}", weir.process.log());
    // Nor does a start that fails, whose standard error is a log.
    weir.stop();
    let started = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .current_dir(weir.folder())
        .args(["serve", "--config", "weir.toml"])
        .output()
        .expect("the binary starts");
    let told = String::from_utf8_lossy(&started.stderr).into_owned();
    assert_eq!(started.status.code(), Some(2));
    assert!(told.contains("unknown key `colour`") && !told.contains(secret), "{told}");
}
