//! The mission's figures, as the preset ships them and callers see them.

use crate::limits::storm;
use crate::seed::on;
use crate::server::{JSON, Weir};
use crate::support::Mock;
use crate::wire::Answer;

const TIERED: &str = include_str!("../../../../examples/tiered.toml");
const CHAT: &str =
    r#"{"model":"llama-3-8b","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}"#;

/// The plans in the order of their columns.
const PLANS: [&str; 3] = ["free", "pro", "enterprise"];
/// What the endpoint limits are multiplied by.
const MULTIPLIERS: [u64; 3] = [1, 5, 50];

/// A request, the class that counts it, and its endpoint's figure for an hour.
const ENDPOINTS: [(&str, &str, &str, u64); 18] = [
    ("GET", "/accounts/a", "read", 500),
    ("POST", "/accounts/a", "write", 50),
    ("PUT", "/accounts/a", "write", 50),
    ("DELETE", "/accounts/b?x-mock-status=200", "write", 10),
    ("GET", "/clusters/a", "read", 1_000),
    ("POST", "/clusters", "write", 20),
    ("PUT", "/clusters/a", "write", 100),
    ("DELETE", "/clusters/b?x-mock-status=200", "write", 20),
    ("GET", "/endpoints/a", "read", 1_000),
    ("POST", "/endpoints", "write", 50),
    ("POST", "/endpoints/a/execute", "write", 500),
    ("POST", "/ai/chat", "ai", 200),
    ("POST", "/ai/text-to-image", "ai", 100),
    ("POST", "/ai/text-to-video", "ai", 20),
    ("POST", "/ai/text-to-speech", "ai", 150),
    ("GET", "/training/a", "read", 500),
    ("POST", "/training/jobs", "training", 10),
    ("PUT", "/training/a", "write", 50),
];

/// Requests of a class by plan; 0 is unlimited.
fn of_class(class: &str) -> ([u64; 3], u64) {
    match class {
        "read" => ([100, 1_000, 10_000], 3_600),
        "write" => ([20, 200, 2_000], 3_600),
        "ai" => ([50, 500, 5_000], 3_600),
        _ => ([5, 20, 0], 86_400),
    }
}

/// Quota and window of a limit, as `RateLimit-Policy` tells them.
fn policy(answer: &Answer, of: impl Fn(&str) -> bool) -> Option<(u64, u64)> {
    let told = answer.header("ratelimit-policy")?;
    told.split(", ").find_map(|one| {
        let (name, rest) = one.strip_prefix('"')?.split_once("\";q=")?;
        let (quota, window) = rest.split_once(";w=")?;
        of(name).then(|| Some((quota.parse().ok()?, window.parse().ok()?)))?
    })
}

fn body_of(path: &str) -> &'static str {
    match path {
        "/ai/chat" => CHAT,
        path if path.starts_with("/ai/") => r#"{"prompt":"x"}"#,
        _ => r#"{"model":"m"}"#,
    }
}

#[test]
fn every_endpoint_tells_its_figure_and_its_class_on_every_plan() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &PLANS.map(on));
    for (column, plan) in PLANS.into_iter().enumerate() {
        for (method, path, class, figure) in ENDPOINTS {
            let body = if method == "GET" { "" } else { body_of(path) };
            let answer = weir.call(column, method, path, body);
            assert!(answer.status < 300, "{plan} {method} {path}: {}", answer.text());
            let (quotas, window) = of_class(class);
            if quotas[column] == 0 {
                assert_eq!(answer.header("x-ratelimit-unlimited"), Some("true"), "{}", answer.head);
                continue;
            }
            let by_class = policy(&answer, |name| name == class);
            assert_eq!(by_class, Some((quotas[column], window)), "{plan} {method} {path}");
            let by_route = policy(&answer, |name| name.starts_with("route:"));
            let wanted = figure * MULTIPLIERS[column];
            assert_eq!(by_route, Some((wanted, 3_600)), "{plan} {method} {path}");
        }
    }
}

#[test]
fn the_pro_plan_passes_exactly_its_figures() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("pro")]);
    let bearer = weir.bearer(0);
    for (method, path, figure) in [
        ("GET", "/clusters/a", 1_000),
        ("PUT", "/clusters/b", 200),
        ("POST", "/ai/chat", 500),
        ("POST", "/training/jobs", 20),
    ] {
        let call = (method, path, body_of(path));
        let statuses = [200, 201, 429];
        let [ok, made, refused] = storm(weir.data, &[&bearer, JSON], call, figure + 64, statuses);
        assert_eq!((ok + made, refused), (figure, 64), "{method} {path}");
    }
}

