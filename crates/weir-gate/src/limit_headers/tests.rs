use super::*;

use proptest::prelude::*;
use sfv::{BareItem, Key, List, ListEntry, Parser};
use weir_core::account::Owner;
use weir_core::time::Span;
use weir_core::window::Snapshot;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn view(
    name: &'static str,
    unit: Unit,
    limit: Option<u64>,
    remaining: u64,
    reset_s: i64,
) -> LimitView {
    LimitView {
        name,
        owner: Owner::Account,
        unit,
        algorithm: Algorithm::FixedWindow,
        boosted: false,
        shadow: false,
        now: Snapshot {
            limit,
            used: limit.unwrap_or(0).saturating_sub(remaining),
            remaining,
            reset_at: NOW.plus(Span::from_secs(reset_s)),
            window: Span::from_secs(3_600),
        },
    }
}

fn requests(name: &'static str, limit: u64, remaining: u64, reset_s: i64) -> LimitView {
    view(name, Unit::Requests, Some(limit), remaining, reset_s)
}

fn written(views: &[LimitView], refused: Option<&LimitView>, openai: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    write(&mut headers, views, refused, openai, NOW);
    headers
}

#[track_caller]
fn told(views: &[LimitView], expected: Option<(u64, u64)>) {
    let headers = written(views, None, false);
    let number = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().parse().unwrap());
    let limit = number(header::X_RATELIMIT_LIMIT);
    assert_eq!(limit.zip(number(header::X_RATELIMIT_REMAINING)), expected);
    let unlimited = headers.get(header::X_RATELIMIT_UNLIMITED).map(HeaderValue::as_bytes);
    assert_eq!(unlimited, expected.is_none().then_some(&b"true"[..]));
}

fn list(headers: &HeaderMap, name: &str) -> List {
    let text = headers.get(name).map_or("", |value| value.to_str().unwrap());
    Parser::new(text).parse::<List>().unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn parameter(entry: &ListEntry, key: &str) -> Option<i64> {
    let ListEntry::Item(item) = entry else { panic!("an inner list") };
    let key = Key::from_string(key.to_owned()).unwrap();
    item.params.get(&key).map(|value| match value {
        BareItem::Integer(number) => i64::from(*number),
        other => panic!("{other:?} is no integer"),
    })
}

#[test]
fn the_request_limit_nearest_to_exhaustion_is_told() {
    told(&[requests("a", 100, 50, 10), requests("b", 10, 4, 10)], Some((10, 4)));
    told(&[requests("a", 100, 0, 10), requests("b", 10, 0, 900)], Some((10, 0)));
    told(&[requests("a", 100, 50, 900), requests("b", 10, 5, 10)], Some((100, 50)));
    told(&[requests("a", 9, 8, 1), view("t", Unit::Tokens, Some(10), 0, 1)], Some((9, 8)));
}

#[test]
fn what_is_unlimited_or_only_watched_is_said_to_be_unlimited() {
    told(&[], None);
    told(&[view("training", Unit::Requests, None, u64::MAX, 1)], None);
    told(&[LimitView { shadow: true, ..requests("a", 5, 0, 1) }], None);
}

#[test]
fn on_a_refusal_the_limit_that_refused_is_told_whatever_its_unit() {
    let (near, tokens) = (requests("a", 9, 0, 1), view("t", Unit::Tokens, Some(70), 5, 60));
    let headers = written(&[near, tokens.clone()], Some(&tokens), false);
    assert_eq!(headers[header::X_RATELIMIT_LIMIT], "70");
    assert_eq!(headers[header::X_RATELIMIT_RESET], "1700000060");
    assert_eq!(headers[header::X_RATELIMIT_WINDOW], "3600");
}

#[test]
fn openai_routes_have_openais_names_with_its_durations() {
    let views = [requests("ai", 60, 59, 90), view("ai.tokens", Unit::Tokens, Some(900), 850, 1)];
    let headers = written(&views, None, true);
    for (name, value) in [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "1m30s"),
        ("x-ratelimit-limit-tokens", "900"),
        ("x-ratelimit-remaining-tokens", "850"),
        ("x-ratelimit-reset-tokens", "1s"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
}

proptest! {
    #[test]
    fn the_standard_fields_are_structured_fields_whatever_the_names_and_numbers(
        limits in proptest::collection::vec(
            (".{0,20}", 0_usize..3, any::<u64>(), any::<u64>(), -10_i64..40_000_000, any::<bool>()),
            0..5,
        )
    ) {
        let unit = |nth: usize| [Unit::Requests, Unit::Tokens, Unit::Credits][nth];
        let views: Vec<LimitView> = limits
            .iter()
            .map(|(name, nth, limit, remaining, reset, in_flight)| {
                let name: &'static str = Box::leak(name.clone().into());
                let plain = view(name, unit(*nth), Some(*limit), *remaining, *reset);
                let algorithm =
                    if *in_flight { Algorithm::Concurrency } else { Algorithm::FixedWindow };
                LimitView { algorithm, ..plain }
            })
            .collect();
        let headers = written(&views, None, true);
        let (policies, states) = (list(&headers, header::RATELIMIT_POLICY), list(&headers, header::RATELIMIT));
        prop_assert_eq!(policies.len(), views.len());
        prop_assert_eq!(states.len(), views.len());
        for ((view, policy), state) in views.iter().zip(&policies).zip(&states) {
            let amount = |amount| i64::try_from(super::told(view.unit, amount)).unwrap();
            prop_assert_eq!(parameter(policy, "q"), view.now.limit.map(amount));
            prop_assert_eq!(parameter(state, "r"), Some(amount(view.now.remaining)));
            let timed = view.algorithm != Algorithm::Concurrency;
            prop_assert_eq!(parameter(policy, "w"), timed.then_some(3_600));
            let reset = view.now.reset_at.since(NOW).secs_ceil();
            prop_assert_eq!(parameter(state, "t"), timed.then_some(reset));
        }
    }
}
