//! Why a token is refused, in the words of clients and of metrics.

use common::claims::TokenError;

/// The label of a refused token in metrics.
pub(crate) fn token_error_label(error: TokenError) -> &'static str {
    match error {
        TokenError::Missing => "missing",
        TokenError::Invalid => "invalid",
        TokenError::Expired => "expired",
        TokenError::Revoked => "revoked",
        TokenError::ChurchMissing => "church_missing",
        TokenError::ChurchMalformed(_) => "church_malformed",
    }
}

/// Why a token does not replace the one in use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefreshError {
    /// The new one is refused.
    #[error("Authentication error: {0}")]
    Token(#[from] TokenError),
    /// It is of another user or church.
    #[error("Authentication error: token of another user")]
    Another,
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

impl RefreshError {
    /// The label in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Token(error) => token_error_label(*error),
            Self::Another => "another_user",
            Self::NotNewer => "not_newer",
            Self::TooLate => "too_late",
            Self::TooSoon => "too_soon",
        }
    }
}
