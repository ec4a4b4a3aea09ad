//! Why a read of the stream fails.

use common::subject::STREAM;

/// Why the stream can't be read now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// The stream does not exist.
    #[error("the broker has no stream {STREAM}; run `ops provision`")]
    NoStream,
    /// A replica answered that may lack the newest messages.
    #[error("a replica of the stream lags behind")]
    Lagging,
    /// The read failed or timed out. It may work in a moment.
    #[error("the stream can't be read: {0}")]
    Unavailable(String),
}
