//! The mock upstream: what other tests rely on.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::support::{Answer, Mock, eventually, request};

const CHAT: &str = r#"{"model":"llama-3-8b","messages":[{"role":"user","content":"Hello you"}]}"#;

fn chat(mock: &Mock, knobs: &[&str], more: Value) -> Answer {
    let mut body: Value = serde_json::from_str(CHAT).expect("JSON");
    let members = body.as_object_mut().expect("an object");
    members.extend(more.as_object().expect("an object").clone());
    mock.call("POST", "/base/v1/chat/completions", knobs, &body.to_string())
}

#[test]
fn the_same_chat_has_the_same_answer() {
    let mock = Mock::start();
    let (one, two) = (chat(&mock, &[], json!({})), chat(&mock, &[], json!({})));
    assert_eq!((one.status, &one.body), (200, &two.body));
    let answer = one.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "llama-3-8b");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["prompt_tokens"], 7);
    assert_eq!(answer["usage"]["completion_tokens"], 20);
    assert_eq!(answer["usage"]["total_tokens"], 27);
    let other = chat(&mock, &[], json!({"messages": [{"role": "user", "content": "Other"}]}));
    assert_ne!(other.json()["choices"][0]["message"], answer["choices"][0]["message"]);
}

#[test]
fn a_chat_obeys_its_bound_and_n() {
    let mock = Mock::start();
    let answer = chat(&mock, &[], json!({"max_tokens": 3, "n": 2})).json();
    assert_eq!(answer["choices"].as_array().map(Vec::len), Some(2));
    assert_eq!(answer["choices"][1]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 6);
    let answer = chat(&mock, &["x-mock-tokens: 9"], json!({"max_completion_tokens": 3})).json();
    assert_eq!(answer["usage"]["completion_tokens"], 9);
    let answer = chat(&mock, &[], json!({"max_tokens": -1}));
    assert_eq!(answer.status, 400);
}

#[test]
fn a_stream_has_one_chunk_per_token_and_says_what_the_document_says() {
    let mock = Mock::start();
    let document = chat(&mock, &[], json!({"max_tokens": 5})).json();
    let options = json!({"include_usage": true});
    let more = json!({"max_tokens": 5, "stream": true, "stream_options": options});
    let stream = chat(&mock, &[], more);
    assert!(stream.complete && stream.text().ends_with("data: [DONE]\n\n"));
    let events = stream.events();
    assert_eq!(events.len(), 1 + 5 + 1 + 1);
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(document["choices"][0]["message"]["content"], text);
    assert_eq!(events[6]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[7]["choices"], json!([]));
    assert_eq!(events[7]["usage"], document["usage"]);
    let silent = chat(&mock, &[], json!({"max_tokens": 5, "stream": true}));
    assert_eq!(silent.events().len(), 7);
    assert!(!silent.text().contains("usage"));
}

