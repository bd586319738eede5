//! Receivers that never answer, by the hundred: others' events and everybody's calls do not care.

use std::collections::HashSet;
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
fn hundreds_of_receivers_that_hang_hold_up_nobody_and_get_their_events_in_the_end() {
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
    // What hung is told as such, waits, and arrives when its receiver is well again.
    for receiver in &hanging {
        receiver.behave(Manner::Answer(200, String::new()));
    }
    // What was tried twice would wait for five minutes more: it is asked for, once.
    let mut asked = HashSet::new();
    let mut arrived = |(key, hook): &(usize, String)| {
        let told = weir.admin("GET", &format!("/admin/v1/webhooks/{hook}/deliveries"), "");
        assert_eq!(told.status, 200, "{}", told.text());
        let told = told.json()["data"].as_array().cloned().unwrap_or_default();
        assert!(told.iter().all(|one| one["state"] != "failed"), "{told:?}");
        for one in told.iter().filter(|one| one["state"] == "pending") {
            let event = one["event_id"].as_str().expect("an id").to_owned();
            if one["attempts"].as_u64() >= Some(2) && asked.insert((hook.clone(), event.clone())) {
                let again = json!({"event_id": event}).to_string();
                let path = format!("/weir/v1/webhooks/{hook}/replay");
                assert_eq!(weir.call(*key, "POST", &path, &again).status, 202);
            }
        }
        told.len() == 2 && told.iter().all(|one: &Value| one["state"] == "delivered")
    };
    // Of every account and of either manner.
    let sample: Vec<_> = hooks.iter().step_by(9).collect();
    assert!(sample.len() >= 20);
    let all = || sample.iter().filter(|hook| arrived(hook)).count() == sample.len();
    within(PATIENCE * 3, "all of them are delivered", all);
    let shown = weir.call(ACCOUNTS, "GET", &format!("/weir/v1/webhooks/{good_hook}"), "");
    assert_eq!(shown.json()["status"], "enabled");
}
