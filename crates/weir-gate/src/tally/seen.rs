//! What a tally has seen so far.

use weir_core::usage::{Meter, Usage};

use super::count::Produced;

/// What an event of a stream is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventKind {
    /// It brings produced text.
    Content,
    /// OpenAI's extra chunk: usage and no choices.
    UsageOnly,
    /// The last event of a stream that came to its end: `[DONE]`, `message_stop`,
    /// `response.completed`, `.incomplete`, `.failed`.
    Terminal,
    /// The upstream tells of an error.
    Error,
    /// Anything else: roles, pings, comments, beginnings and ends of parts.
    Other,
}

/// What was seen so far, whatever the shape.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) reported: Option<Usage>,
    /// Output is not reported yet: what is reported of it is only a beginning.
    pub(super) output_pending: bool,
    /// The report is of input alone: right where nothing was produced.
    pub(super) output_untold: bool,
    /// The report is of output alone.
    pub(super) input_untold: bool,
    pub(super) produced: Produced,
    /// What had been produced when usage was reported last.
    pub(super) produced_at_report: Produced,
    pub(super) implausible: bool,
    pub(super) terminal: bool,
    pub(super) error: bool,
    /// The last event carried usage.
    pub(super) carried: bool,
}

impl Seen {
    /// Output that came after usage was reported last.
    pub(super) fn unreported(&self) -> Usage {
        self.produced.since(&self.produced_at_report).usage()
    }

    /// Whether some of the output is counted by what was produced beside a report.
    pub(super) fn is_completed(&self) -> bool {
        let untold = self.output_untold && self.produced.usage().output() > 0;
        self.output_pending || untold || self.unreported().output() > 0
    }

    /// The reported usage, completed by what was produced where it is known to be incomplete.
    pub(super) fn so_far(&self) -> Option<Usage> {
        let images = self.produced.images();
        let Some(mut usage) = self.reported else {
            return (images > 0).then(|| Usage::NONE.with(Meter::Image, images));
        };
        if self.output_pending || self.output_untold {
            let produced = self.produced.usage();
            if produced.output() > usage.output() {
                for meter in [Meter::OutputTokens, Meter::ReasoningTokens] {
                    usage.record(meter, produced.of(meter));
                }
            }
        } else {
            // An upstream that reports as it goes has not counted what came since.
            let since = self.unreported();
            for meter in [Meter::OutputTokens, Meter::ReasoningTokens] {
                usage.record(meter, usage.of(meter).saturating_add(since.of(meter)));
            }
        }
        Some(usage.with(Meter::Image, images.max(usage.of(Meter::Image))))
    }
}
