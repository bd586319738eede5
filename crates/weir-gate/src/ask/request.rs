//! A request to a model, and what is wrong with one.

use std::ops::Range;

use crate::json::Malformed;

/// The API that a body is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// OpenAI's `chat/completions`.
    Chat,
    /// OpenAI's `completions`.
    Completions,
    /// OpenAI's `responses`.
    Responses,
    /// OpenAI's `embeddings`.
    Embeddings,
    /// OpenAI's `images/…`.
    Images,
    /// OpenAI's `audio/…`.
    Audio,
    /// Anthropic's `messages`.
    Messages,
    /// None of these.
    Other,
}

/// What a request asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ask {
    /// The API it is for.
    pub endpoint: Endpoint,
    /// Whether only its members tell that, which are the client's to choose.
    pub guessed: bool,
    /// The model's name, never empty.
    pub model: Option<Box<str>>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// How many answers per prompt, at least 1.
    pub n: u32,
    /// How many answers to make per prompt in order to choose `n` of them, at least 1.
    pub best_of: u32,
    /// How many prompts are answered, at least 1; only completions take several.
    pub prompts: u32,
    /// Whether the stream is to end with a usage chunk; none if nothing is said of it.
    pub include_usage: Option<bool>,
    /// The service tier asked for.
    pub service_tier: Option<Box<str>>,
    /// A rough count of the input in tokens. It bounds nothing.
    ///
    /// Text of messages, prompts and tools by its length ([`crate::tally::estimated_tokens`]), one for
    /// each token given as a number, and a fixed allowance for each image ([`super::IMAGE_TOKENS`]), sound
    /// ([`super::AUDIO_TOKENS`]) and file ([`super::FILE_TOKENS`]).
    pub input_tokens: u64,
    /// A member that is given more than once.
    pub duplicate: Option<Duplicate>,
    pub(super) bounds: [Member<u64>; 3],
    pub(super) layout: Layout,
}

/// The output bound of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bound {
    /// The member that sets it.
    pub name: BoundName,
    /// Tokens of one answer, at least 1.
    pub tokens: u64,
}

/// The members that bound output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum BoundName {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
    /// `max_output_tokens`.
    MaxOutputTokens,
}

/// A member that decides something is given more than once, so that it depends on the reader which
/// one counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the member \"{0}\" is given more than once")]
pub struct Duplicate(pub &'static str);

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Readers could understand it in two ways.
    #[error(transparent)]
    Ambiguous(#[from] Duplicate),
    /// It is JSON, but no object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A member has a value that it cannot have.
    #[error("\"{member}\" must be {wanted}")]
    Wrong {
        /// Its name, dotted where it is inside another.
        member: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// It is no `multipart/form-data`.
    #[error("the body is not valid multipart/form-data")]
    NotMultipart,
}

/// A member's value and where its bytes are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Member<T> {
    /// None if it is absent or null, and for a bound of zero, which some upstreams take for none.
    pub(super) value: Option<T>,
    pub(super) at: Option<Range<usize>>,
}

/// Where in the body edits go; nowhere if it is no JSON.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Layout {
    /// Where another member goes.
    pub(super) top: Option<Gap>,
    /// The value of `stream_options`.
    pub(super) stream_options: Option<Range<usize>>,
    /// Where another member of `stream_options` goes, if it is an object.
    pub(super) in_stream_options: Option<Gap>,
    /// The value of `stream_options.include_usage`.
    pub(super) include_usage: Option<Range<usize>>,
}

/// The place behind the last member of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Gap {
    pub(super) at: usize,
    pub(super) first: bool,
}