#[test]
fn head_is_a_read_without_a_body_and_patch_is_a_write_like_put() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    let get = weir.call(0, "GET", "/clusters/a", "");
    let head = weir.call(0, "HEAD", "/clusters/a", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!((get.remaining("read"), head.remaining("read")), (Some(99), Some(98)));
    let shared = "route:PUT,PATCH /clusters/*";
    let put = weir.call(0, "PUT", "/clusters/a", r#"{"gpus":8}"#);
    assert_eq!((put.remaining("write"), put.remaining(shared)), (Some(19), Some(99)));
    let patch = weir.call(0, "PATCH", "/clusters/a", r#"{"gpus":16}"#);
    assert_eq!((patch.remaining("write"), patch.remaining(shared)), (Some(18), Some(98)));
    assert_eq!(patch.status, 200, "{}", patch.text());
}

#[test]
fn put_and_patch_are_one_write_each_and_share_their_endpoints_limit() {
    let mock = Mock::start();
    let config = format!(
        "[upstreams.mock]\nurls = [\"http://{}\"]\n[plans.any]\nlimits = {{ write = \"5/hour\" }}\n\
         [[routes]]\nmatch = \"PUT,PATCH /clusters/*\"\nupstream = \"mock\"\nlimit = \"3/hour\"\n\
         [[routes]]\nmatch = \"POST /clusters\"\nupstream = \"mock\"\n",
        mock.address
    );
    let weir = Weir::start(&config, &[on("any")]);
    let shared = "route:PUT,PATCH /clusters/*";
    for (method, path, status, class, endpoint) in [
        ("PATCH", "/clusters/a", 200, Some(4), Some(2)),
        ("PUT", "/clusters/b", 200, Some(3), Some(1)),
        ("PATCH", "/clusters/c", 200, Some(2), Some(0)),
        // The endpoint is used up, and what it refuses is no write.
        ("PUT", "/clusters/a", 429, Some(2), Some(0)),
        ("PATCH", "/clusters/a", 429, Some(2), Some(0)),
        ("POST", "/clusters", 201, Some(1), None),
        ("POST", "/clusters", 201, Some(0), None),
        ("POST", "/clusters", 429, Some(0), None),
    ] {
        let answer = weir.call(0, method, path, "{}");
        let told = (answer.status, answer.remaining("write"), answer.remaining(shared));
        assert_eq!(told, (status, class, endpoint), "{method} {path}: {}", answer.head);
    }
    assert_eq!(mock.stats()["requests"], 5);
}

#[test]
fn a_patch_of_the_operators_changes_only_what_it_names() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    let change = |path: &str, body: &str| -> [serde_json::Value; 2] {
        let before = weir.admin("GET", path, "");
        assert_eq!(before.status, 200, "{path}: {}", before.text());
        let changed = weir.admin("PATCH", path, body);
        assert_eq!(changed.status, 200, "{path}: {}", changed.text());
        let after = weir.admin("GET", path, "").json();
        assert_eq!(changed.json(), after, "{path}");
        [before.json(), after]
    };
    let account = weir.admin("GET", "/admin/v1/accounts", "").json()["data"][0]["id"].clone();
    let account = format!("/admin/v1/accounts/{}", account.as_str().expect("an id"));
    let key = weir.admin("GET", &format!("{account}/keys"), "").json()["data"][0]["id"].clone();
    let hook = r#"{"url":"https://example.com/hook","events":["wallet.*"]}"#;
    let hook = weir.admin("POST", "/admin/v1/webhooks", hook);
    assert_eq!(hook.status, 201, "{}", hook.text());
    let id = |value: &serde_json::Value| value.as_str().expect("an id").to_owned();
    for (path, body, fields) in [
        (account, r#"{"name":"other"}"#, vec!["name"]),
        (format!("/admin/v1/keys/{}", id(&key)), r#"{"name":"other"}"#, vec!["name"]),
        (
            format!("/admin/v1/webhooks/{}", id(&hook.json()["id"])),
            r#"{"events":["key.created"]}"#,
            vec!["events"],
        ),
    ] {
        let [before, after] = change(&path, body);
        let (before, after) =
            (before.as_object().expect("an object"), after.as_object().expect("it"));
        let moved = after.iter().filter(|(name, value)| before.get(*name) != Some(*value));
        let mut moved: Vec<_> = moved.map(|(name, _)| name.as_str()).collect();
        moved.retain(|name| !["revision", "updated_at"].contains(name));
        assert_eq!(moved, fields, "{path}");
    }
}

#[test]
fn every_answer_to_a_valid_key_has_the_headers_of_its_limits() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    for (method, target, body, status) in [
        ("GET", "/clusters/a", "", 200),
        ("GET", "/clusters/a?x-mock-status=500", "", 500),
        ("DELETE", "/clusters/gone", "", 204),
        ("GET", "/nowhere", "", 404),
        ("POST", "/clusters/a/b", "", 405),
        ("POST", "/ai/chat", "{", 400),
        ("GET", "/clusters/a?x-mock-reset=1", "", 502),
    ] {
        let answer = weir.call(0, method, target, body);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        let number = |name: &str| -> u64 {
            let told = answer.header(&format!("x-ratelimit-{name}"));
            told.and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("{name} of {method} {target}: {}", answer.head))
        };
        assert!(number("remaining") <= number("limit"), "{}", answer.head);
        assert!(number("window") >= 3_600 && number("reset") > 1_700_000_000, "{}", answer.head);
        for name in ["ratelimit", "ratelimit-policy", "x-request-id"] {
            assert!(answer.header(name).is_some(), "{name} of {method} {target}: {}", answer.head);
        }
    }
    let stranger = weir.line().call("GET", "/clusters/a", &[], "");
    assert_eq!((stranger.status, stranger.header("x-ratelimit-limit")), (401, None));
    assert!(stranger.header("x-request-id").is_some());
}
