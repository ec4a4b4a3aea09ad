//! Why the gateway closes a client's transport.

use crate::connections::Refusal;

/// Why the gateway closes a client's transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client does not keep up.
    Slow,
    /// The stream does not answer, so the client's cursor can't be judged.
    StreamUnavailable,
    /// Its token has expired.
    TokenExpired,
    /// Its token was revoked.
    TokenRevoked,
    /// A limit is reached.
    Refused(Refusal),
    /// The gateway stops.
    Stopping,
    /// The socket has disconnected; only its transport may be left.
    Gone,
}

impl CloseReason {
    /// The label in metrics and logs.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::StreamUnavailable => "stream_unavailable",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::Refused(refusal) => refusal.label(),
            Self::Stopping => "stopping",
            Self::Gone => "gone",
        }
    }
}
