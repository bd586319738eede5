//! What a limit is made of: unit, algorithm, anchor, period.

use crate::calendar::Zone;
use crate::time::Span;

/// A limit's stable name as a number. The engine assigns it once and keeps it across policies.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LimitId(pub u32);

/// What a limit counts.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Unit {
    /// Calls.
    #[default]
    Requests,
    /// Tokens of every kind ([`crate::usage::Usage::tokens`]).
    Tokens,
    /// Money, in billionths of the currency unit.
    Credits,
}

impl Unit {
    /// The name in configuration and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Credits => "credits",
        }
    }

    /// The unit of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Requests, Self::Tokens, Self::Credits].into_iter().find(|unit| unit.name() == name)
    }
}

/// How a limit counts; what each promises at a window's edge stands in `window/`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// One count per window, from nothing at each window's start: up to twice the quota across an edge.
    #[default]
    FixedWindow,
    /// Two counts, the older one fading out: at most `quota * (1 + L / window)` in any stretch `L`.
    SlidingWindow,
    /// Refills evenly up to the burst: at most `burst + refill` in any stretch of time.
    TokenBucket,
    /// How many run at once; time plays no part.
    Concurrency,
}

impl Algorithm {
    /// The name in configuration and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedWindow => "fixed-window",
            Self::SlidingWindow => "sliding-window",
            Self::TokenBucket => "token-bucket",
            Self::Concurrency => "concurrency",
        }
    }

    /// The algorithm of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::FixedWindow, Self::SlidingWindow, Self::TokenBucket, Self::Concurrency]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// Where windows begin.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Anchor {
    /// With the first thing counted after the window before it is over.
    #[default]
    FirstRequest,
    /// Where the calendar of a zone has its seconds, minutes, hours, days, weeks or months.
    Calendar(Zone),
}

/// Whether a limit refuses, or only counts and reports what it would have refused.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Mode {
    /// It refuses.
    #[default]
    Enforce,
    /// It only reports.
    Shadow,
}

/// How long a window is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Period {
    /// A fixed length, 1 ms to 400 days.
    Span(Span),
    /// Calendar months, 1 to 12. Where windows do not follow the calendar a month is 30 days.
    Months(u8),
}

impl Period {
    /// One second.
    pub const SECOND: Self = Self::Span(Span::SECOND);
    /// Sixty seconds.
    pub const MINUTE: Self = Self::Span(Span::from_secs(60));
    /// Sixty minutes.
    pub const HOUR: Self = Self::Span(Span::from_secs(3_600));
    /// Twenty-four hours; by the calendar from midnight to midnight.
    pub const DAY: Self = Self::Span(Span::from_secs(86_400));
    /// One month.
    pub const MONTH: Self = Self::Months(1);

    /// The length where windows do not follow the calendar.
    pub const fn nominal(self) -> Span {
        match self {
            Self::Span(span) => span,
            Self::Months(months) => Span::from_secs(months as i64 * 30 * 86_400),
        }
    }
}

/// What a rule is made of, before it is checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Units per window, at most [`crate::limit::Rule::QUOTA_MAX`]; `None` is unlimited, 0 refuses everything.
    pub quota: Option<u64>,
    /// The window; no meaning with [`Algorithm::Concurrency`].
    pub period: Period,
    /// How it counts.
    pub algorithm: Algorithm,
    /// Where windows begin.
    pub anchor: Anchor,
    /// Most that a token bucket can hold; `None` is the quota.
    pub burst: Option<u64>,
    /// What it counts.
    pub unit: Unit,
    /// Share of the quota that only urgent calls may use, in millionths.
    pub reserve_ppm: u32,
    /// Whether it refuses.
    pub mode: Mode,
}

impl Terms {
    /// The default kind of limit: requests in fixed windows from the first request, enforced.
    pub const fn new(quota: Option<u64>, period: Period) -> Self {
        Self {
            quota,
            period,
            algorithm: Algorithm::FixedWindow,
            anchor: Anchor::FirstRequest,
            burst: None,
            unit: Unit::Requests,
            reserve_ppm: 0,
            mode: Mode::Enforce,
        }
    }
}