#[test]
fn the_magic_word_calls_the_first_tool() {
    let mock = Mock::start();
    let messages = json!([{"role": "user", "content": "please call-tool"}]);
    let tools = json!([{"type": "function", "function": {"name": "echo", "parameters": {}}}]);
    let answer = chat(&mock, &[], json!({"messages": messages, "tools": tools})).json();
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "echo");
    let arguments = call["arguments"].as_str().expect("arguments are a string").to_owned();
    let parsed: Value = serde_json::from_str(&arguments).expect("arguments are JSON");
    assert_eq!(parsed, json!({"text": "please call-tool"}));
    let more = json!({"messages": messages, "tools": tools, "stream": true});
    let streamed: String = chat(&mock, &[], more)
        .events()
        .iter()
        .filter_map(|event| {
            let call = &event["choices"][0]["delta"]["tool_calls"][0];
            call["function"]["arguments"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(streamed, arguments);
}

#[test]
fn usage_is_distorted_in_documents_and_streams() {
    let mock = Mock::start();
    let stream = json!({"stream": true, "stream_options": {"include_usage": true}});
    let count = |mode: &str, more: &Value| {
        let knob = format!("x-mock-usage: {mode}");
        let answer = chat(&mock, &[&knob], more.clone());
        answer.text().matches("\"usage\":{").count()
    };
    assert_eq!((count("none", &json!({})), count("none", &stream)), (0, 0));
    assert_eq!((count("double", &json!({})), count("double", &stream)), (2, 2));
    assert_eq!(count("every-chunk", &stream), 1 + 20 + 1 + 1);
    let negative = chat(&mock, &["x-mock-usage: negative"], json!({})).json();
    assert_eq!(negative["usage"]["completion_tokens"], -20);
    let query = mock.call("POST", "/chat?x-mock-usage=huge", &[], CHAT).json();
    assert_eq!(query["usage"]["prompt_tokens"], i64::MAX);
}

#[test]
fn the_other_ai_calls_answer_in_their_shapes() {
    let mock = Mock::start();
    let post = |target: &str, body: Value| {
        let answer = mock.call("POST", target, &[], &body.to_string());
        assert_eq!((answer.status, answer.complete), (200, true), "{target}: {}", answer.text());
        answer
    };
    let answer = post("/v1/completions", json!({"prompt": "Hi", "max_tokens": 4})).json();
    assert_eq!(answer["usage"]["completion_tokens"], 4);
    let inputs = json!({"input": ["a", "b"], "dimensions": 4});
    let answer = post("/v1/embeddings", inputs).json();
    assert_eq!(answer["data"][1]["embedding"].as_array().map(Vec::len), Some(4));
    let inputs = json!({"input": "a", "dimensions": 3, "encoding_format": "base64"});
    let answer = post("/v1/embeddings", inputs).json();
    assert_eq!(answer["data"][0]["embedding"].as_str().map(str::len), Some(16));
    let answer = post("/v1/images/generations", json!({"prompt": "x", "n": 2})).json();
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(2));
    for (path, unit) in [
        ("text-to-image", "images"),
        ("text-to-video", "seconds"),
        ("text-to-speech", "characters"),
    ] {
        let answer = post(&format!("/ai/{path}"), json!({"prompt": "a weir"})).json();
        assert!(answer["usage"][unit].as_u64() > Some(0), "{answer}");
    }
    assert_eq!(mock.call("GET", "/v1/models", &[], "").json()["object"], "list");
    assert_eq!(mock.call("GET", "/v1/models/x", &[], "").json()["id"], "x");
    let refused = mock.call("POST", "/v1/embeddings", &[], "{");
    assert_eq!(refused.json()["error"]["type"], "invalid_request_error");
}

#[test]
fn responses_stream_numbered_events_up_to_the_finished_response() {
    let mock = Mock::start();
    let body = json!({"model": "m", "input": "Hi", "max_output_tokens": 5});
    let document = mock.call("POST", "/v1/responses", &[], &body.to_string()).json();
    assert_eq!(document["status"], "incomplete");
    assert_eq!(document["usage"]["output_tokens"], 5);
    let body = json!({"model": "m", "input": "Hi", "max_output_tokens": 5, "stream": true});
    let events = mock.call("POST", "/v1/responses", &[], &body.to_string()).events();
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..events.len() as u64).map(Some).collect::<Vec<_>>());
    let last = events.last().expect("there are events");
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["output"][0]["content"], document["output"][0]["content"]);
    let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], text);
}

#[test]
fn messages_answer_as_anthropic_does() {
    let mock = Mock::start();
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let post = |more: Value, knobs: &[&str]| {
        let mut body = json!({"model": "claude", "messages": messages, "max_tokens": 4});
        body.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("object"));
        mock.call("POST", "/v1/messages", knobs, &body.to_string())
    };
    let document = post(json!({}), &["x-mock-input-tokens: 10", "x-mock-cached-tokens: 4"]).json();
    assert_eq!(document["stop_reason"], "max_tokens");
    let usage = &document["usage"];
    assert_eq!((&usage["input_tokens"], &usage["cache_read_input_tokens"]), (&json!(6), &json!(4)));
    let stream = post(json!({"stream": true}), &[]);
    assert!(stream.text().ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    let events = stream.events();
    assert_eq!(events[0]["message"]["usage"]["output_tokens"], 1);
    assert_eq!(events[events.len() - 2]["usage"]["output_tokens"], 4);
    let refused = post(json!({}), &["x-mock-status: 529"]);
    assert_eq!((refused.status, &refused.json()["type"]), (529, &json!("error")));
}

