//! Both routers over a real engine, and a client that calls them without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;
use weir_api::settings::ApiSettings;
use weir_core::id::PolicyNumber;
use weir_core::key::KeyType;
use weir_core::limit::{Anchor, Rule, Terms};
use weir_core::model::ModelPattern;
use weir_core::names::LimitNames;
use weir_core::operation::{RouteIndex, RoutePattern};
use weir_core::plan::{Billing, Limit, Plan, Target};
use weir_core::policy::{ModelTerms, Policy, PolicyParts, Route, RoutePrice, UsageSource};
use weir_core::price::{Bound, Price, PriceBook, Rates};
use weir_core::usage::{Meter, Usage};
use weir_engine::call::{Admission, Wanted};
use weir_engine::clock::Clock;
use weir_engine::engine::{Engine, EngineSettings};
use weir_engine::secret::SecretDigest;
use weir_engine::ticket::Outcome;
use weir_engine::zone;
use weir_wire::error::Links;

use crate::declared;

/// The operator's key in all tests.
pub(crate) const ADMIN_KEY: &str = "weir_admin_test";

/// Both APIs over one engine.
pub(crate) struct Api {
    pub(crate) engine: Arc<Engine>,
    pub(crate) admin: Router,
    pub(crate) customer: Router,
    pub(crate) folder: TempDir,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Api {
    pub(crate) fn start() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    /// By a clock of the test's.
    pub(crate) fn at(clock: Clock) -> Self {
        Self::on_at(tempfile::tempdir().unwrap(), clock)
    }

    /// On a folder that may have been used before.
    pub(crate) fn on(folder: TempDir) -> Self {
        Self::on_at(folder, Clock::running())
    }

    fn on_at(folder: TempDir, clock: Clock) -> Self {
        let mut names = LimitNames::default();
        let policy = policy(&mut names);
        let settings = EngineSettings { key_prefix: "weir".to_owned(), currency: "USD".to_owned() };
        let path = folder.path();
        let engine =
            Engine::boot(path, Default::default(), settings, policy, names, clock).unwrap();
        let settings = Arc::new(ApiSettings {
            stripe_secret: None,
            api_prefix: "/weir".to_owned(),
            links: Links {
                base: "/weir".to_owned(),
                support_url: Some("https://example.com/support".to_owned()),
            },
            top_up_url: None,
            auth_headers: vec![
                HeaderName::from_static("authorization"),
                HeaderName::from_static("x-api-key"),
            ],
            webhooks_allow_private: false,
            admin_key: SecretDigest::of(ADMIN_KEY.as_bytes()),
            metrics: Arc::new(|| "weir_build_info 1\n".to_owned()),
            config: None,
            explainer: None,
        });
        let admin = weir_api::admin::router(Arc::clone(&engine), Arc::clone(&settings));
        let customer = weir_api::customer::router(Arc::clone(&engine), settings);
        Self { engine, admin, customer, folder }
    }

    /// Ends the engine and begins anew on the same folder.
    pub(crate) fn restart(self) -> Self {
        let Self { engine, admin, customer, folder } = self;
        drop((admin, customer));
        assert!(Arc::into_inner(engine).is_some(), "the engine is still in use");
        Self::on(folder)
    }

    /// As the operator.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Answer {
        self.admin_with(method, path, &[], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.admin("GET", path, Value::Null).await
    }

    pub(crate) async fn admin_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Answer {
        let bearer = format!("Bearer {ADMIN_KEY}");
        let mut all = vec![("authorization", &*bearer)];
        all.extend_from_slice(headers);
        call(&self.admin, method, &format!("/admin/v1{path}"), &all, body).await
    }

    /// As the holder of a key, with a body.
    pub(crate) async fn own_with(
        &self,
        secret: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Answer {
        let bearer = format!("Bearer {secret}");
        let mut all = vec![("authorization", &*bearer)];
        all.extend_from_slice(headers);
        call(&self.customer, method, &format!("/weir/v1{path}"), &all, body).await
    }

    /// As the holder of a key.
    pub(crate) async fn own(&self, secret: &str, path: &str) -> Answer {
        let bearer = format!("Bearer {secret}");
        let headers = [("authorization", &*bearer)];
        call(&self.customer, "GET", &format!("/weir/v1{path}"), &headers, Value::Null).await
    }

    /// A new account's id.
    pub(crate) async fn account(&self, plan: &str) -> String {
        let made = self.admin("POST", "/accounts", json!({"name": "Acme", "plan": plan})).await;
        made.expect(201).body["id"].as_str().unwrap().to_owned()
    }

    /// A new key's id and secret.
    pub(crate) async fn key(&self, account: &str, kind: &str) -> (String, String) {
        let scopes = if kind == "service" { json!(["ai"]) } else { Value::Null };
        let new = json!({"name": "k", "type": kind, "scopes": scopes});
        let made = self.admin("POST", &format!("/accounts/{account}/keys"), new).await.expect(201);
        let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// Checks that it is an error document of this code in every way.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = &self.body;
        assert_eq!(body["error"]["code"], code, "{body}");
        assert_eq!(body["type"], format!("/weir/errors/{code}"));
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], self.header("x-request-id"));
        assert_eq!(body["support_url"], "https://example.com/support");
        for member in ["title", "detail", "help"] {
            assert!(!body[member].as_str().unwrap().is_empty(), "{member}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().unwrap()
    }
}

/// Calls a router; a body that is `null` is not sent.
pub(crate) async fn call(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Value,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        request = request.header("content-type", "application/json");
        Body::from(body.to_string())
    };
    send(router, request.body(body).unwrap()).await
}

/// Sends a request as it is.
pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (method, target) = (request.method().to_string(), request.uri().to_string());
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let body = serde_json::from_str(&text).unwrap_or_default();
    declared::check(&method, &target, parts.status.as_u16(), &body);
    Answer { status: parts.status, headers: parts.headers, text, body }
}

