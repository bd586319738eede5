//! `weir tail`: calls as they end, one by one.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use crate::client::{Target, exit_code};
use crate::terminal::{harmless, has_colour, width};

/// What `weir tail` takes.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Only calls of this account, by its id or your own.
    #[arg(long)]
    account: Option<String>,
    /// Only calls that were refused or failed.
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    target: Target,
}

/// A call as the server tells it when it ends.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ended {
    pub(super) at: String,
    pub(super) account_id: String,
    pub(super) key_id: String,
    pub(super) route: String,
    pub(super) model: String,
    pub(super) status: u16,
    pub(super) limited: bool,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) charged: String,
    pub(super) latency_ms: u64,
}

impl Ended {
    /// What a line of the stream tells; `None`: something else.
    pub(super) fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix("data: ")?).ok()
    }
}

/// Prints calls as they end, until the server or the reader is gone.
///
/// # Errors
///
/// When the server cannot be reached or standard output is gone.
pub(crate) fn run(args: &TailArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    exit_code((|| {
        let account = args.account.as_deref().map(|named| client.account(named)).transpose()?;
        let colour = has_colour(&io::stdout());
        for line in client.follow("calls")?.lines() {
            let line = line?;
            let Some(ended) = Ended::read(&line) else { continue };
            let wanted = account.as_ref().is_none_or(|id| *id == ended.account_id)
                && (!args.failed || ended.status >= 400);
            if !wanted {
                continue;
            }
            let mut out = io::stdout().lock();
            if args.target.json {
                writeln!(out, "{}", line.trim_start_matches("data: "))?;
            } else {
                let width = width(&io::stdout());
                writeln!(out, "{}", line_of(&ended, colour, width))?;
            }
            out.flush()?;
        }
        anyhow::bail!("the server has ended")
    })())
}

/// A call in the words of its line; what does not apply is empty.
struct Line {
    time: String,
    status: String,
    latency: String,
    account: String,
    route: String,
    model: String,
    tokens: String,
    charged: String,
    limited: String,
}

impl Line {
    fn of(ended: &Ended) -> Self {
        let time = ended.at.split('T').nth(1).unwrap_or(&ended.at);
        let tokens = match (ended.input_tokens, ended.output_tokens) {
            (0, 0) => String::new(),
            (input, output) => format!("{input}+{output}{TOKENS}"),
        };
        let charged = if ended.charged == "0.00" { "" } else { &ended.charged };
        Self {
            time: time.get(..12).unwrap_or(time).to_owned(),
            status: ended.status.to_string(),
            latency: format!("{:>6} ms", ended.latency_ms),
            account: ended.account_id.clone(),
            route: ended.route.clone(),
            // What a call names is its caller's own.
            model: harmless(&ended.model),
            tokens,
            charged: charged.to_owned(),
            limited: if ended.limited { "refused".to_owned() } else { String::new() },
        }
    }

    /// What is worth least goes first; status, charge and refusal stay.
    fn fit(&mut self, width: usize) {
        let shorter: [fn(&mut Self, usize); 8] = [
            |line, _| line.time = line.time.get(..8).unwrap_or(&line.time).to_owned(),
            |line, _| line.tokens = line.tokens.trim_end_matches(TOKENS).to_owned(),
            |line, over| shorten(&mut line.model, over, 12),
            |line, over| shorten(&mut line.route, over, 20),
            |line, over| shorten(&mut line.account, over, 10),
            |line, _| line.tokens.clear(),
            |line, _| line.model.clear(),
            |line, over| shorten(&mut line.route, over, 8),
        ];
        for shorten in shorter {
            let over = self.length().saturating_sub(width);
            if over == 0 {
                return;
            }
            shorten(self, over);
        }
    }

    fn length(&self) -> usize {
        let words = self.words();
        let letters: usize = words.iter().map(|word| word.chars().count()).sum();
        letters + GAP.len() * words.len().saturating_sub(1)
    }

    fn words(&self) -> Vec<&str> {
        let all = [&self.time, &self.status, &self.latency, &self.account, &self.route];
        let all = all.into_iter().chain([&self.model, &self.tokens, &self.charged, &self.limited]);
        all.map(String::as_str).filter(|word| !word.is_empty()).collect()
    }
}

