//! What a key may do, and who guesses at keys.

use crate::limits::storm;
use crate::seed::{ANY_KEY, KeyWish, on};
use crate::server::{JSON, Weir};
use crate::support::Mock;
use crate::wire::Answer;

const TIERED: &str = include_str!("../../../../examples/tiered.toml");
const CHAT: &str =
    r#"{"model":"llama-3-8b","max_tokens":4,"messages":[{"role":"user","content":"Hi"}]}"#;
const CALLS: [(&str, &str, &str); 6] = [
    ("GET", "/clusters/a", ""),
    ("HEAD", "/clusters/a", ""),
    ("PUT", "/clusters/a", "{}"),
    ("PATCH", "/clusters/a", "{}"),
    ("DELETE", "/clusters/a?x-mock-status=200", ""),
    ("POST", "/ai/chat", CHAT),
];

#[track_caller]
fn check(key: KeyWish, expected: [u16; 6], code: &str) {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("pro").with(key)]);
    for ((method, path, body), status) in CALLS.into_iter().zip(expected) {
        let answer = weir.call(0, method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        if status == 403 {
            assert!(method == "HEAD" || answer.code() == code, "{method} {path}");
            assert!(answer.header("ratelimit").is_some(), "{}", answer.head);
        }
    }
    let passed = expected.iter().filter(|status| **status == 200).count();
    assert_eq!(mock.stats()["requests"], passed, "a refused call was sent");
}

#[test]
fn a_read_key_reads_and_does_nothing_else() {
    let key = KeyWish { kind: "read", ..ANY_KEY };
    check(key, [200, 200, 403, 403, 403, 403], "key_type_forbidden");
}

#[test]
fn a_read_and_write_key_may_use_every_method() {
    check(ANY_KEY, [200; 6], "");
}

#[test]
fn a_service_key_may_use_only_the_services_it_names() {
    let key = KeyWish { kind: "service", scopes: Some(&["ai"]), ..ANY_KEY };
    check(key, [403, 403, 403, 403, 403, 200], "insufficient_scope");
    let key = KeyWish { kind: "service", scopes: Some(&["clusters"]), ..ANY_KEY };
    check(key, [200, 200, 200, 200, 200, 403], "insufficient_scope");
}

#[test]
fn scopes_narrow_a_key() {
    let key = KeyWish { scopes: Some(&["clusters", "billing"]), ..ANY_KEY };
    check(key, [200, 200, 200, 200, 200, 403], "insufficient_scope");
}

#[test]
fn a_key_is_bound_to_its_addresses_and_models() {
    let key = KeyWish { allowed_ips: Some(&["10.0.0.0/8"]), ..ANY_KEY };
    check(key, [403; 6], "address_forbidden");
    let key = KeyWish { allowed_ips: Some(&["127.0.0.0/8"]), ..ANY_KEY };
    check(key, [200; 6], "");
    let key = KeyWish { models: Some(&["gpt-*"]), ..ANY_KEY };
    check(key, [200, 200, 200, 200, 200, 403], "model_forbidden");
}

#[test]
fn a_keys_own_limit_counts_beside_the_plans() {
    let mock = Mock::start();
    let key = KeyWish { limits: &[("all", "3/hour")], ..ANY_KEY };
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free").with(key), on("free")]);
    for left in [2, 1, 0] {
        let answer = weir.call(0, "GET", "/clusters/a", "");
        assert_eq!((answer.status, answer.remaining("key:all")), (200, Some(left)));
        // The nearest to exhaustion of all that apply.
        assert_eq!(answer.header("x-ratelimit-limit"), Some("3"), "{}", answer.head);
    }
    let refused = weir.call(0, "PUT", "/clusters/a", "{}");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["limit"]["per"], "key");
    assert_eq!(weir.call(1, "GET", "/clusters/a", "").status, 200);
}

fn guess(weir: &Weir, secret: &str) -> Answer {
    let bearer = format!("authorization: Bearer {secret}");
    weir.line().call("GET", "/clusters/a", &[&bearer, JSON], "")
}

