use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::edit::{Change, rewrite, with_include_usage, with_output_bound};
use super::estimate::{AUDIO_TOKENS, FILE_TOKENS, IMAGE_TOKENS};
use super::multipart::ask_multipart;
use super::request::{Ask, Bound, BoundName, Duplicate, Endpoint, Unreadable};
use crate::json::Malformed;
use crate::tally::estimated_tokens;

fn ask(body: &Value) -> Ask {
    Ask::read(body.to_string().as_bytes(), None).unwrap()
}

fn read(body: &str) -> Result<Ask, Unreadable> {
    Ask::read(body.as_bytes(), None)
}

#[test]
fn a_chat_request_is_read() {
    let ask = ask(
        &json!({"model":"gpt-4.1","messages":[{"role":"developer","content":"You are helpful."},
        {"role":"user","content":[{"type":"text","text":"What is this?"},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"high"}}]}],
        "max_completion_tokens":300,"n":2,"stream":true,"stream_options":{"include_obfuscation":false},"service_tier":"flex"}),
    );
    assert_eq!(ask.endpoint, Endpoint::Chat);
    assert_eq!(
        (ask.model.as_deref(), ask.service_tier.as_deref()),
        (Some("gpt-4.1"), Some("flex"))
    );
    assert_eq!(ask.bound(), Some(Bound { name: BoundName::MaxCompletionTokens, tokens: 300 }));
    assert_eq!((ask.stream, ask.n, ask.answers(), ask.include_usage), (true, 2, 2, None));
    assert_eq!(ask.input_tokens, estimated_tokens(16 + 13) + IMAGE_TOKENS + 8);
    assert_eq!(ask.unambiguous(), Ok(()));
}

#[test]
fn other_apis_are_told_by_their_members() {
    let responses = ask(
        &json!({"model":"o3","input":[{"role":"user","content":[{"type":"input_text","text":"abcd"},
        {"type":"input_file","file_data":"data:application/pdf;base64,JVBERi"}]}],"instructions":"efgh","max_output_tokens":64}),
    );
    assert_eq!(responses.endpoint, Endpoint::Responses);
    assert_eq!(responses.bound(), Some(Bound { name: BoundName::MaxOutputTokens, tokens: 64 }));
    assert_eq!(responses.input_tokens, 2 + FILE_TOKENS + 4);

    let completions =
        ask(&json!({"model":"m","prompt":["abcd","efgh","ijkl"],"best_of":4,"n":2,"max_tokens":5}));
    assert_eq!((completions.endpoint, completions.answers()), (Endpoint::Completions, 12));
    assert_eq!(completions.input_tokens, 3);
    let tokens = ask(&json!({"model":"m","prompt":[1,2,3]}));
    assert_eq!((tokens.prompts, tokens.input_tokens), (1, 3));
    let tokens = ask(&json!({"model":"m","prompt":[[1,2],[3]]}));
    assert_eq!((tokens.prompts, tokens.input_tokens), (2, 3));

    let embeddings = ask(&json!({"model":"m","input":["abcd","efgh"],"encoding_format":"float"}));
    assert_eq!((embeddings.endpoint, embeddings.input_tokens), (Endpoint::Embeddings, 2));
    let images = ask(&json!({"model":"gpt-image-1","prompt":"a cat","n":3,"size":"1024x1024"}));
    assert_eq!((images.endpoint, images.answers()), (Endpoint::Images, 3));
    let speech = ask(&json!({"model":"tts-1","input":"Hello","voice":"alloy"}));
    assert_eq!((speech.endpoint, speech.input_tokens), (Endpoint::Audio, 2));
    assert_eq!(ask(&json!({})).endpoint, Endpoint::Other);
}

#[test]
fn an_anthropic_request_is_read() {
    let body = json!({"model":"claude-sonnet-4","max_tokens":1024,"system":[{"type":"text","text":"abcd","cache_control":{"type":"ephemeral"}}],
        "messages":[{"role":"user","content":[
            {"type":"image","source":{"type":"base64","media_type":"image/png","data":"A".repeat(100_000)}},
            {"type":"document","source":{"type":"base64","media_type":"application/pdf","data":format!("JVBERi{}", "A".repeat(100_000))}},
            {"type":"document","source":{"type":"text","media_type":"text/plain","data":"A few words of plain text. ".repeat(4)}}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"url":"https://x"}}]}]});
    let ask = Ask::read(body.to_string().as_bytes(), Endpoint::of_path("/v1/messages")).unwrap();
    assert_eq!(ask.endpoint, Endpoint::Messages);
    let text = 4 + 4 * 27 + 1 + 9;
    assert_eq!(ask.input_tokens, estimated_tokens(text) + IMAGE_TOKENS + FILE_TOKENS + 8);
}