/// The line of a call, in at most so many characters, if they are enough for what matters.
fn line_of(ended: &Ended, colour: bool, width: Option<usize>) -> String {
    let mut line = Line::of(ended);
    if let Some(width) = width {
        line.fit(width);
    }
    if colour {
        let outcome = match (ended.status, ended.limited) {
            (_, true) => "\u{1b}[33m",
            (500.., _) => "\u{1b}[31m",
            (400.., _) => "\u{1b}[35m",
            _ => "\u{1b}[32m",
        };
        line.status = format!("{outcome}{}\u{1b}[0m", line.status);
    }
    line.words().join(GAP)
}

/// Takes up to so many characters out of the middle of a text, and leaves at least that many.
fn shorten(text: &mut String, over: usize, least: usize) {
    let length = text.chars().count();
    let left = length.saturating_sub(over).max(least);
    if left >= length {
        return;
    }
    let (head, tail) = (left / 2, left - left / 2 - 1);
    let begin: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    *text = format!("{begin}…{end}");
}

const GAP: &str = "  ";
const TOKENS: &str = " tokens";

#[cfg(test)]
mod tests {
    use super::{Ended, line_of};

    fn ended(route: &str, model: &str) -> Ended {
        Ended {
            at: "2026-11-30T12:34:56.789012Z".to_owned(),
            account_id: "acct_01k9z3v8m2c4f".to_owned(),
            key_id: "key_01k9z3v8m2c4f".to_owned(),
            route: route.to_owned(),
            model: model.to_owned(),
            status: 200,
            limited: false,
            input_tokens: 1_200,
            output_tokens: 345,
            charged: "0.0123".to_owned(),
            latency_ms: 812,
        }
    }

    #[track_caller]
    fn check(ended: &Ended, width: Option<usize>, expected: &str) {
        let line = line_of(ended, false, width);
        assert_eq!(line, expected);
        assert!(width.is_none_or(|width| line.chars().count() <= width), "{line}");
        // Colours take no room.
        let coloured = line_of(ended, true, width);
        assert_eq!(coloured.replace("\u{1b}[32m", "").replace("\u{1b}[0m", ""), line);
    }

    #[test]
    fn a_line_fits_the_terminal_and_is_whole_elsewhere() {
        let call = ended("POST /v1/chat/completions", "llama-3-8b-instruct");
        let whole = "12:34:56.789  200     812 ms  acct_01k9z3v8m2c4f  POST /v1/chat/completions  \
                     llama-3-8b-instruct  1200+345 tokens  0.0123";
        check(&call, None, whole);
        check(&call, Some(200), whole);
        check(&call, Some(whole.len()), whole);
        let at_120 = "12:34:56  200     812 ms  acct_01k9z3v8m2c4f  POST /v1/chat/completions  \
 llama-3-8b-instruct  1200+345 tokens  0.0123";
        check(&call, Some(120), at_120);
        let at_100 = "12:34:56  200     812 ms  acct_01k9z3v8m2c4f  POST /v1/ch…ompletions  llama-…truct  \
 1200+345  0.0123";
        check(&call, Some(100), at_100);
        let at_80 =
            "12:34:56  200     812 ms  acct_…2c4f  POST /v1/c…mpletions  llama-…truct  0.0123";
        check(&call, Some(80), at_80);
        let at_60 = "12:34:56  200     812 ms  acct_…2c4f  POST /v…etions  0.0123";
        check(&call, Some(60), at_60);
    }

    #[test]
    fn a_short_line_stays_as_it_is_at_80_columns() {
        let mut call = ended("GET /clusters/*", "");
        (call.input_tokens, call.output_tokens) = (0, 0);
        (call.status, call.limited, call.charged) = (429, true, "0.00".to_owned());
        let line = line_of(&call, false, Some(80));
        assert_eq!(
            line,
            "12:34:56.789  429     812 ms  acct_01k9z3v8m2c4f  GET /clusters/*  refused"
        );
    }

    #[test]
    fn whatever_a_call_names_its_line_fits() {
        for route in ["", "GET /", "POST /a/very/long/path/of/some/service/é/{id}/and/more/of/it/*"]
        {
            for model in ["", "m", "a-model-with-ä-name-that-goes-on-and-on-and-on-and-on"] {
                for width in 56..=160 {
                    let line = line_of(&ended(route, model), false, Some(width));
                    assert!(line.chars().count() <= width, "{width}: {line}");
                    assert!(line.ends_with("0.0123"), "{width}: {line}");
                }
            }
        }
    }
}
