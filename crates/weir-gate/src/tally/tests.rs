use bytes::Bytes;
use serde_json::{Value, json};

use weir_core::ledger::Flags;
use weir_core::usage::{Meter, Usage};

use super::count::{PLAUSIBLE_MAX, estimated_tokens};
use super::generic::{InvalidPointer, Pointer};
use super::seen::EventKind;
use super::watch::{Shape, Tallied, Tally};
use crate::sse::{Piece, Splitter};

pub(super) fn event(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

fn named(value: &Value) -> Vec<u8> {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap()).into_bytes()
}

pub(super) fn whole(shape: Shape, body: &Value) -> Tallied {
    let mut tally = Tally::new(shape);
    tally.body(body.to_string().as_bytes());
    tally.finish()
}

pub(super) fn stream(shape: Shape, events: &[Vec<u8>]) -> (Vec<EventKind>, Tallied) {
    let mut tally = Tally::new(shape);
    let kinds = events.iter().map(|event| tally.event(event)).collect();
    (kinds, tally.finish())
}

fn usage(amounts: &[(Meter, u64)]) -> Usage {
    amounts.iter().fold(Usage::NONE, |usage, (meter, amount)| usage.with(*meter, *amount))
}

use EventKind::{Content, Other, Terminal, UsageOnly};
use Meter::{
    AudioInputTokens, AudioOutputTokens, CacheWriteTokens, CachedInputTokens, Image, InputTokens,
    OutputTokens, ReasoningTokens, Request, Second,
};

#[test]
fn a_chat_completion_is_read_into_exclusive_meters() {
    let tallied = whole(
        Shape::OpenAi,
        &json!({"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion","created":1741569952,
            "model":"gpt-4.1-2025-04-14","choices":[{"index":0,"message":{"role":"assistant",
            "content":"Hello! How can I assist you today?","refusal":null,"annotations":[{"url_citation":{"content":"xx"}}]},
            "logprobs":{"content":[{"token":"Hello","bytes":[72]}]},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,
            "prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":6,"cache_write_tokens":10},
            "completion_tokens_details":{"reasoning_tokens":192,"audio_tokens":8,
            "accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default"}),
    );
    let want = usage(&[
        (InputTokens, 70),
        (CachedInputTokens, 1920),
        (CacheWriteTokens, 10),
        (AudioInputTokens, 6),
        (OutputTokens, 100),
        (ReasoningTokens, 192),
        (AudioOutputTokens, 8),
    ]);
    assert_eq!(tallied.usage, Some(want));
    assert_eq!(tallied.flags, Flags::default());
    assert_eq!(tallied.produced, usage(&[(OutputTokens, estimated_tokens(34))]));
    assert!(!tallied.terminal_seen && !tallied.error_seen);
}

#[test]
fn embeddings_and_bare_totals_are_input() {
    let body = json!({"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,0.2]}],
        "model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}});
    assert_eq!(whole(Shape::OpenAi, &body).usage, Some(usage(&[(InputTokens, 8)])));
    let bare = json!({"data":[],"usage":{"total_tokens":8}});
    assert_eq!(whole(Shape::OpenAi, &bare).usage, Some(usage(&[(InputTokens, 8)])));
}

#[test]
fn images_are_counted_once_each_with_or_without_usage() {
    let body = json!({"created":1,"data":[{"b64_json":"iVBOR","url":"https://x/1"},{"url":"https://x/2","b64_json":null},
        {"revised_prompt":"no image"}]});
    assert_eq!(whole(Shape::OpenAi, &body).usage, Some(usage(&[(Image, 2)])));
    let body = json!({"created":1,"data":[{"b64_json":"iVBOR"}],"usage":{"total_tokens":110,"input_tokens":10,
        "output_tokens":100,"input_tokens_details":{"text_tokens":10,"image_tokens":0}}});
    let want = usage(&[(Image, 1), (InputTokens, 10), (OutputTokens, 100)]);
    assert_eq!(whole(Shape::OpenAi, &body).usage, Some(want));
}

#[test]
fn a_response_of_the_responses_api_is_read_and_its_echo_is_not_output() {
    let body = json!({"id":"resp_67","object":"response","status":"completed","error":null,"instructions":"Be brief. ".repeat(100),
        "tools":[{"type":"function","name":"f","parameters":{"content":"no","text":"no"}}],
        "output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"Think"}]},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi there","annotations":[]}]},
            {"type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":1}"},
            {"type":"image_generation_call","result":"aGFsbG8gd2VsdA=="}],
        "usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":30},"output_tokens":87,
            "output_tokens_details":{"reasoning_tokens":80},"total_tokens":123}});
    let tallied = whole(Shape::OpenAi, &body);
    let want =
        [(InputTokens, 6), (CachedInputTokens, 30), (OutputTokens, 7), (ReasoningTokens, 80)];
    assert_eq!(tallied.usage, Some(usage(&want)));
    assert_eq!(tallied.produced, usage(&[(OutputTokens, 4), (ReasoningTokens, 2)]));
    assert!(!tallied.error_seen);
}

