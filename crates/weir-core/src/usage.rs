//! What is counted: meters, and how much of each one call used.

/// Something that is counted and may have a price. Token meters are exclusive: a token is counted
/// in exactly one of them (cached input is not also input), whatever the upstream's habit.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Meter {
    /// Prompt tokens, neither cached nor audio.
    InputTokens,
    /// Prompt tokens read from the upstream's cache.
    CachedInputTokens,
    /// Prompt tokens written into the upstream's cache.
    CacheWriteTokens,
    /// Generated tokens, neither reasoning nor audio.
    OutputTokens,
    /// Generated tokens that the caller does not see.
    ReasoningTokens,
    /// Audio prompt tokens.
    AudioInputTokens,
    /// Audio generated tokens.
    AudioOutputTokens,
    /// Generated images.
    Image,
    /// Calls.
    Request,
    /// Time, in milliseconds (priced per second).
    Second,
    /// Bytes of the response body.
    Byte,
}

impl Meter {
    /// Every meter, in the order of their discriminants.
    pub const ALL: [Self; 11] = [
        Self::InputTokens,
        Self::CachedInputTokens,
        Self::CacheWriteTokens,
        Self::OutputTokens,
        Self::ReasoningTokens,
        Self::AudioInputTokens,
        Self::AudioOutputTokens,
        Self::Image,
        Self::Request,
        Self::Second,
        Self::Byte,
    ];

    /// The name in configuration and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InputTokens => "input_tokens",
            Self::CachedInputTokens => "cached_input_tokens",
            Self::CacheWriteTokens => "cache_write_tokens",
            Self::OutputTokens => "output_tokens",
            Self::ReasoningTokens => "reasoning_tokens",
            Self::AudioInputTokens => "audio_input_tokens",
            Self::AudioOutputTokens => "audio_output_tokens",
            Self::Image => "image",
            Self::Request => "request",
            Self::Second => "second",
            Self::Byte => "byte",
        }
    }

    /// The meter of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|meter| meter.name() == name)
    }
}

/// How much of each meter one call used. Amounts of [`Meter::Second`] are milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage([u64; Meter::ALL.len()]);

impl Usage {
    /// Nothing of anything.
    pub const NONE: Self = Self([0; Meter::ALL.len()]);

    /// The amount of one meter.
    pub const fn of(&self, meter: Meter) -> u64 {
        self.0[meter as usize]
    }

    /// The same usage with another amount of one meter.
    #[must_use]
    pub const fn with(mut self, meter: Meter, amount: u64) -> Self {
        self.0[meter as usize] = amount;
        self
    }

    /// Changes the amount of one meter.
    pub const fn record(&mut self, meter: Meter, amount: u64) {
        self.0[meter as usize] = amount;
    }

    /// Prompt tokens of every kind; saturates.
    pub fn input(&self) -> u64 {
        self.sum(&[
            Meter::InputTokens,
            Meter::CachedInputTokens,
            Meter::CacheWriteTokens,
            Meter::AudioInputTokens,
        ])
    }

    /// Generated tokens of every kind; saturates.
    pub fn output(&self) -> u64 {
        self.sum(&[Meter::OutputTokens, Meter::ReasoningTokens, Meter::AudioOutputTokens])
    }

    /// Tokens of every kind; saturates. What token limits count.
    pub fn tokens(&self) -> u64 {
        self.input().saturating_add(self.output())
    }

    /// Meters with an amount, in the order of [`Meter::ALL`].
    pub fn amounts(&self) -> impl Iterator<Item = (Meter, u64)> {
        Meter::ALL.into_iter().zip(self.0).filter(|(_, amount)| *amount > 0)
    }

    fn sum(&self, meters: &[Meter]) -> u64 {
        meters.iter().fold(0, |sum: u64, meter| sum.saturating_add(self.of(*meter)))
    }
}