#[test]
fn whoever_guesses_keys_is_slowed_down_and_a_key_that_exists_goes_on_working() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    let bearer = "authorization: Bearer weir_rw_0123456789abcdefghjkmnpq";
    let get = ("GET", "/clusters/a", "");
    let [unknown, slowed] = storm(weir.data, &[bearer], get, 2_000, [401, 429]);
    // Thirty at once and one every two seconds.
    assert!((30..=45).contains(&unknown), "{unknown} told, {slowed} slowed down");
    let refused = guess(&weir, "sk-0123456789");
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    let wait: u64 = refused.header("retry-after").and_then(|s| s.parse().ok()).unwrap_or(0);
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-limit"), None, "{}", refused.head);
    let good = weir.call(0, "GET", "/clusters/a", "");
    assert_eq!((good.status, good.remaining("read")), (200, Some(99)));
    assert_eq!(mock.stats()["requests"], 1);
}

/// A gate that tells an address of three unknown keys per minute, with this in its `[server]`.
fn guarded(mock: &Mock, server: &str) -> Weir {
    let config = format!(
        "[upstreams.mock]\nurls = [\"http://{}\"]\n[plans.any]\nlimits = {{}}\n\
         [[routes]]\nmatch = \"GET /*\"\nupstream = \"mock\"\n[server]\n{server}\n",
        mock.address
    );
    Weir::start_guarded(&config, 3, &[on("any")])
}

fn from(weir: &Weir, address: &str, secret: &str, target: &str) -> u16 {
    let bearer = format!("authorization: Bearer {secret}");
    let forwarded = format!("x-forwarded-for: {address}");
    weir.line().call("GET", target, &[&bearer, &forwarded], "").status
}

#[test]
fn guesses_are_counted_by_the_address_behind_a_trusted_proxy_on_every_door() {
    let mock = Mock::start();
    let weir = guarded(&mock, "trusted_proxies = [\"127.0.0.0/8\"]");
    for target in ["/weir/v1/limits", "/x", "/weir/v1/wallet"] {
        assert_eq!(from(&weir, "9.9.9.9", "none", target), 401, "{target}");
    }
    for target in ["/weir/v1/limits", "/x"] {
        assert_eq!(from(&weir, "9.9.9.9", "none", target), 429, "{target}");
        assert_eq!(from(&weir, "9.9.9.9", &weir.keys[0], target), 200, "{target}");
        assert_eq!(from(&weir, "8.8.8.8", "none", target), 401, "{target}");
    }
}

#[test]
fn an_address_that_anyone_may_claim_counts_for_nothing() {
    let mock = Mock::start();
    let weir = guarded(&mock, "");
    let statuses: Vec<u16> =
        (1..=5).map(|nth| from(&weir, &format!("9.9.9.{nth}"), "none", "/weir/v1/key")).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
}

/// `WEIR_FLOOD_HTTP=100000` makes it as large as the docs promise.
#[test]
fn a_flood_of_random_keys_over_http_costs_bounded_memory_and_touches_no_real_key() {
    let mock = Mock::start();
    let weir = Weir::start_preset(TIERED, mock.address, &[on("free")]);
    assert_eq!(weir.call(0, "GET", "/clusters/a", "").remaining("read"), Some(99));
    let flood: u64 =
        std::env::var("WEIR_FLOOD_HTTP").ok().and_then(|n| n.parse().ok()).unwrap_or(4_000);
    let guesses = |from: u64, to: u64| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let weir = &weir;
                scope.spawn(move || {
                    let mut line = weir.line();
                    for nth in (from..to).filter(|nth| nth % 4 == thread) {
                        let random = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        let bearer = format!("authorization: Bearer sk-{random:016x}");
                        let answer = line.call("GET", "/clusters/a", &[&bearer], "");
                        assert!(matches!(answer.status, 401 | 429), "{}", answer.head);
                    }
                });
            }
        });
    };
    guesses(0, flood / 4);
    let before = weir.process.resident_kib();
    guesses(flood / 4, flood);
    let grown = weir.process.resident_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB for {flood} keys");
    assert_eq!(weir.call(0, "GET", "/clusters/a", "").remaining("read"), Some(98));
    assert_eq!(mock.stats()["requests"], 2);
}