#[test]
fn an_endpoint_is_told_by_the_end_of_a_path() {
    for (path, want) in [
        ("/v1/chat/completions", Some(Endpoint::Chat)),
        ("/openai/deployments/x/chat/completions/", Some(Endpoint::Chat)),
        ("/v1/completions", Some(Endpoint::Completions)),
        ("/v1/responses", Some(Endpoint::Responses)),
        ("/v1/images/generations", Some(Endpoint::Images)),
        ("/v1/audio/transcriptions", Some(Endpoint::Audio)),
        ("/v1/embeddings", Some(Endpoint::Embeddings)),
        ("/v1/messages", Some(Endpoint::Messages)),
        ("/ai/chat", None),
        ("", None),
    ] {
        assert_eq!(Endpoint::of_path(path), want, "{path}");
    }
}

#[test]
fn a_wrong_value_is_an_error_that_names_its_member() {
    for (body, member) in [
        (r#"{"model":5}"#, "model"),
        (r#"{"model":""}"#, "model"),
        (r#"{"max_tokens":"many"}"#, "max_tokens"),
        (r#"{"max_tokens":-1}"#, "max_tokens"),
        (r#"{"max_completion_tokens":1e99}"#, "max_completion_tokens"),
        (r#"{"max_output_tokens":12.5}"#, "max_output_tokens"),
        (r#"{"max_tokens":9007199254740993}"#, "max_tokens"),
        (r#"{"n":0}"#, "n"),
        (r#"{"n":4294967296}"#, "n"),
        (r#"{"best_of":[]}"#, "best_of"),
        (r#"{"stream":"true"}"#, "stream"),
        (r#"{"stream_options":true}"#, "stream_options"),
        (r#"{"stream_options":{"include_usage":1}}"#, "stream_options.include_usage"),
        (r#"{"service_tier":1}"#, "service_tier"),
    ] {
        let error = read(body).unwrap_err();
        assert_eq!(error.param(), Some(member), "{body}: {error}");
        assert!(error.to_string().starts_with(&format!("\"{member}\" must be ")), "{error}");
    }
}

#[test]
fn null_is_absent_and_zero_bounds_nothing() {
    let ask = ask(
        &json!({"model":null,"max_tokens":null,"max_completion_tokens":0,"n":null,"stream":null,
        "stream_options":null,"service_tier":null}),
    );
    assert_eq!((ask.model.as_deref(), ask.bound(), ask.n, ask.stream), (None, None, 1, false));
}

#[test]
fn of_several_bounds_the_largest_is_told() {
    let ask = ask(&json!({"max_tokens":10,"max_completion_tokens":500}));
    assert_eq!(ask.bound(), Some(Bound { name: BoundName::MaxCompletionTokens, tokens: 500 }));
}

#[test]
fn what_an_endpoint_does_not_know_bounds_nothing_there() {
    let bound = |endpoint, member: &str| {
        let body = format!("{{\"{member}\":7}}");
        Ask::read(body.as_bytes(), Some(endpoint)).unwrap().bound().map(|bound| bound.tokens)
    };
    let names = BoundName::ALL.map(BoundName::name);
    for (endpoint, known) in [
        (Endpoint::Chat, [true, true, false]),
        (Endpoint::Completions, [true, false, false]),
        (Endpoint::Messages, [true, false, false]),
        (Endpoint::Responses, [false, false, true]),
        (Endpoint::Other, [true, true, true]),
    ] {
        let told = names.map(|name| bound(endpoint, name).is_some());
        assert_eq!(told, known, "{endpoint:?}");
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    assert_eq!(read("[]"), Err(Unreadable::NotAnObject));
    assert_eq!(read(""), Err(Unreadable::Malformed(Malformed::Syntax(0))));
    assert_eq!(
        read(r#"{"model":"a"}{"model":"b"}"#),
        Err(Unreadable::Malformed(Malformed::Syntax(13)))
    );
    assert_eq!(
        Ask::read(b"{\"model\":\"\xff\"}", None),
        Err(Unreadable::Malformed(Malformed::Syntax(10)))
    );
    let bomb = format!("{{\"messages\":{}", "[".repeat(1 << 20));
    assert_eq!(read(&bomb), Err(Unreadable::Malformed(Malformed::TooDeep)));
}

#[test]
fn duplicates_are_found_however_they_are_spelled() {
    for (body, name) in [
        (r#"{"model":"a","model":"b"}"#, "model"),
        (r#"{"n":1,"\u006e":9}"#, "n"),
        (r#"{"max_tokens":1,"MAX_TOKENS":9}"#, "max_tokens"),
        ("{\"max_to\u{212a}ens\":9}", "max_tokens"),
        ("{\"\u{17f}tream\":true}", "stream"),
        (r#"{"stream":false,"stream":true}"#, "stream"),
        (r#"{"stream_options":{},"stream_options":{}}"#, "stream_options"),
        (
            r#"{"stream_options":{"include_usage":false,"include_usage":true}}"#,
            "stream_options.include_usage",
        ),
    ] {
        assert_eq!(read(body).unwrap().unambiguous(), Err(Duplicate(name)), "{body}");
    }
    assert_eq!(
        read(r#"{"user":"a","user":"b","messages":[{"model":1},{"n":0}]}"#).unwrap().unambiguous(),
        Ok(())
    );
}

#[track_caller]
fn check_usage(body: &str, want: &str) {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let ask = Ask::read(body.as_bytes(), Some(Endpoint::Chat)).unwrap();
    assert_eq!(String::from_utf8_lossy(&with_include_usage(&bytes, &ask).unwrap()), want);
}

#[test]
fn the_usage_chunk_is_asked_for_and_no_other_byte_changes() {
    check_usage(
        r#" { "stream" : true } "#,
        r#" { "stream" : true,"stream_options":{"include_usage":true} } "#,
    );
    check_usage(
        r#"{"stream_options":{ "include_obfuscation":false },"stream":true}"#,
        r#"{"stream_options":{ "include_obfuscation":false,"include_usage":true },"stream":true}"#,
    );
    check_usage(
        r#"{"stream_options":{},"stream":true}"#,
        r#"{"stream_options":{"include_usage":true},"stream":true}"#,
    );
    check_usage(
        r#"{"stream_options":null,"stream":true}"#,
        r#"{"stream_options":{"include_usage":true},"stream":true}"#,
    );
    for off in ["false", "null"] {
        check_usage(
            &format!(r#"{{"stream_options":{{"include_usage":{off} }},"stream":true}}"#),
            r#"{"stream_options":{"include_usage":true },"stream":true}"#,
        );
    }
    for same in
        [r#"{"stream":false}"#, r#"{"stream":true,"stream_options":{"include_usage":true}}"#, "{}"]
    {
        check_usage(same, same);
    }
    let body = Bytes::from_static(br#"{"input":"a","stream":true}"#);
    let responses = Ask::read(&body, Some(Endpoint::Responses)).unwrap();
    assert_eq!(with_include_usage(&body, &responses), Ok(body));
}

#[track_caller]
fn check_bound(endpoint: Endpoint, body: &str, want: &str) {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let ask = Ask::read(body.as_bytes(), Some(endpoint)).unwrap();
    assert_eq!(String::from_utf8_lossy(&with_output_bound(&bytes, &ask, 50).unwrap()), want);
}

#[test]
fn the_output_bound_is_lowered_under_the_name_that_the_client_used() {
    check_bound(Endpoint::Chat, r#"{"max_tokens": 900 }"#, r#"{"max_tokens": 50 }"#);
    check_bound(
        Endpoint::Chat,
        r#"{"max_tokens":20,"max_completion_tokens":900}"#,
        r#"{"max_tokens":20,"max_completion_tokens":50}"#,
    );
    check_bound(Endpoint::Chat, r#"{"max_tokens":20}"#, r#"{"max_tokens":20}"#);
    check_bound(Endpoint::Chat, r#"{"max_tokens":null}"#, r#"{"max_tokens":50}"#);
    check_bound(Endpoint::Chat, r#"{"max_tokens":0}"#, r#"{"max_tokens":50}"#);
    check_bound(Endpoint::Chat, r#"{"model":"m"}"#, r#"{"model":"m","max_completion_tokens":50}"#);
    check_bound(Endpoint::Chat, "{ }", r#"{"max_completion_tokens":50 }"#);
    check_bound(Endpoint::Responses, r#"{"model":"m"}"#, r#"{"model":"m","max_output_tokens":50}"#);
    check_bound(Endpoint::Messages, r#"{"model":"m"}"#, r#"{"model":"m","max_tokens":50}"#);
    check_bound(
        Endpoint::Chat,
        r#"{"max_output_tokens":20}"#,
        r#"{"max_output_tokens":20,"max_completion_tokens":50}"#,
    );
    check_bound(
        Endpoint::Responses,
        r#"{"max_tokens":900,"max_output_tokens":null}"#,
        r#"{"max_tokens":50,"max_output_tokens":50}"#,
    );
    check_bound(Endpoint::Embeddings, r#"{"model":"m"}"#, r#"{"model":"m"}"#);
}

#[test]
fn a_change_to_an_ambiguous_request_is_refused_and_no_change_is_none() {
    let body = Bytes::from_static(br#"{"model":"a","model":"b","max_tokens":9}"#);
    let ask = Ask::read(&body, Some(Endpoint::Chat)).unwrap();
    assert_eq!(with_output_bound(&body, &ask, 5), Err(Duplicate("model")));
    assert_eq!(with_output_bound(&body, &ask, 10), Ok(body));
}

fn form(parts: &str) -> Result<Ask, Unreadable> {
    let body = parts.replace('\n', "\r\n");
    ask_multipart(
        b"multipart/form-data; charset=utf-8; boundary=\"xX\"",
        body.as_bytes(),
        Some(Endpoint::Audio),
    )
}

#[test]
fn a_form_is_read() {
    let ask = form(
        "--xX\nContent-Disposition: form-data; name=\"file\"; filename=\"a;b=\\\"c\\\".wav\"\nContent-Type: audio/wav\n\n\
         RIFF--xX name=\"model\"\n\n--x\n--xX\nContent-Disposition: form-data; name=\"model\"\n\nwhisper-1\n\
         --xX\ncontent-disposition: form-data; name=n\n\n2\n--xX\nContent-Disposition: form-data; name=\"stream\"\n\nTrue\n\
         --xX\nContent-Disposition: form-data; name=\"prompt\"\n\nabcd\n--xX--\n",
    )
    .unwrap();
    assert_eq!((ask.model.as_deref(), ask.n, ask.stream), (Some("whisper-1"), 2, true));
    assert_eq!(ask.input_tokens, AUDIO_TOKENS + 1);
    let body = Bytes::from_static(b"--xX");
    assert_eq!(
        rewrite(&body, &ask, Change { include_usage: true, output_bound: Some(1) }),
        Ok(body)
    );
}

#[test]
fn a_form_with_faults_is_refused() {
    let part = |name: &str, value: &str| {
        format!("--xX\nContent-Disposition: form-data; name=\"{name}\"\n\n{value}\n")
    };
    let fault = |parts: String| form(&(parts + "--xX--")).unwrap_err().param();
    assert_eq!(fault(part("n", "0")), Some("n"));
    assert_eq!(fault(part("model", "")), Some("model"));
    assert_eq!(fault(part("stream", "maybe")), Some("stream"));
    let twice = form(&(part("model", "a") + &part("model", "b") + "--xX--")).unwrap();
    assert_eq!(twice.unambiguous(), Err(Duplicate("model")));
    assert_eq!(form(&part("model", "a")), Err(Unreadable::NotMultipart));
    assert_eq!(form(&(part("x", "a").repeat(1_001) + "--xX--")), Err(Unreadable::NotMultipart));
    assert_eq!(ask_multipart(b"multipart/form-data", b"", None), Err(Unreadable::NotMultipart));
    assert_eq!(
        ask_multipart(b"text/plain; boundary=x", b"--x--", None),
        Err(Unreadable::NotMultipart)
    );
}

/// Bodies with white space and members in any order, as text.
fn any_body() -> impl Strategy<Value = String> {
    let member = |name: &'static str, values: Vec<&'static str>| {
        prop::option::of(prop::sample::select(values))
            .prop_map(move |value| value.map(|value| (name, value)))
    };
    let members = (
        member("model", vec!["\"m\"", "\"\\u0067pt \\ud83d\\ude00\""]),
        member("messages", vec!["[ ]", "[{\"role\":\"user\",\"content\":\"h\\u00e9 } \\\" ,\"}]"]),
        member("stream", vec!["true", "false", "null"]),
        member(
            "stream_options",
            vec![
                "{}",
                "{ \"a\" : [1] }",
                "null",
                "{\"include_usage\":false}",
                "{\"include_usage\":true, \"b\":{}}",
            ],
        ),
        member("max_tokens", vec!["1", "100", "null", "0"]),
        member("max_completion_tokens", vec!["7", "70000"]),
        member("temperature", vec!["0.70", "1E0"]),
    );
    let members = members.prop_map(|(a, b, c, d, e, f, g)| {
        [a, b, c, d, e, f, g].into_iter().flatten().collect::<Vec<_>>()
    });
    (members.prop_shuffle(), "[ \n]{0,2}").prop_map(|(members, space)| {
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{space}\"{name}\"{space}:{space}{value}{space}"))
            .collect();
        format!("{{{}{space}}}{space}", members.join(","))
    })
}

/// How many bytes of `before` are not, in their order, in `after`.
fn lost(before: &[u8], after: &[u8]) -> usize {
    let mut kept = vec![0; after.len() + 1];
    for byte in before {
        let mut diagonal = 0;
        for (at, other) in after.iter().enumerate() {
            let above = kept[at + 1];
            kept[at + 1] = if byte == other { diagonal + 1 } else { above.max(kept[at]) };
            diagonal = above;
        }
    }
    before.len() - kept[after.len()]
}

proptest! {
    #[test]
    fn an_edited_body_has_the_edit_and_is_otherwise_the_same(text in any_body(), bound in 1u64..200) {
        let body = Bytes::from(text.clone());
        let ask = Ask::read(&body, Some(Endpoint::Chat)).unwrap();
        let edited = rewrite(&body, &ask, Change { include_usage: true, output_bound: Some(bound) }).unwrap();
        let mut want: Value = serde_json::from_slice(&body).unwrap();
        if ask.stream {
            if !want["stream_options"].is_object() {
                want["stream_options"] = json!({});
            }
            want["stream_options"]["include_usage"] = json!(true);
        }
        let in_force = |value: &Value| value.as_u64().is_some_and(|tokens| tokens > 0);
        let names = ["max_tokens", "max_completion_tokens"];
        if names.iter().any(|name| in_force(&want[name])) {
            for name in names {
                if in_force(&want[name]) {
                    want[name] = json!(want[name].as_u64().unwrap().min(bound));
                }
            }
        } else {
            let name = if want.get("max_tokens").is_some() { "max_tokens" } else { "max_completion_tokens" };
            want[name] = json!(bound);
        }
        let got: Value = serde_json::from_slice(&edited).unwrap();
        prop_assert_eq!(strip(&got), strip(&want));

        let again = Ask::read(&edited, Some(Endpoint::Chat)).unwrap();
        prop_assert!(again.bound().unwrap().tokens <= bound);
        prop_assert!(!again.stream || again.include_usage == Some(true));
        let change = Change { include_usage: true, output_bound: Some(bound) };
        prop_assert_eq!(rewrite(&edited, &again, change).unwrap(), edited.clone());
        let before: Value = serde_json::from_slice(&body).unwrap();
        let replaced = |old: Option<&Value>, new: &Value| old.map_or(0, |old| if old == new { 0 } else { old.to_string().len() });
        let mut may_go: usize = names.iter().map(|name| replaced(before.get(name), &got[name])).sum();
        if let Some(options) = before.get("stream_options").filter(|_| ask.stream) {
            may_go += if options.is_null() { 4 } else { replaced(options.get("include_usage"), &json!(true)) };
        }
        prop_assert!(lost(&body, &edited) <= may_go, "{} became {:?}", text, edited);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "[\\[\\]{}\",:a-n\\\\0-9-]{0,40}") {
        let _refused_or_not = Ask::read(&bytes, None).is_ok();
        let _refused_or_not = Ask::read(text.as_bytes(), None).is_ok();
        let _refused_or_not = ask_multipart(b"multipart/form-data; boundary=a", &bytes, None).is_ok();
        let _refused_or_not = ask_multipart(&bytes, text.as_bytes(), None).is_ok();
    }

    #[test]
    fn forms_with_any_parts_are_survived(text in "(--xX|--xX--|\r\n|\n|name=|\"|;|Content-Disposition: |[a-c=]){0,30}") {
        let _refused_or_not = ask_multipart(b"multipart/form-data; boundary=xX", text.as_bytes(), None).is_ok();
    }
}

/// Without the nulls that looking up an absent member leaves behind.
fn strip(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    value
}