impl Endpoint {
    /// The endpoint that a path ends with. A route with `usage = "anthropic"` is [`Self::Messages`]
    /// whatever its path: from its members alone such a body is taken for [`Self::Chat`].
    pub fn of_path(path: &str) -> Option<Self> {
        let mut segments = path.trim_end_matches('/').rsplit('/');
        let last = segments.next()?;
        let before = segments.next().unwrap_or_default();
        match (before, last) {
            ("chat", "completions") => Some(Self::Chat),
            (_, "completions") => Some(Self::Completions),
            (_, "responses") => Some(Self::Responses),
            (_, "embeddings") => Some(Self::Embeddings),
            ("images", _) => Some(Self::Images),
            ("audio", _) => Some(Self::Audio),
            (_, "messages") => Some(Self::Messages),
            _ => None,
        }
    }

    /// The member that bounds output where a request has none; none if there is nothing to bound.
    pub const fn default_bound(self) -> Option<BoundName> {
        match self {
            Self::Chat => Some(BoundName::MaxCompletionTokens),
            Self::Completions | Self::Messages => Some(BoundName::MaxTokens),
            Self::Responses => Some(BoundName::MaxOutputTokens),
            Self::Embeddings | Self::Images | Self::Audio | Self::Other => None,
        }
    }

    /// Whether a member bounds output at this endpoint. What its upstreams do not know they pass
    /// over, so that it bounds nothing, and nothing may be held by it.
    pub const fn takes(self, name: BoundName) -> bool {
        match self {
            Self::Chat => matches!(name, BoundName::MaxTokens | BoundName::MaxCompletionTokens),
            Self::Completions | Self::Messages => matches!(name, BoundName::MaxTokens),
            Self::Responses => matches!(name, BoundName::MaxOutputTokens),
            Self::Embeddings | Self::Images | Self::Audio | Self::Other => true,
        }
    }
}

impl BoundName {
    pub(super) const ALL: [Self; 3] =
        [Self::MaxTokens, Self::MaxCompletionTokens, Self::MaxOutputTokens];

    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
        }
    }
}

impl Ask {
    /// The output bound; where several are set, the largest, since it depends on the upstream which
    /// one counts. None also if it is set to zero, which some upstreams take for none, or by members
    /// that are none of this endpoint's.
    pub fn bound(&self) -> Option<Bound> {
        let bounds = BoundName::ALL.into_iter().zip(&self.bounds);
        bounds
            .filter(|(name, _)| self.endpoint.takes(*name))
            .filter_map(|(name, member)| member.value.map(|tokens| Bound { name, tokens }))
            .max_by_key(|bound| bound.tokens)
    }

    /// How many answers the upstream makes: what multiplies the output bound.
    pub fn answers(&self) -> u64 {
        u64::from(self.n.max(self.best_of)).saturating_mul(u64::from(self.prompts))
    }

    /// Makes sure that the request means the same to every reader. To be asked wherever something
    /// must change or money is decided.
    ///
    /// # Errors
    ///
    /// [`Duplicate`] when a member that decides something is given more than once.
    pub const fn unambiguous(&self) -> Result<(), Duplicate> {
        match self.duplicate {
            Some(duplicate) => Err(duplicate),
            None => Ok(()),
        }
    }

    /// A request that asks for nothing yet.
    pub(super) fn blank(endpoint: Option<Endpoint>) -> Self {
        Self {
            endpoint: endpoint.unwrap_or(Endpoint::Other),
            guessed: endpoint.is_none(),
            model: None,
            stream: false,
            n: 1,
            best_of: 1,
            prompts: 1,
            include_usage: None,
            service_tier: None,
            input_tokens: 0,
            duplicate: None,
            bounds: [Member::ABSENT; 3],
            layout: Layout::default(),
        }
    }
}

impl Unreadable {
    /// The member at fault, for `error.param`.
    pub const fn param(&self) -> Option<&'static str> {
        match self {
            Self::Wrong { member, .. } | Self::Ambiguous(Duplicate(member)) => Some(member),
            Self::Malformed(_) | Self::NotAnObject | Self::NotMultipart => None,
        }
    }
}

impl<T> Member<T> {
    const ABSENT: Self = Self { value: None, at: None };
}
