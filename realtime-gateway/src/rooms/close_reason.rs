//! Why the gateway closes a client's transport.

use crate::connections::Refusal;

/// Why the gateway closes a client's transport. Its name in snake case is the label in metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
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
    #[strum(transparent)]
    Refused(Refusal),
    /// The gateway stops.
    Stopping,
    /// The socket has disconnected; only its transport may be left.
    Gone,
}
