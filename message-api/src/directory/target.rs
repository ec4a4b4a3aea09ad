//! Whose recipients are asked for, and why there are none.

/// Most recipients of a message.
pub(crate) const MAX_RECIPIENTS: usize = 10_000;

/// The kinds of target.
pub(crate) const TARGET_TYPES: [&str; 4] = ["individual", "groups", "branches", "all"];

/// Who is meant: a kind of target, and which of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// One of [`TARGET_TYPES`].
    pub(crate) kind: String,
    /// Ids in the product's own words.
    pub(crate) ids: Vec<String>,
}

/// Why a target has no recipients.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRecipients {
    /// The back end does not know these ids; none are named if it knows nothing of the target.
    #[error("the target is not known")]
    Unknown(Vec<String>),
    /// Nobody belongs to the target.
    #[error("nobody belongs to the target")]
    Nobody,
    /// More than a message may have.
    #[error("the target has more than {MAX_RECIPIENTS} recipients")]
    TooMany,
    /// The back end did not answer in time.
    #[error("it does not answer in time")]
    Slow,
    /// The back end is down, or answers something else than the contract.
    #[error("{0}")]
    Wrong(&'static str),
}
