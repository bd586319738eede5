//! What a good file comes to.

use std::time::Duration;

use weir_core::key::KeyType;
use weir_core::limit::{Algorithm, Mode, Unit};
use weir_core::plan::{Limit, Target};
use weir_core::policy::{OnLowBalance, RoutePrice, UsageSource};
use weir_gate::settings::RuntimeKind;

use super::support::{good, read, read_bytes, read_in};
use crate::config::services::OnStoreFailure;
use weir_gate::cors::Cors;

const PLAN: &str = "[plans.free]\n";

#[test]
fn an_almost_empty_file_has_defaults() {
    let settings = good(PLAN);
    assert_eq!(settings.server.front.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.server.admin_listen.to_string(), "127.0.0.1:8081");
    assert_eq!(settings.server.api_prefix, "/weir");
    assert_eq!(settings.server.max_body_bytes, 32_000_000);
    assert_eq!(settings.server.front.timeouts.head, Duration::from_secs(15));
    assert_eq!(settings.server.drain_timeout, Duration::from_secs(30));
    assert_eq!(settings.server.front.runtime, RuntimeKind::PerCore);
    assert_eq!(settings.store.path.to_str(), Some("/folder/weir-data"));
    assert_eq!(settings.store.on_store_failure, OnStoreFailure::Fence);
    assert_eq!(settings.billing.currency, "USD");
    let headers: Vec<&str> = settings.auth.headers.iter().map(|name| name.as_str()).collect();
    assert_eq!(headers, ["authorization", "x-api-key"]);
    assert_eq!(settings.auth.admin_key, None);
    assert!(!settings.webhooks.allow_private);
}

#[test]
fn every_key_of_the_server_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.pem"), include_str!("tls/cert.pem")).unwrap();
    std::fs::write(folder.path().join("k.pem"), include_str!("tls/key.pem")).unwrap();
    let text = r#"
        [server]
        listen = "[::1]:1"
        admin_listen = "0.0.0.0:2"
        public_url = "https://api.example.com/ai/"
        support_url = "https://example.com/support?from=api"
        api_prefix = "/gate"
        trusted_proxies = ["10.0.0.0/8", "2001:db8::1"]
        max_body = "1MiB"
        header_timeout = "250ms"
        body_timeout = "2m"
        drain_timeout = "1h"
        max_connections = 7
        max_headers = 9
        runtime = "shared"
        tls = { cert = "c.pem", key = "k.pem" }
        cors = { origins = ["https://app.example.com", "http://localhost:3000"] }
        [plans.free]
    "#;
    let server = read_in(folder.path(), text).unwrap().server;
    assert_eq!(server.public_url.as_deref(), Some("https://api.example.com/ai"));
    assert_eq!(server.support_url.as_deref(), Some("https://example.com/support?from=api"));
    assert_eq!(server.api_prefix, "/gate");
    assert!(server.trusted_proxies[0].contains("10.1.2.3".parse().unwrap()));
    assert!(!server.trusted_proxies[1].contains("2001:db8::2".parse().unwrap()));
    let front = server.front;
    assert_eq!((front.connections_max, front.head.headers_max), (7, 9));
    assert_eq!(front.timeouts.body_idle, Duration::from_secs(120));
    assert_eq!(front.timeouts.head, Duration::from_millis(250));
    assert_eq!(front.runtime, RuntimeKind::Shared);
    assert!(front.tls.is_some());
    let origins = ["https://app.example.com", "http://localhost:3000"].map(str::to_owned);
    assert_eq!(server.cors, Some(Cors::Origins(origins.to_vec())));
}