#[test]
fn a_transcription_may_report_time() {
    let body = json!({"text":"Imagine the wildest idea","usage":{"type":"duration","seconds":9.5}});
    assert_eq!(whole(Shape::OpenAi, &body).usage, Some(usage(&[(Second, 9_500)])));
}

#[test]
fn an_anthropic_message_is_read_with_its_caches_apart() {
    let body = json!({"id":"msg_013","type":"message","role":"assistant","model":"claude-sonnet-4","content":[
        {"type":"thinking","thinking":"Hmmmm","signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3h"},
        {"type":"text","text":"Hi!"},{"type":"tool_use","id":"toolu_1","name":"w","input":{"city":"Bonn"}}],
        "stop_reason":"tool_use","usage":{"input_tokens":2095,"cache_creation_input_tokens":12,
        "cache_read_input_tokens":400,"cache_creation":{"ephemeral_5m_input_tokens":12,"ephemeral_1h_input_tokens":0},
        "output_tokens":503,"server_tool_use":{"web_search_requests":1}}});
    let tallied = whole(Shape::Anthropic, &body);
    let want = [
        (InputTokens, 2095),
        (CacheWriteTokens, 12),
        (CachedInputTokens, 400),
        (OutputTokens, 503),
    ];
    assert_eq!(tallied.usage, Some(usage(&want)));
    assert_eq!(tallied.produced, usage(&[(OutputTokens, 3), (ReasoningTokens, 2)]));
    assert_eq!(tallied.flags, Flags::default());
}

fn chat_chunk(delta: &Value) -> Value {
    json!({"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":delta,"finish_reason":null}],
        "usage":null,"obfuscation":"p5QkVvTzXw2aB9"})
}

