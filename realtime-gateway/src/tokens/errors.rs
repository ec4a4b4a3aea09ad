//! Why a token is refused, in the words of clients and of metrics.

use common::claims::TokenError;

/// Why a token does not replace the one in use. Its name in snake case is the label in metrics.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum RefreshError {
    /// The new one is refused.
    #[error("Authentication error: {0}")]
    #[strum(transparent)]
    Token(#[from] TokenError),
    /// It is of another user or church.
    #[error("Authentication error: token of another user")]
    AnotherUser,
    /// It is the one in use, or an older one.
    #[error("the token is no newer than the one in use, send a fresh one")]
    NotNewer,
    /// The connection is being closed.
    #[error("too late, the connection is being closed")]
    TooLate,
    /// The client tried a moment ago.
    #[error("too many attempts, try again in a second")]
    TooSoon,
}