#[test]
fn secrets_come_from_the_environment_and_from_files_and_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin"), "adm1n\n").unwrap();
    std::fs::write(folder.path().join("field"), "Bearer f1le\r\n").unwrap();
    let text = r#"
        [auth]
        admin_key_file = "admin"
        [upstreams.m]
        urls = ["http://127.0.0.1:1/base/"]
        headers = { authorization_file = "field", x-other = "v-${MODELS_KEY}-$${MODELS_KEY}" }
        [plans.free]
    "#;
    let settings = read_in(folder.path(), text).unwrap();
    assert_eq!(settings.auth.admin_key.as_ref().unwrap().expose(), "adm1n");
    let [upstream] = settings.upstreams.as_slice() else { panic!("{settings:?}") };
    assert_eq!(&*upstream.name, "m");
    assert_eq!(upstream.urls, ["http://127.0.0.1:1/base"]);
    let headers: Vec<(&str, &str)> = upstream
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(headers, [("authorization", "Bearer f1le"), ("x-other", "v-s3cret-${MODELS_KEY}")]);
    let shown = format!("{settings:?}");
    for secret in ["adm1n", "f1le", "s3cret"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.pem"), include_str!("tls/cert.pem")).unwrap();
    std::fs::write(folder.path().join("k.pem"), include_str!("tls/other-key.pem")).unwrap();
    let text = "[server]\ntls = { cert = \"c.pem\", key = \"k.pem\" }\n[plans.free]\n";
    let rejected = read_in(folder.path(), text).unwrap_err().to_string();
    assert!(
        rejected.contains("weir.toml:2:7") && rejected.contains("cannot be used"),
        "{rejected}"
    );
    std::fs::write(folder.path().join("k.pem"), "no key").unwrap();
    let rejected = read_in(folder.path(), text).unwrap_err().to_string();
    assert!(
        rejected.contains("weir.toml:2:31") && rejected.contains("nothing of this"),
        "{rejected}"
    );
}

#[track_caller]
fn limits_of(text: &str) -> Vec<Limit> {
    good(text).policy.plan("p").unwrap().limits.clone()
}

#[track_caller]
fn check_names(limits: &str, expected: &[&str]) {
    let text = format!("[plans.p.limits]\n{limits}");
    let names: Vec<&str> = limits_of(&text).iter().map(|limit| limit.name).collect();
    assert_eq!(names, expected, "{limits}");
}

#[test]
fn limits_are_named_by_class_unit_and_window() {
    check_names("ai = \"1/hour\"", &["ai"]);
    check_names("ai = [\"60/minute\", \"500/hour\"]", &["ai.minute", "ai"]);
    check_names("ai = [\"500/hour\", \"60/minute\", \"1/90s\"]", &["ai", "ai.minute", "ai.90s"]);
    let tokens = "{ limit = 9, window = \"1m\", unit = \"tokens\" }";
    check_names(&format!("ai = [\"5/hour\", {tokens}]"), &["ai", "ai.tokens"]);
    let shadow = "{ limit = 9, window = \"1h\", mode = \"shadow\" }";
    check_names(&format!("ai = [\"50/hour\", {shadow}]"), &["ai", "ai.shadow"]);
    check_names("all = \"1/second\"\n\"model:gpt-*\" = \"1/day\"", &["all", "model:gpt-*"]);
}

#[test]
fn a_limit_table_says_every_term() {
    let limits = limits_of(
        r#"
        [plans.p]
        concurrency = 3
        [plans.p.limits]
        read = { limit = 10, window = "1d", anchor = "calendar", time_zone = "Europe/Berlin" }
        write = { limit = 10, window = "1h", algorithm = "token-bucket", burst = 20, reserve = "2.5%" }
        ai = { limit = "5.50", window = "month", unit = "credits", mode = "shadow" }
        training = { limit = "unlimited" }
    "#,
    );
    let [ai, read, training, write, concurrency] = sorted(&limits);
    assert_eq!(read.rule.terms().quota, Some(10));
    assert_eq!(write.rule.terms().algorithm, Algorithm::TokenBucket);
    assert_eq!((write.rule.terms().burst, write.rule.terms().reserve_ppm), (Some(20), 25_000));
    assert_eq!((ai.rule.unit(), ai.rule.quota()), (Unit::Credits, Some(5_500_000_000)));
    assert_eq!(ai.rule.mode(), Mode::Shadow);
    assert_eq!(training.rule.quota(), None);
    assert_eq!(concurrency.target, Target::InFlight);
    assert_eq!(concurrency.rule.quota(), Some(3));
}