fn policy(names: &mut LimitNames) -> Policy {
    let mut limit = |name: &str, target: Target, rule: &str| {
        let (id, name) = names.intern(name);
        Limit { id, name, target, rule: rule.parse().unwrap() }
    };
    let plan = |name: &str, billing, limits| Plan {
        name: name.into(),
        billing,
        endpoint_multiplier_ppm: 1_000_000,
        limits,
        key_limits: Default::default(),
        alerts: vec!["5.00".parse().unwrap(), "20%".parse().unwrap()],
    };
    let read = || Target::Class("read".into());
    let ai = || Target::Class("ai".into());
    let route_limit = limit("route:POST /ai/chat", Target::Route(RouteIndex(1)), "30/hour");
    let mut by_calendar = limit("ai", ai(), "50/3 months");
    let terms = by_calendar.rule.terms().clone();
    let anchor = Anchor::Calendar(zone::find("Europe/Berlin").unwrap());
    by_calendar.rule = Rule::new(Terms { anchor, reserve_ppm: 200_000, ..terms }).unwrap();
    let mut calendar = plan("calendar", Billing::None, vec![by_calendar]);
    let of_keys = vec![limit("key:ai", ai(), "10/hour")];
    calendar.key_limits.insert(KeyType::ReadWrite, of_keys);
    let plans = vec![
        plan(
            "free",
            Billing::None,
            vec![limit("read", read(), "100/hour"), limit("ai", ai(), "50/hour")],
        ),
        calendar,
        plan("pro", Billing::None, vec![limit("read", read(), "1000/hour")]),
        plan("payg", Billing::Wallet, vec![]),
    ];
    let rates = Rates::default()
        .with(Meter::InputTokens, "0.15/1M".parse().unwrap())
        .with(Meter::OutputTokens, "0.60/1M".parse().unwrap());
    let llama = Price::new("llama-3-8b", rates, Vec::new()).unwrap();
    let request = Rates::default().with(Meter::Request, "0.01".parse().unwrap());
    let image = Price::new("image", request, Vec::new()).unwrap();
    let second = Rates::default().with(Meter::Second, "0.0005".parse().unwrap());
    let gpu = Price::new("training", second, Vec::new()).unwrap();
    let parts = PolicyParts {
        routes: vec![
            route("GET /items/*", "read", None, RoutePrice::Free, vec![]),
            route("POST /ai/chat", "ai", Some("ai"), RoutePrice::ByModel, vec![route_limit]),
            route("POST /ai/images", "ai", Some("ai"), RoutePrice::Named("image".into()), vec![]),
        ],
        plans,
        models: vec![ModelTerms {
            pattern: ModelPattern::parse("llama-3-8b").unwrap(),
            upstream: None,
            price: None,
            max_output_tokens: Some(8_192),
        }],
        prices: PriceBook::new([llama, image, gpu]).unwrap(),
    };
    Policy::new(PolicyNumber(1), parts).unwrap()
}

fn route(
    pattern: &str,
    class: &str,
    scope: Option<&str>,
    price: RoutePrice,
    limits: Vec<Limit>,
) -> Route {
    Route {
        pattern: RoutePattern::parse(pattern).unwrap(),
        upstream: "models".into(),
        class: class.into(),
        scope: scope.map(Into::into),
        limits,
        weight: 1,
        usage: UsageSource::None,
        price,
        hold_output_tokens: 4_096,
        min_output_tokens: 16,
        on_low_balance: Default::default(),
        on_exhausted: Default::default(),
        on_missing_usage: Default::default(),
        on_disconnect: Default::default(),
        cache: Default::default(),
    }
}

impl Api {
    /// Makes a call of `POST /ai/chat` as the data plane would, ended when this returns.
    pub(crate) async fn chat(&self, secret: &str, output_tokens: u64) {
        let key = self.engine.identify(secret).unwrap();
        let (policy, state) = (self.engine.policy(), key.state.load_full());
        let wanted = Wanted {
            stream: false,
            policy: &policy,
            index: RouteIndex(1),
            key: &key,
            state: &state,
            model: Some("llama-3-8b"),
            urgent: false,
            request_id: "req_test",
            bound: Bound::text(1_000, output_tokens),
            output_max: Some(output_tokens),
        };
        let Admission::Granted(mut ticket) = self.engine.admit(&wanted) else {
            panic!("the call was refused")
        };
        ticket.sent();
        let usage = Usage::NONE
            .with(Meter::Request, 1)
            .with(Meter::InputTokens, 1_000)
            .with(Meter::OutputTokens, output_tokens);
        let outcome =
            Outcome { reported: Some(usage), status: 200, latency_ms: 40, ..Outcome::default() };
        let settled = ticket.settle(&outcome).unwrap();
        if let Some(commit) = settled.commit {
            commit.await.unwrap();
        }
    }

    /// What `path` shows once `ready` says that it is up to date; usage is written behind.
    pub(crate) async fn eventually(&self, path: &str, ready: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..200 {
            self.engine.write_behind();
            let answer = self.get(path).await.expect(200);
            if ready(&answer.body) {
                return answer.body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{path} is never up to date")
    }
}
