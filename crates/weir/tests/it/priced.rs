//! A priced configuration whose prices read like token counts, and calls that are watched.

use std::io::{BufRead, Read};

use weir_core::ledger::{Call, Entry, EntryKind, Flags};
use weir_core::usage::Meter;

use crate::seed::paying;
use crate::server::{JSON, Weir};
use crate::support::Mock;
use crate::wire::{Line, kept_request};

/// Input costs nothing and an output token 0.001, so that a balance of 5 is 5,000 tokens.
pub(crate) const PRICED: &str = r#"
[upstreams.mock]
urls = ["http://UPSTREAM"]
response_timeout = "1s"
stream_idle_timeout = "1s"

[plans.payg]
billing = "wallet"

[prices.m]
output_tokens = "1.00/1k"

[[routes]]
match = "GET /clusters/*"
upstream = "mock"
price = "free"

[[routes]]
match = "POST /v1/chat/completions"
upstream = "mock"
usage = "openai"
price = "m"
hold_output_tokens = 100

[[routes]]
match = "POST /v1/responses"
upstream = "mock"
usage = "openai"
price = "m"
hold_output_tokens = 100

[[routes]]
match = "POST /ai/write"
upstream = "mock"
usage = "openai"
price = "m"
hold_output_tokens = 100

[[routes]]
match = "POST /v1/messages"
upstream = "mock"
usage = "anthropic"
price = "m"
hold_output_tokens = 100

[[routes]]
match = "POST /drain/v1/chat/completions"
upstream = "mock"
usage = "openai"
price = "m"
hold_output_tokens = 100
on_disconnect = "drain"

[[routes]]
match = "POST /finish/v1/chat/completions"
upstream = "mock"
usage = "openai"
price = "m"
hold_output_tokens = 100
on_exhausted = "finish"

[[routes]]
match = "POST /clamp/v1/chat/completions"
upstream = "mock"
usage = "openai"
price = "m"
hold_output_tokens = 100
on_low_balance = "clamp"

[[routes]]
match = "POST /hold/v1/chat/completions"
upstream = "mock"
usage = "openai"
price = "m"
hold_output_tokens = 100
on_missing_usage = "hold"

[[routes]]
match = "POST /free/v1/chat/completions"
upstream = "mock"
usage = "openai"
price = "m"
hold_output_tokens = 100
on_missing_usage = "free"
"#;

/// A gateway with one paying account, in front of a mock.
pub(crate) struct Shop {
    pub(crate) weir: Weir,
    pub(crate) mock: Mock,
}

impl Shop {
    pub(crate) fn open(balance: &'static str) -> Self {
        let mock = Mock::start();
        let config = PRICED.replace("UPSTREAM", &mock.address.to_string());
        let weir = Weir::start(&config, &[paying("payg", balance)]);
        Self { weir, mock }
    }

    /// What is available, in thousandths.
    #[track_caller]
    pub(crate) fn available(&self) -> i64 {
        let answer = self.weir.call(0, "GET", "/clusters/x", "");
        let told = answer.header("x-wallet-available").expect("a wallet");
        let nano: weir_core::money::Nano = told.parse().expect("an amount");
        nano.get() / 1_000_000
    }

    /// Begins a call and leaves its answer unread.
    pub(crate) fn begin(&self, path: &str, knobs: &[&str], body: &str) -> Line {
        let mut line = self.weir.line();
        let bearer = self.weir.bearer(0);
        let mut headers = vec![bearer.as_str(), JSON];
        headers.extend(knobs);
        line.send(kept_request("POST", path, &headers, body).as_bytes()).expect("it is sent");
        line
    }

    /// How many calls were left by their client, as the mock saw it.
    pub(crate) fn cancelled(&self) -> u64 {
        self.mock.stats()["cancelled"].as_u64().unwrap_or_default()
    }

    /// Stops the gateway and reads what it charged.
    pub(crate) fn charges(&mut self) -> Vec<Entry> {
        let mut entries = self.weir.stop_and_read();
        entries.retain(|entry| entry.kind == EntryKind::Charge || entry.kind == EntryKind::Debt);
        entries
    }
}

/// Reads until so many events of a stream have come.
pub(crate) fn read_events(line: &mut Line, count: usize) -> String {
    let mut seen = String::new();
    let mut events = 0;
    while events < count {
        let mut text = String::new();
        let read = line.reader().read_line(&mut text).expect("the stream runs");
        assert!(read > 0, "the stream ended early:\n{seen}");
        events += usize::from(text.starts_with("data: "));
        seen.push_str(&text);
    }
    seen
}

/// Reads until the connection ends, or nothing comes any more.
pub(crate) fn read_rest(line: &mut Line) -> String {
    let mut bytes = Vec::new();
    let _ended = line.reader().read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What was charged and how it was flagged.
#[track_caller]
pub(crate) fn call_of(entry: &Entry) -> &Call {
    entry.call.as_deref().expect("a charge has a call")
}

/// The flags of a charge by name.
pub(crate) fn flags_of(entry: &Entry) -> Vec<&'static str> {
    let flags: Flags = call_of(entry).flags;
    flags.names().collect()
}

/// Output tokens that were charged.
pub(crate) fn output_of(entry: &Entry) -> u64 {
    call_of(entry).usage.of(Meter::OutputTokens)
}

/// A chat body.
pub(crate) fn chat(stream: bool, max_tokens: u64) -> String {
    format!(
        r#"{{"model":"m","stream":{stream},"max_tokens":{max_tokens},"messages":[{{"role":"user","content":"Hi"}}]}}"#
    )
}
