//! Why a change through the API is not made.

use std::fmt::Display;

use weir_core::wallet::Insufficient;
use weir_store::error::CommitError;

/// Why a change through the API is not made; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such resource.
    #[error("there is no such resource")]
    NotFound,
    /// A member of the request makes no sense.
    #[error("`{member}`: {why}")]
    Invalid {
        /// Which.
        member: String,
        /// What is wrong with it.
        why: String,
    },
    /// It contradicts the present state.
    #[error("{0}")]
    Conflict(String),
    /// The resource is at another revision than the caller expects.
    #[error("the resource has changed meanwhile")]
    Stale,
    /// The wallet does not cover it.
    #[error("the wallet does not cover it")]
    Credits(#[source] Insufficient),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
    /// It could not be made durable.
    #[error("the change could not be stored")]
    Store(#[from] CommitError),
    /// The store could not be read.
    #[error("the store could not be read")]
    Unreadable(#[source] weir_store::error::ReadError),
    /// It could not be written down.
    #[error("the change could not be written down")]
    Unwritable(#[from] serde_json::Error),
}

impl ChangeError {
    /// A member of the request that makes no sense.
    pub fn invalid(member: &str, why: impl Display) -> Self {
        Self::Invalid { member: member.to_owned(), why: why.to_string() }
    }
}
