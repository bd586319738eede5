//! What holds for whatever an upstream may send.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use weir_core::ledger::Flags;
use weir_core::usage::{Meter, Usage};

use super::cost::rewrite_usage_cost;
use super::count::{PLAUSIBLE_MAX, Produced, listen};
use super::tests::{event, stream, whole};
use super::watch::{Shape, Tallied, Tally};
use crate::json::Scanner;

fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("choices"),
        Just("content"),
        Just("text"),
        Just("input"),
        Just("reasoning"),
        Just("summary"),
        Just("usage"),
        Just("prompt_tokens"),
        Just("output"),
        Just("data"),
        Just("url"),
        Just("logprobs"),
        Just("completion_tokens"),
        Just("type"),
        Just("delta"),
        Just("message"),
        Just("\u{e9}\"\\"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z\"\\\\\n\u{e9}\u{4e2d}\u{1f600}]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|members| Value::Object(
                members.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()
            )),
        ]
    })
}

/// Mostly sound figures under the names of both shapes.
fn any_usage() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("prompt_tokens"),
        Just("completion_tokens"),
        Just("total_tokens"),
        Just("input_tokens"),
        Just("output_tokens"),
        Just("cache_read_input_tokens"),
        Just("prompt_tokens_details"),
        Just("elsewhere"),
    ];
    let figure = prop_oneof![
        6 => (0u64..2_000).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => (0u64..50).prop_map(|amount| json!({"cached_tokens": amount})),
    ];
    prop::collection::btree_map(name, figure, 0..5).prop_map(|figures| {
        Value::Object(figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
}

proptest! {
    #[test]
    fn chunk_boundaries_of_a_body_never_matter(value in any_json(), size in 1usize..9, damage in 0usize..400) {
        let mut body = value.to_string().into_bytes();
        if let Some(byte) = body.get_mut(damage) {
            *byte = b'\\';
        }
        for shape in [Shape::OpenAi, Shape::Anthropic, Shape::Json("/usage".parse().unwrap())] {
            let mut once = Tally::new(shape.clone());
            once.body(&body);
            let mut often = Tally::new(shape);
            body.chunks(size).for_each(|chunk| often.body(chunk));
            prop_assert_eq!(once.finish(), often.finish());
        }
    }

    #[test]
    fn the_short_way_reports_what_the_long_one_does(
        value in any_json(), figures in any_usage(), at in 0usize..6, damage in prop::option::of(0usize..400),
    ) {
        let mut members: Vec<(String, Value)> = match value {
            Value::Object(members) => members.into_iter().collect(),
            other => vec![("content".to_owned(), other)],
        };
        members.insert(at.min(members.len()), ("usage".to_owned(), figures));
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
        let mut body = format!("{{{}}}", members.join(" ,\n")).into_bytes();
        if let Some(byte) = damage.and_then(|at| body.get_mut(at)) {
            *byte = b'"';
        }
        for shape in [Shape::OpenAi, Shape::Anthropic, Shape::Json("/usage".parse().unwrap()), Shape::Bytes] {
            let (mut short, mut long) = (Tally::new(shape.clone()), Tally::new(shape));
            short.whole(&body);
            long.body(&body);
            let (short, long) = (short.finish(), long.finish());
            let told = long.usage.filter(|_| short.produced != long.produced);
            let produced = told.map_or(long.produced, |told| Usage::NONE.with(Meter::OutputTokens, told.output()));
            prop_assert_eq!(short, Tallied { produced, ..long });
            prop_assert!(told.is_none() || !long.flags.has(Flags::IMPLAUSIBLE));
        }
    }

    #[test]
    fn text_counts_the_same_in_a_body_and_in_an_event(value in any_json()) {
        let choices = json!([value]);
        let mut produced = Produced::default();
        listen(&mut Scanner::new(choices.to_string().as_bytes()), b"", &mut produced).unwrap();
        let body = json!({"choices": choices});
        prop_assert_eq!(whole(Shape::OpenAi, &body).produced, produced.usage());
    }

    #[test]
    fn no_event_makes_it_panic_and_no_figure_exceeds_what_is_plausible(value in any_json(), sort in "[a-z_.]{0,12}") {
        let mut value = value;
        if let Some(members) = value.as_object_mut() {
            members.insert("type".to_owned(), sort.into());
        }
        for shape in [Shape::OpenAi, Shape::Anthropic] {
            let (_, tallied) = stream(shape, &[event(&value)]);
            for (_, amount) in tallied.usage.iter().flat_map(Usage::amounts) {
                prop_assert!(amount <= 2 * PLAUSIBLE_MAX);
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for shape in [Shape::OpenAi, Shape::Anthropic] {
            let mut tally = Tally::new(shape);
            tally.event(&bytes);
            tally.part(&bytes, false);
            tally.part(&bytes, true);
            tally.body(&bytes);
            tally.finish();
        }
        let bytes = Bytes::from(bytes);
        prop_assert_eq!(rewrite_usage_cost(&bytes, "1"), bytes);
    }
}