#[test]
fn a_usage_chunk_with_a_choice_that_says_nothing_is_a_usage_chunk() {
    let report = json!({"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13});
    let kind = |choice: Value| {
        let chunk = json!({"choices": [choice], "usage": report});
        stream(Shape::OpenAi, &[event(&chunk)]).0
    };
    assert_eq!(kind(json!({"index": 0, "delta": {}})), [UsageOnly]);
    assert_eq!(kind(json!({"index": 0, "delta": {}, "finish_reason": null})), [UsageOnly]);
    assert_eq!(kind(json!({"index": 0, "delta": {}, "finish_reason": "stop"})), [Other]);
    assert_eq!(kind(json!({"index": 0, "delta": {"role": "assistant", "content": ""}})), [Other]);
    assert_eq!(kind(json!({"index": 0, "delta": {"content": "Hi"}})), [Content]);
}

#[test]
fn a_chat_stream_is_told_apart_event_by_event() {
    let events = [
        event(&chat_chunk(&json!({"role":"assistant","content":""}))),
        event(&chat_chunk(&json!({"content":"Hello wor"}))),
        b": OPENROUTER PROCESSING\n\n".to_vec(),
        event(&chat_chunk(&json!({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}))),
        event(&chat_chunk(&json!({"reasoning_content":"abcd","reasoning":"abcd",
            "reasoning_details":[{"type":"reasoning.text","text":"abcd"}]}))),
        event(&json!({"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null})),
        event(
            &json!({"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}}),
        ),
        b"data: [DONE]\n\n".to_vec(),
    ];
    let (kinds, tallied) = stream(Shape::OpenAi, &events);
    assert_eq!(kinds, [Other, Content, Other, Content, Content, Other, UsageOnly, Terminal]);
    assert_eq!(tallied.usage, Some(usage(&[(InputTokens, 19), (OutputTokens, 10)])));
    assert_eq!(
        tallied.produced,
        usage(&[(OutputTokens, estimated_tokens(14)), (ReasoningTokens, 1)])
    );
    assert!(tallied.terminal_seen);
}

#[test]
fn a_first_chunk_without_choices_is_not_the_usage_chunk() {
    let mut tally = Tally::new(Shape::OpenAi);
    assert_eq!(tally.event(&event(&json!({"choices":[],"prompt_filter_results":[]}))), Other);
    assert!(!tally.carries_usage());
    let kind = tally.event(&event(&json!({"choices":[{"delta":{"content":""}}],"usage":{"prompt_tokens":1,"completion_tokens":1}})));
    assert_eq!(kind, Other);
    assert!(tally.carries_usage());
}

#[test]
fn every_choice_is_counted_and_usage_in_every_chunk_counts_once() {
    let chunk = |tokens: u64| {
        event(&json!({"choices":[{"index":0,"text":"abcd"},{"index":1,"text":"efgh"}],
            "usage":{"prompt_tokens":5,"completion_tokens":tokens,"total_tokens":5 + tokens}}))
    };
    let mut tally = Tally::new(Shape::OpenAi);
    assert_eq!(tally.event(&chunk(2)), Content);
    assert_eq!(tally.event(&chunk(4)), Content);
    assert_eq!(tally.produced_so_far(), usage(&[(InputTokens, 5), (OutputTokens, 4)]));
    let tallied = tally.finish();
    assert_eq!(tallied.usage, Some(usage(&[(InputTokens, 5), (OutputTokens, 4)])));
    assert_eq!(tallied.produced, usage(&[(OutputTokens, 4)]));
    assert_eq!(tallied.flags, Flags::default());
    assert!(!tallied.terminal_seen);
}

#[test]
fn a_responses_stream_counts_deltas_and_ends_with_its_response() {
    let events = [
        named(
            &json!({"type":"response.created","response":{"id":"r","status":"in_progress","usage":null,"error":null}}),
        ),
        named(
            &json!({"type":"response.output_text.delta","delta":"Hello wo","obfuscation":"xxxxxxxxxxxx"}),
        ),
        named(&json!({"delta":"{\"x\"","type":"response.function_call_arguments.delta"})),
        named(&json!({"type":"response.reasoning_summary_text.delta","delta":"abcdefgh"})),
        named(&json!({"type":"response.audio.delta","delta":"UklGRgAAAABXQVZF"})),
        named(&json!({"type":"response.output_text.done","text":"Hello wo"})),
        named(
            &json!({"type":"response.completed","response":{"id":"r","output":[{"content":[{"text":"Hello wo"}]}],
            "usage":{"input_tokens":37,"output_tokens":11,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":48}}}),
        ),
    ];
    let (kinds, tallied) = stream(Shape::OpenAi, &events);
    assert_eq!(kinds, [Other, Content, Content, Content, Other, Other, Terminal]);
    assert_eq!(tallied.usage, Some(usage(&[(InputTokens, 37), (OutputTokens, 11)])));
    assert_eq!(tallied.produced, usage(&[(OutputTokens, 3), (ReasoningTokens, 2)]));
}

#[test]
fn a_response_that_failed_is_terminal_and_an_error() {
    let events = [named(
        &json!({"type":"response.failed","response":{"error":{"code":"server_error"},"usage":null}}),
    )];
    let (kinds, tallied) = stream(Shape::OpenAi, &events);
    assert_eq!(kinds, [Terminal]);
    assert!(tallied.terminal_seen && tallied.error_seen);
    let (kinds, _) =
        stream(Shape::OpenAi, &[named(&json!({"type":"response.incomplete","response":{}}))]);
    assert_eq!(kinds, [Terminal]);
}

#[test]
fn errors_inside_a_stream_are_seen() {
    for raw in [
        event(&json!({"error":{"message":"overloaded","code":502}})),
        event(
            &json!({"choices":[{"delta":{"content":""},"finish_reason":"error"}],"error":{"code":502}}),
        ),
        named(&json!({"type":"error","code":"x","message":"y","sequence_number":1})),
        b"event: error\ndata: it broke\n\n".to_vec(),
    ] {
        let (kinds, tallied) = stream(Shape::OpenAi, std::slice::from_ref(&raw));
        assert_eq!(kinds, [EventKind::Error], "{}", String::from_utf8_lossy(&raw));
        assert!(tallied.error_seen);
    }
    let raw =
        named(&json!({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}));
    assert_eq!(stream(Shape::Anthropic, &[raw]).0, [EventKind::Error]);
    let body = json!({"error":{"message":"no"}});
    assert!(whole(Shape::OpenAi, &body).error_seen);
}

fn anthropic_events() -> Vec<Vec<u8>> {
    [
        json!({"type":"message_start","message":{"id":"msg_1","role":"assistant","content":[],
            "usage":{"input_tokens":472,"cache_read_input_tokens":5,"cache_creation_input_tokens":0,"output_tokens":2}}}),
        json!({"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}),
        json!({"type":"ping"}),
        json!({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Okay, let me check the weather."}}),
        json!({"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"location\":"}}),
        json!({"type":"content_block_delta","index":2,"delta":{"type":"thinking_delta","thinking":"hmmm"}}),
        json!({"type":"content_block_delta","index":2,"delta":{"type":"signature_delta","signature":"EqQBCgIYAhIM"}}),
        json!({"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":89}}),
        json!({"type":"message_stop"}),
    ]
    .iter()
    .map(named)
    .collect()
}

#[test]
fn an_anthropic_stream_joins_its_two_usages() {
    let (kinds, tallied) = stream(Shape::Anthropic, &anthropic_events());
    assert_eq!(kinds, [Other, Other, Other, Content, Content, Content, Other, Other, Terminal]);
    let want = [(InputTokens, 472), (CachedInputTokens, 5), (OutputTokens, 89)];
    assert_eq!(tallied.usage, Some(usage(&want)));
    assert_eq!(
        tallied.produced,
        usage(&[(OutputTokens, estimated_tokens(43)), (ReasoningTokens, 1)])
    );
    assert_eq!(tallied.flags, Flags::default());
}

#[test]
fn an_anthropic_stream_that_breaks_off_has_reported_input_and_produced_output() {
    let mut tally = Tally::new(Shape::Anthropic);
    for raw in anthropic_events().iter().take(5) {
        tally.event(raw);
    }
    let want =
        usage(&[(InputTokens, 472), (CachedInputTokens, 5), (OutputTokens, estimated_tokens(43))]);
    assert_eq!(tally.produced_so_far(), want);
    let tallied = tally.finish();
    assert_eq!(tallied.usage, Some(want));
    assert_eq!(tallied.flags, Flags::ESTIMATED);
}

#[test]
fn a_later_zero_takes_nothing_back_from_anthropic_figures() {
    let mut events = anthropic_events();
    events
        .push(named(&json!({"type":"message_delta","usage":{"input_tokens":0,"output_tokens":0}})));
    let (_, tallied) = stream(Shape::Anthropic, &events);
    assert_eq!(
        tallied.usage.map(|usage| (usage.of(InputTokens), usage.of(OutputTokens))),
        Some((472, 89))
    );
}

#[track_caller]
fn check_lie(figures: &str, want: Option<(u64, u64)>, flagged: bool) {
    for raw in [
        format!("{{\"choices\":[],\"usage\":{figures}}}"),
        format!("data: {{\"choices\":[],\"usage\":{figures}}}\n\n"),
    ] {
        let mut tally = Tally::new(Shape::OpenAi);
        if raw.starts_with('{') {
            tally.body(raw.as_bytes());
        } else {
            tally.event(raw.as_bytes());
        }
        let tallied = tally.finish();
        assert_eq!(tallied.usage.map(|usage| (usage.input(), usage.output())), want, "{raw}");
        assert_eq!(tallied.flags.has(Flags::IMPLAUSIBLE), flagged, "{raw}");
    }
}

#[test]
fn lies_are_clamped_and_flagged_and_never_a_credit() {
    let max = PLAUSIBLE_MAX;
    check_lie(r#"{"prompt_tokens":-5,"completion_tokens":-1}"#, None, true);
    check_lie(
        r#"{"prompt_tokens":9223372036854775808,"completion_tokens":1}"#,
        Some((max, 1)),
        true,
    );
    check_lie(
        r#"{"prompt_tokens":1e400,"completion_tokens":99999999999999999999999999}"#,
        Some((max, max)),
        true,
    );
    check_lie(r#"{"prompt_tokens":12.0,"completion_tokens":1.2e1}"#, Some((12, 12)), false);
    check_lie(r#"{"prompt_tokens":12.7,"completion_tokens":0.2}"#, Some((13, 1)), true);
    check_lie(r#"{"prompt_tokens":"12","completion_tokens":"many"}"#, Some((12, 0)), true);
    check_lie(r#"{"prompt_tokens":null,"completion_tokens":3}"#, Some((0, 3)), false);
    check_lie(r#"{"prompt_tokens":{"a":1},"completion_tokens":[3]}"#, None, true);
    check_lie(r#"{"prompt_tokens":true,"completion_tokens":3}"#, Some((0, 3)), true);
    check_lie("null", None, false);
    check_lie("{}", None, false);
    check_lie("\"lots\"", None, true);
    check_lie("[1]", None, true);
    check_lie(
        r#"{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":9}}"#,
        Some((5, 3)),
        true,
    );
    check_lie(
        r#"{"prompt_tokens":5,"completion_tokens":3,"completion_tokens_details":{"reasoning_tokens":9}}"#,
        Some((5, 3)),
        true,
    );
    check_lie(
        r#"{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":[]}"#,
        Some((5, 3)),
        true,
    );
    check_lie(r#"{"prompt_tokens":5,"completion_tokens":3,"total_tokens":99}"#, Some((5, 3)), true);
    check_lie(r#"{"completion_tokens":3,"total_tokens":1}"#, Some((0, 3)), true);
    check_lie(r#"{"prompt_\u0074okens":5,"completion_tokens":3}"#, Some((5, 3)), false);
}

#[test]
fn reasoning_that_the_total_shows_to_be_apart_is_added() {
    let body = json!({"usage":{"prompt_tokens":32,"completion_tokens":9,"total_tokens":341,
        "completion_tokens_details":{"reasoning_tokens":300}}});
    let tallied = whole(Shape::OpenAi, &body);
    assert_eq!(
        tallied.usage,
        Some(usage(&[(InputTokens, 32), (OutputTokens, 9), (ReasoningTokens, 300)]))
    );
    assert_eq!(tallied.flags, Flags::default());
}

#[test]
fn the_last_usage_of_a_body_counts() {
    let mut tally = Tally::new(Shape::OpenAi);
    tally.body(br#"{"usage":{"prompt_tokens":1},"choices":[],"usage":{"prompt_tokens":2}}"#);
    assert_eq!(tally.finish().usage, Some(usage(&[(InputTokens, 2)])));
}

#[test]
fn what_is_missing_or_broken_leaves_what_was_produced() {
    let mut tally = Tally::new(Shape::OpenAi);
    tally.body(br#"{"choices":[{"message":{"content":"abcdefgh\u00e9 and th"#);
    let tallied = tally.finish();
    assert_eq!(
        (tallied.usage, tallied.produced),
        (None, usage(&[(OutputTokens, estimated_tokens(17))]))
    );
    let mut tally = Tally::new(Shape::OpenAi);
    tally.body(b"}}}}]]{\"usage\":{\"prompt_tokens\":1}}");
    assert_eq!(tally.finish().usage, None);
    assert_eq!(Tally::new(Shape::OpenAi).finish().usage, None);
    let mut tally = Tally::new(Shape::OpenAi);
    tally.body("[".repeat(1 << 20).as_bytes());
    assert_eq!(tally.finish().usage, None);
}

#[test]
fn output_of_which_no_figure_tells_is_what_was_produced() {
    let body = json!({"choices":[{"message":{"content":"abcdefgh"}}],"usage":{"prompt_tokens":3}});
    let tallied = whole(Shape::OpenAi, &body);
    assert_eq!(tallied.usage, Some(usage(&[(InputTokens, 3), (OutputTokens, 2)])));
    assert_eq!(tallied.flags, Flags::ESTIMATED);
}

#[test]
fn a_usage_that_is_too_long_to_be_true_is_dropped_and_flagged() {
    let mut tally = Tally::new(Shape::OpenAi);
    tally.body(
        format!("{{\"usage\":{{\"x\":\"{}\",\"prompt_tokens\":1}}}}", "y".repeat(70_000))
            .as_bytes(),
    );
    let tallied = tally.finish();
    assert_eq!(tallied.usage, None);
    assert!(tallied.flags.has(Flags::IMPLAUSIBLE));
}

#[test]
fn usage_in_an_event_that_comes_in_parts_is_found() {
    let raw = named(
        &json!({"type":"response.completed","response":{"output":[{"type":"image_generation_call",
        "result":"A".repeat(1 << 20)}],"usage":{"input_tokens":4,"output_tokens":5,"total_tokens":9}}}),
    );
    let mut splitter = Splitter::default();
    let mut pieces = Vec::new();
    raw.chunks(16_384).for_each(|chunk| splitter.push(Bytes::copy_from_slice(chunk), &mut pieces));
    let mut tally = Tally::new(Shape::OpenAi);
    let kinds: Vec<EventKind> = pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Part { bytes, last } => tally.part(&bytes, last),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds[0], Terminal);
    assert_eq!(tally.finish().usage, Some(usage(&[(InputTokens, 4), (OutputTokens, 5)])));
}

#[test]
fn other_apis_report_by_pointer_header_time_or_bytes() {
    let json = |pointer: &str| Shape::Json(pointer.parse().unwrap());
    let body = json!({"job":[{"units~/":7}],"meta":{"input_tokens":3,"second":1.5,"other":1}});
    assert_eq!(whole(json("/job/0/units~0~1"), &body).usage, Some(usage(&[(Request, 7)])));
    assert_eq!(
        whole(json("/meta"), &body).usage,
        Some(usage(&[(InputTokens, 3), (Second, 1_500)]))
    );
    assert_eq!(whole(json("/job/1/units"), &body).usage, None);
    assert_eq!(whole(json(""), &json!(12)).usage, Some(usage(&[(Request, 12)])));
    let (kinds, tallied) = stream(
        json("/u"),
        &[event(&json!({"u":1})), event(&json!({"u":3})), event(&json!({"v":9}))],
    );
    assert_eq!((kinds, tallied.usage), (vec![Other; 3], Some(usage(&[(Request, 3)]))));

    let mut tally = Tally::new(Shape::Header);
    tally.header(Some(b" 42 "));
    assert_eq!(tally.finish().usage, Some(usage(&[(Request, 42)])));
    let mut tally = Tally::new(Shape::Header);
    tally.header(Some(b"-1x"));
    let tallied = tally.finish();
    assert_eq!((tallied.usage, tallied.flags), (None, Flags::IMPLAUSIBLE));
    let mut tally = Tally::new(Shape::Duration);
    tally.lasted(|| 1_234);
    assert_eq!(tally.finish().usage, Some(usage(&[(Second, 1_234)])));
    let mut tally = Tally::new(Shape::Bytes);
    tally.body(b"abc");
    tally.body(b"de");
    assert_eq!(tally.finish().usage, Some(usage(&[(Meter::Byte, 5)])));
    let mut tally = Tally::new(Shape::None);
    tally.body(b"{\"usage\":{\"prompt_tokens\":1}}");
    assert_eq!(tally.event(b"data: [DONE]\n\n"), Terminal);
    assert_eq!(tally.finish().usage, None);
}

#[test]
fn pointers_that_are_none_are_refused() {
    assert_eq!("a".parse::<Pointer>(), Err(InvalidPointer::NoSlash));
    assert_eq!("/a~2".parse::<Pointer>(), Err(InvalidPointer::Tilde));
    assert_eq!("/a".repeat(33).parse::<Pointer>(), Err(InvalidPointer::TooDeep));
}

#[test]
fn a_report_of_output_alone_says_so() {
    let openai = |usage: Value| whole(Shape::OpenAi, &json!({ "usage": usage })).input_untold;
    assert!(openai(json!({"completion_tokens": 20})));
    assert!(!openai(json!({"completion_tokens": 20, "total_tokens": 26})));
    assert!(!openai(json!({"completion_tokens": 20, "prompt_tokens": 0})));
    assert!(!openai(json!({"type": "duration", "seconds": 3})));
    assert!(!openai(json!({})));
    let anthropic = |usage: Value| whole(Shape::Anthropic, &json!({ "usage": usage })).input_untold;
    assert!(anthropic(json!({"output_tokens": 20})));
    assert!(!anthropic(json!({"output_tokens": 20, "input_tokens": 6})));
    let start = json!({"type": "message_start", "message": {"usage": {"input_tokens": 6, "output_tokens": 1}}});
    let delta = json!({"type": "message_delta", "usage": {"output_tokens": 20}});
    let (_, told) = stream(Shape::Anthropic, &[named(&start), named(&delta)]);
    assert!(!told.input_untold);
    assert!(stream(Shape::Anthropic, &[named(&delta)]).1.input_untold);
}
