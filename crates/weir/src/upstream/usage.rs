//! The usage that an answer reports, in each vendor's shape, true or as distorted as asked.

use std::sync::Arc;

use crate::upstream::knobs::{Knobs, UsageMode};

/// Tokens of one answer. `cached` is part of `input`.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    input: u64,
    cached: u64,
    output: u64,
    mode: UsageMode,
    /// Reported in place of any figures.
    verbatim: Option<Arc<str>>,
}

impl Usage {
    /// The knobs may overrule the counted input and its cached part.
    pub(crate) fn new(input: u64, output: u64, knobs: &Knobs) -> Self {
        let input = knobs.input_tokens.unwrap_or(input);
        let cached = match knobs.usage {
            UsageMode::CachedAboveInput => input + 100,
            _ => knobs.cached_tokens.unwrap_or(0).min(input),
        };
        Self { input, cached, output, mode: knobs.usage, verbatim: knobs.usage_json.clone() }
    }

    /// The same with another output, for a stream that reports as it goes.
    pub(crate) fn with_output(&self, output: u64) -> Self {
        Self { output, ..self.clone() }
    }

    /// Whether each chunk of a stream reports.
    pub(crate) fn on_every_chunk(&self) -> bool {
        self.mode == UsageMode::EveryChunk
    }

    /// How often the final usage of a stream is sent: 0 to 2 times.
    pub(crate) fn repeats(&self) -> u64 {
        match self.mode {
            UsageMode::Missing => 0,
            UsageMode::Double => 2,
            _ => 1,
        }
    }

    /// OpenAI chat and completions: `prompt_tokens`, `completion_tokens`.
    pub(crate) fn chat(&self) -> String {
        self.or_verbatim(format!(
            r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
            self.figure(self.input),
            self.figure(self.output),
            self.figure(self.input + self.output),
            self.figure(self.cached),
        ))
    }

    /// OpenAI embeddings: input only.
    pub(crate) fn embedding(&self) -> String {
        let input = self.figure(self.input);
        self.or_verbatim(format!(r#"{{"prompt_tokens":{input},"total_tokens":{input}}}"#))
    }

    /// OpenAI responses and images: `input_tokens`, `output_tokens`.
    pub(crate) fn response(&self) -> String {
        self.or_verbatim(format!(
            r#"{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":{}}},"output_tokens":{},"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":{}}}"#,
            self.figure(self.input),
            self.figure(self.cached),
            self.figure(self.output),
            self.figure(self.input + self.output),
        ))
    }

    /// Anthropic: `input_tokens` without the cached ones, which stand apart.
    pub(crate) fn message(&self) -> String {
        self.or_verbatim(format!(
            r#"{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"output_tokens":{}}}"#,
            self.figure(self.input.saturating_sub(self.cached)),
            self.figure(0),
            self.figure(self.cached),
            self.figure(self.output),
        ))
    }

    /// One count under a name of the product: images, seconds, characters.
    pub(crate) fn units(&self, name: &str) -> String {
        self.or_verbatim(format!(r#"{{"{name}":{}}}"#, self.figure(self.output)))
    }

    /// Adds a `usage` member to the text of a JSON object with at least one member: none, one or two.
    pub(crate) fn append(&self, object: &mut String, usage: &str) {
        if object.pop().is_none() {
            return;
        }
        for _ in 0..self.repeats() {
            object.push_str(",\"usage\":");
            object.push_str(usage);
        }
        object.push('}');
    }

    fn or_verbatim(&self, figures: String) -> String {
        self.verbatim.as_deref().map_or(figures, str::to_owned)
    }

    fn figure(&self, count: u64) -> String {
        match self.mode {
            UsageMode::Negative => format!("-{}", count.max(1)),
            UsageMode::Huge => i64::MAX.to_string(),
            UsageMode::Quoted => format!("\"{count}\""),
            UsageMode::Float => format!("{count}.5"),
            UsageMode::Exact
            | UsageMode::Missing
            | UsageMode::Double
            | UsageMode::CachedAboveInput
            | UsageMode::EveryChunk => count.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mode: UsageMode, expected: &str) {
        let knobs = Knobs { usage: mode, ..Knobs::default() };
        let usage = Usage::new(12, 0, &knobs);
        let mut object = String::from(r#"{"a":1}"#);
        usage.append(&mut object, &usage.embedding());
        assert_eq!(object, expected);
    }

    #[test]
    fn usage_is_distorted_as_asked() {
        check(UsageMode::Exact, r#"{"a":1,"usage":{"prompt_tokens":12,"total_tokens":12}}"#);
        check(UsageMode::Missing, r#"{"a":1}"#);
        check(UsageMode::Negative, r#"{"a":1,"usage":{"prompt_tokens":-12,"total_tokens":-12}}"#);
        check(UsageMode::Quoted, r#"{"a":1,"usage":{"prompt_tokens":"12","total_tokens":"12"}}"#);
        check(UsageMode::Float, r#"{"a":1,"usage":{"prompt_tokens":12.5,"total_tokens":12.5}}"#);
        let once = r#""usage":{"prompt_tokens":12,"total_tokens":12}"#;
        check(UsageMode::Double, &format!(r#"{{"a":1,{once},{once}}}"#));
    }

    #[test]
    fn usage_is_whatever_it_is_told_to_be() {
        let knobs = Knobs { usage_json: Some("[-1".into()), ..Knobs::default() };
        let usage = Usage::new(12, 3, &knobs);
        let told = [usage.chat(), usage.response(), usage.message(), usage.embedding()];
        assert!(told.iter().all(|told| told == "[-1"), "{told:?}");
    }

    #[test]
    fn the_cached_part_stays_within_the_input_unless_asked_otherwise() {
        let knobs = Knobs { cached_tokens: Some(99), ..Knobs::default() };
        assert!(Usage::new(12, 3, &knobs).chat().contains(r#""cached_tokens":12,"#));
        let knobs = Knobs { usage: UsageMode::CachedAboveInput, ..Knobs::default() };
        assert!(Usage::new(12, 3, &knobs).chat().contains(r#""cached_tokens":112,"#));
    }
}