/// The limits of the test above by name, `concurrency` last.
fn sorted(limits: &[Limit]) -> [&Limit; 5] {
    let find = |name: &str| limits.iter().find(|limit| limit.name == name).unwrap();
    [find("ai.credits.shadow"), find("read"), find("training"), find("write"), find("concurrency")]
}

#[test]
fn key_limits_are_kept_by_type_of_key() {
    let settings = good(
        r#"
        [plans.p.key_limits]
        read = { read = "50/hour" }
        service = { ai = "9/minute", concurrency = 2 }
    "#,
    );
    let plan = settings.policy.plan("p").unwrap();
    let names = |kind| plan.key_limits[&kind].iter().map(|limit| limit.name).collect::<Vec<_>>();
    assert_eq!(names(KeyType::Read), ["key:read"]);
    assert_eq!(names(KeyType::Service), ["key:ai", "key:concurrency"]);
}

#[test]
fn a_route_says_every_term() {
    let settings = good(
        r#"
        [upstreams.m]
        urls = ["http://127.0.0.1:1"]
        [[routes]]
        match = "POST /a"
        upstream = "m"
        usage = "json:/usage/total"
        price = "p"
        scope = "ai"
        weight = 3
        limit = ["9/hour", { limit = 5, window = "1m", unit = "tokens" }]
        on_low_balance = "clamp"
        min_output_tokens = 32
        idempotency_max_body = "64KB"
        [[routes]]
        match = "* /*"
        upstream = "m"
        price = "free"
        [prices.p]
        output_tokens = "1/1M"
        request = "0.01"
        long_context = [{ above = "200k", output_tokens = "2/1M" }]
        [plans.p]
        billing = "wallet"
        endpoint_multiplier = 2.5
        alerts = ["5.00", "20%", "24h"]
    "#,
    );
    let route = &settings.policy.routes()[0];
    assert_eq!(route.usage, UsageSource::JsonPointer("/usage/total".into()));
    assert_eq!(route.price, RoutePrice::Named("p".into()));
    assert_eq!((route.weight, route.min_output_tokens, route.hold_output_tokens), (3, 32, 4096));
    assert_eq!(route.on_low_balance, OnLowBalance::Clamp);
    assert_eq!(&*route.class, "write");
    let names: Vec<&str> = route.limits.iter().map(|limit| limit.name).collect();
    assert_eq!(names, ["route:POST /a", "route:POST /a.tokens"]);
    assert_eq!(settings.routes[0].idempotency_max_body_bytes, 64_000);
    let plan = settings.policy.plan("p").unwrap();
    assert_eq!((plan.endpoint_multiplier_ppm, plan.alerts.len()), (2_500_000, 3));
    assert_eq!(settings.policy.prices().price("p").unwrap().long_contexts()[0].above, 200_000);
}

#[test]
fn what_is_not_utf8_is_an_error_and_not_a_panic() {
    let rejected = read_bytes(b"[plans.p]\n# \xff").unwrap_err();
    assert!(rejected.to_string().contains("weir.toml:2:3"), "{rejected}");
}

#[test]
fn no_broken_file_makes_the_reader_panic() {
    let text = crate::config::preset::Preset::Hybrid.text();
    for (at, _) in text.char_indices().step_by(7) {
        let _ = read(&text[..at]).map_err(|rejected| rejected.to_string());
        let torn = format!("{}{}", &text[..at], &text[at..].get(3..).unwrap_or(""));
        let _ = read(&torn).map_err(|rejected| rejected.to_string());
    }
}