#[test]
fn resources_are_kept_and_honour_conditions() {
    let mock = Mock::start();
    let first = mock.call("GET", "/clusters/7?full=1", &[], "");
    assert_eq!(first.json(), json!({"method": "GET", "path": "/clusters/7", "query": "full=1"}));
    let etag = first.header("etag").expect("an ETag").to_owned();
    let modified = first.header("last-modified").expect("a date").to_owned();
    let since = format!("if-modified-since: {modified}");
    assert_eq!(mock.call("GET", "/clusters/7?full=1", &[&since], "").status, 304);
    let none_match = format!("if-none-match: \"x\", W/{etag}");
    assert_eq!(mock.call("GET", "/clusters/7?full=1", &[&none_match], "").status, 304);
    let head = mock.call("HEAD", "/clusters/7?full=1", &[], "");
    assert_eq!(head.header("content-length"), first.header("content-length"));
    assert_eq!((head.status, head.body.len()), (200, 0));

    assert_eq!(mock.call("PUT", "/clusters/7", &[], r#"{"gpus":8,"name":"a"}"#).status, 200);
    let patched = mock.call("PATCH", "/clusters/7", &[], r#"{"gpus":16}"#).json();
    assert_eq!(patched["body"], json!({"gpus": 16, "name": "a"}));
    let changed = mock.call("GET", "/clusters/7?full=1", &[&since, &none_match], "");
    assert_eq!((changed.status, &changed.json()["body"]["gpus"]), (200, &json!(16)));
    let stale = format!("if-match: {etag}");
    assert_eq!(mock.call("PUT", "/clusters/7", &[&stale], "{}").status, 412);
    assert_eq!(mock.call("DELETE", "/clusters/7", &[], "").status, 204);
    assert_eq!(mock.call("GET", "/clusters/7", &[], "").status, 404);
    assert_eq!(mock.call("POST", "/__mock/reset", &[], "").status, 204);
    assert_eq!(mock.call("GET", "/clusters/7", &[], "").status, 200);

    let job = mock.call("POST", "/training/jobs", &[], r#"{"model":"m"}"#);
    assert_eq!((job.status, &job.json()["status"]), (201, &json!("queued")));
}

#[test]
fn files_have_the_length_in_their_name() {
    let mock = Mock::start();
    let file = mock.call("GET", "/files/100000", &[], "");
    assert_eq!(file.header("content-length"), Some("100000"));
    assert!(file.body.iter().enumerate().all(|(at, &byte)| usize::from(byte) == at % 251));
    assert_eq!(file.body.len(), 100_000);
    let head = mock.call("HEAD", "/files/67108864", &[], "");
    assert_eq!((head.header("content-length"), head.body.len()), (Some("67108864"), 0));
}

#[test]
fn status_and_headers_are_as_ordered() {
    let mock = Mock::start();
    let knobs = ["x-mock-status: 429", "x-mock-header: retry-after: 7"];
    let refused = chat(&mock, &knobs, json!({}));
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("7")));
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    assert_eq!(chat(&mock, &["x-mock-status: 203"], json!({})).status, 203);
    let typo = chat(&mock, &["x-mock-statsu: 429"], json!({}));
    assert_eq!(typo.status, 400);
    assert!(typo.text().contains("x-mock-statsu"));
}

#[test]
fn broken_answers_end_where_they_are_told_to() {
    let mock = Mock::start();
    let broken = |knob: &str, more: Value| {
        let answer = chat(&mock, &[knob], more);
        assert_eq!((answer.status, answer.complete), (200, false), "{knob}");
        answer
    };
    let stream = || json!({"stream": true});
    assert!(broken("x-mock-break: after-head", json!({})).body.is_empty());
    assert!(broken("x-mock-break: after-head", stream()).body.is_empty());
    assert_eq!(broken("x-mock-break: after-4-chunks", stream()).events().len(), 4);
    let half = broken("x-mock-break: mid-event", stream());
    assert_eq!(half.text().matches("\n\n").count(), 1);
    assert!(half.text().matches("data:").count() == 2 && !half.text().ends_with("\n\n"));
    assert!(!broken("x-mock-break: mid-event", json!({})).body.is_empty());
    let reset = chat(&mock, &["x-mock-reset: 1"], json!({}));
    assert_eq!((reset.status, reset.failed), (0, true));
    let stats = mock.stats();
    assert_eq!((&stats["open"], &stats["cancelled"]), (&json!(0), &json!(0)));
}

#[test]
fn a_hanging_answer_ends_when_the_client_leaves_and_is_counted() {
    let mock = Mock::start();
    for (knob, cancelled) in [("x-mock-hang: before-head", 1), ("x-mock-hang: after-2", 2)] {
        let mut stream = mock.connect();
        let body = CHAT.replace("{\"model", "{\"stream\":true,\"model");
        stream.write_all(request("POST", "/chat", &[knob], &body).as_bytes()).expect("sent");
        eventually("open", || mock.stats()["open"] == 1);
        if cancelled == 2 {
            let mut seen = Vec::new();
            while seen.windows(5).filter(|five| *five == b"data:").count() < 2 {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).expect("two events come");
                seen.extend_from_slice(&buffer[..read]);
            }
        }
        drop(stream);
        eventually("cancelled", || mock.stats()["cancelled"] == cancelled);
        assert_eq!(mock.stats()["open"], 0);
    }
}

#[test]
fn delays_come_before_head_first_chunk_and_chunks() {
    let mock = Mock::start();
    let took = |knobs: &[&str]| {
        let began = Instant::now();
        assert!(chat(&mock, knobs, json!({"stream": true, "max_tokens": 2})).complete);
        began.elapsed()
    };
    assert!(took(&["x-mock-delay-ms: 80"]) >= Duration::from_millis(80));
    assert!(took(&["x-mock-first-delay-ms: 80"]) >= Duration::from_millis(80));
    // A role, two tokens, a finish and [DONE]: four waits between five chunks.
    assert!(took(&["x-mock-chunk-delay-ms: 20"]) >= Duration::from_millis(80));
}

#[test]
fn stats_tell_what_arrived() {
    let mock = Mock::start();
    mock.call("GET", "/a", &[], "");
    mock.call("PUT", "/b?q=1", &["x-custom: seen"], "some text");
    let stats = mock.stats();
    assert_eq!(stats["requests"], 2);
    assert_eq!(stats["by_path"], json!({"/a": 1, "/b": 1}));
    let last = &stats["last_request"];
    assert_eq!((&last["method"], &last["target"]), (&json!("PUT"), &json!("/b?q=1")));
    assert_eq!(last["body"], "some text");
    let headers = last["headers"].as_array().expect("a list");
    assert!(headers.contains(&json!(["x-custom", "seen"])));
    mock.call("POST", "/__mock/reset", &[], "");
    assert_eq!(mock.stats()["requests"], 0);
}

#[test]
fn http2_with_prior_knowledge_is_answered() {
    let mock = Mock::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let request = http::Request::post(format!("http://{}/chat", mock.address))
            .body(Full::new(bytes::Bytes::from(CHAT)))
            .expect("a request");
        let answer = client.request(request).await.expect("an answer");
        assert_eq!(answer.version(), http::Version::HTTP_2);
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["usage"]["completion_tokens"], 20);
    });
}

#[test]
fn a_signal_ends_it_in_order() {
    let mut mock = Mock::start();
    let pid = mock.child().id().to_string();
    let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
    assert!(sent.expect("kill runs").success());
    assert!(mock.child().wait().expect("it ends").success());
}
