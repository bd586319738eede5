//! Receivers that never answer, by the hundred: others' events and everybody's calls do not care.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::receiver::{Manner, Receiver};
use crate::seed::{Wish, paying};
use crate::server::Weir;
use crate::support::{Mock, PATIENCE, within};
use crate::wallet::config;

const ACCOUNTS: usize = 10;
/// As many as an account may have.
const HOOKS: usize = 20;

fn top_up(weir: &Weir, account: &str) {
    let path = format!("/admin/v1/accounts/{account}/wallet/top-ups");
    let made = weir.admin("POST", &path, r#"{"amount":"1"}"#);
    assert_eq!(made.status, 201, "{}", made.text());
}

fn hook(weir: &Weir, key: usize, url: &str) -> String {
    let new = json!({"url": url, "events": ["wallet.topped_up"]}).to_string();
    let made = weir.call(key, "POST", "/weir/v1/webhooks", &new);
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["id"].as_str().expect("an id").to_owned()
}

/// What the middle one of fifty calls took, all of which pass.
fn usual(weir: &Weir, key: usize) -> Duration {
    let bearer = weir.bearer(key);
    let mut line = weir.line();
    let call = |_| {
        let began = Instant::now();
        let answer = line.call("PUT", "/clusters/a", &[&bearer], "{}");
        assert_eq!(answer.status, 200, "{}", answer.text());
        began.elapsed()
    };
    let mut took: Vec<Duration> = (0..50).map(call).collect();
    took.sort_unstable();
    took[took.len() / 2]
}

#[test]
fn hundreds_of_receivers_that_hang_hold_up_nobody_and_lose_nothing() {
    let mock = Mock::start();
    let config = format!("{}[webhooks]\nallow_private = true\n", config(&mock));
    let wishes: Vec<Wish> = (0..=ACCOUNTS).map(|_| paying("payg", "5")).collect();
    let weir = Weir::start(&config, &wishes);
    let account = |key| {
        let own = weir.call(key, "GET", "/weir/v1/key", "").json();
        own["account"]["id"].as_str().expect("an id").to_owned()
    };
    let accounts: Vec<String> = (0..=ACCOUNTS).map(account).collect();
    // One does not answer at all, one begins its answer and goes on byte by byte.
    let hanging = [Manner::Hang, Manner::Drip].map(Receiver::start);
    let hooks: Vec<(usize, String)> = (0..ACCOUNTS * HOOKS)
        .map(|number| {
            (number % ACCOUNTS, hook(&weir, number % ACCOUNTS, &hanging[number % 2].url()))
        })
        .collect();
    let good = Receiver::start(Manner::Answer(200, String::new()));
    let good_hook = hook(&weir, ACCOUNTS, &good.url());
    let before = usual(&weir, ACCOUNTS);
    for account in &accounts[..ACCOUNTS] {
        top_up(&weir, account);
        top_up(&weir, account);
    }
    let arrived = || hanging.iter().map(|receiver| receiver.messages().len()).sum::<usize>();
    within(PATIENCE, "the first hundred hang", || arrived() >= 100);
    // Behind those that hang it would wait until their time is up, again and again.
    top_up(&weir, &accounts[ACCOUNTS]);
    good.wait_for(1);
    let during = usual(&weir, ACCOUNTS);
    assert!(during < before * 4 + Duration::from_millis(500), "{before:?}, then {during:?}");
    // What hung is told as such, and waits until its receiver is well again.
    for receiver in &hanging {
        receiver.behave(Manner::Answer(200, String::new()));
    }
    // Those that were tried twice wait for five minutes more (`outage` sees them arrive); none is
    // given up, and of each both events are known.
    let deliveries = |(key, hook): &(usize, String)| {
        let told = weir.call(*key, "GET", &format!("/weir/v1/webhooks/{hook}/deliveries"), "");
        told.json()["data"].as_array().cloned().unwrap_or_default()
    };
    let is_in = |one: &Value, states: &[&str]| states.iter().any(|state| one["state"] == *state);
    let sample: Vec<_> = hooks.iter().step_by(ACCOUNTS * HOOKS / 20).collect();
    assert!(sample.len() >= 20);
    within(PATIENCE * 3, "both events of each are known", || {
        let all: Vec<Vec<Value>> = sample.iter().map(|hook| deliveries(hook)).collect();
        let lost = all.iter().flatten().find(|one| !is_in(one, &["pending", "delivered"]));
        assert!(lost.is_none(), "{lost:?}");
        all.iter().all(|told| told.len() == 2)
    });
    let shown = weir.call(ACCOUNTS, "GET", &format!("/weir/v1/webhooks/{good_hook}"), "");
    assert_eq!(shown.json()["status"], "enabled");
}
