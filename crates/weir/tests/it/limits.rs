//! Limits by plan, through the preset with the mission's figures.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::seed::on;
use crate::server::{JSON, Weir};
use crate::support::Mock;
use crate::wire::Line;

const TIERED: &str = include_str!("../../../../examples/tiered.toml");
const CHAT: &str =
    r#"{"model":"llama-3-8b","max_tokens":4,"messages":[{"role":"user","content":"Hi"}]}"#;

/// Calls from many connections at once; gives back how many had each of the statuses.
#[track_caller]
pub(crate) fn storm<const N: usize>(
    at: SocketAddr,
    headers: &[&str],
    (method, target, body): (&str, &str, &str),
    calls: u64,
    statuses: [u16; N],
) -> [u64; N] {
    let counts = [const { AtomicU64::new(0) }; N];
    let left = AtomicU64::new(calls);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut line = Line::open(at);
                while take_one(&left) {
                    let answer = line.call(method, target, headers, body);
                    let at = statuses.iter().position(|status| *status == answer.status);
                    let at = at.unwrap_or_else(|| panic!("{answer:?}"));
                    if answer.status == 429 {
                        assert!(answer.header("retry-after").is_some(), "{answer:?}");
                    }
                    counts[at].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    counts.map(AtomicU64::into_inner)
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// How many calls reached the upstream under a path.
pub(crate) fn reached(mock: &Mock, path: &str) -> u64 {
    mock.stats()["by_path"][path].as_u64().unwrap_or(0)
}

#[test]
fn the_free_plan_passes_exactly_its_figures_from_64_connections() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    let bearer = weir.bearer(0);
    let calls = [
        ("GET", "/clusters/a", "", 100),
        ("PUT", "/clusters/b", "{}", 20),
        ("POST", "/ai/chat", CHAT, 50),
        ("POST", "/training/jobs", r#"{"model":"m"}"#, 5),
    ];
    for (method, path, body, figure) in calls {
        let [passed, created, refused] =
            storm(weir.data, &[&bearer, JSON], (method, path, body), figure + 80, [200, 201, 429]);
        assert_eq!((passed + created, refused), (figure, 80), "{method} {path}");
        assert_eq!(reached(&mock, path), figure, "{method} {path}");
    }
    assert_eq!(mock.stats()["requests"], 175);
    let refused = weir.call(0, "GET", "/clusters/a", "");
    assert_eq!((refused.status, refused.remaining("read")), (429, Some(0)));
}

#[test]
fn a_refused_call_leaves_no_trace_in_any_limit() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    // The endpoint limit of DELETE is 10 an hour, within the 20 writes of the plan.
    let bearer = weir.bearer(0);
    let delete = ("DELETE", "/accounts/x?x-mock-status=200", "");
    let [passed, refused] = storm(weir.data, &[&bearer], delete, 90, [200, 429]);
    assert_eq!((passed, refused), (10, 80));
    let put = weir.call(0, "PUT", "/accounts/x", "{}");
    assert_eq!((put.status, put.remaining("write")), (200, Some(9)), "{}", put.head);
    // The other way round: the class is used up, and the endpoint keeps what it has.
    let put = ("PUT", "/clusters/x", "{}");
    let [passed, refused] = storm(weir.data, &[&bearer, JSON], put, 89, [200, 429]);
    assert_eq!((passed, refused), (9, 80));
    let answer = weir.call(0, "PUT", "/clusters/x", "{}");
    assert_eq!(answer.status, 429);
    let left = answer.remaining("route:PUT,PATCH /clusters/*");
    assert_eq!((answer.remaining("write"), left), (Some(0), Some(91)), "{}", answer.head);
    // Reads are another class.
    let read = weir.call(0, "GET", "/clusters/x", "");
    assert_eq!((read.status, read.remaining("read")), (200, Some(99)));
}

#[test]
fn what_never_reaches_the_upstream_is_not_counted() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    for (method, target, body, status) in [
        ("GET", "/nowhere", "", 404),
        ("POST", "/clusters/x/y", "", 405),
        ("GET", "/clusters/%2e%2e/x", "", 400),
        ("POST", "/ai/chat", "{\"model\":", 400),
    ] {
        let answer = weir.call(0, method, target, body);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
    }
    let read = weir.call(0, "HEAD", "/clusters/x", "");
    assert_eq!((read.status, read.remaining("read")), (200, Some(99)));
    let chat = weir.call(0, "POST", "/ai/chat", CHAT);
    assert_eq!((chat.status, chat.remaining("ai")), (200, Some(49)));
    assert_eq!(mock.stats()["requests"], 2);
}

#[test]
fn training_of_enterprise_is_never_refused_and_says_so() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("enterprise")]);
    let bearer = weir.bearer(0);
    let job = ("POST", "/training/jobs", r#"{"model":"m"}"#);
    assert_eq!(storm(weir.data, &[&bearer, JSON], job, 700, [201]), [700]);
    assert_eq!(reached(&mock, "/training/jobs"), 700);
    let answer = weir.call(0, "POST", "/training/jobs", r#"{"model":"m"}"#);
    assert_eq!(answer.header("x-ratelimit-unlimited"), Some("true"), "{}", answer.head);
    assert_eq!(answer.header("x-ratelimit-limit"), None);
}

#[test]
fn a_used_up_limit_says_which_how_long_and_what_to_do() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    let job = r#"{"model":"m"}"#;
    for _ in 0..5 {
        assert_eq!(weir.call(0, "POST", "/training/jobs", job).status, 201);
    }
    let refused = weir.call(0, "POST", "/training/jobs", job);
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    let told = refused.json();
    let detail = told["detail"].as_str().unwrap_or_default();
    let begin = "The limit `training` of 5 requests per day is used up; the same call passes in ";
    assert!(detail.starts_with(begin), "{detail}");
    assert_eq!(
        (&told["limit"]["name"], &told["limit"]["window_s"]),
        (&"training".into(), &86_400.into())
    );
    let wait: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or(0);
    assert!((86_390..=86_400).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    for (header, value) in [("limit", "5"), ("remaining", "0"), ("window", "86400")] {
        assert_eq!(refused.header(&format!("x-ratelimit-{header}")), Some(value));
    }
}

#[test]
fn a_short_wait_is_true_to_the_second() {
    let mock = Mock::start();
    let config = format!(
        "[upstreams.mock]\nurls = [\"http://{}\"]\n[plans.quick]\n\
         limits = {{ read = \"2/2s\" }}\n[[routes]]\nmatch = \"GET /*\"\nupstream = \"mock\"\n",
        mock.address
    );
    let weir = Weir::start(&config, &[on("quick")]);
    let get = || weir.call(0, "GET", "/clusters/x", "");
    assert_eq!((get().status, get().status), (200, 200));
    let refused = get();
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after-ms").and_then(|ms| ms.parse().ok()).unwrap_or(0);
    assert!((1..=2_000).contains(&wait), "{wait}");
    // The promise is what is waited for: after it, the very next call passes.
    std::thread::sleep(std::time::Duration::from_millis(wait));
    assert_eq!(get().status, 200);
}

/// Enough that every core is in the same decision at once.
const CONNECTIONS: usize = 64;
