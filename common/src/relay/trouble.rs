//! Why events wait in the outbox although this process relays.

use async_nats::jetstream::context::{PublishError, PublishErrorKind};

use crate::store::StoreError;
use crate::subject::STREAM;

/// Why rows still wait.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Another process holds the lease now.
    #[error("another process relays the outbox now")]
    LeaseLost,
    /// The database can't be read or written.
    #[error("the outbox can't be read or marked")]
    Store(#[source] StoreError),
    /// There is no stream, or it has no leader at the moment.
    #[error(
        "the broker has no stream {STREAM}; run `ops provision`, or, if the broker's disk was full, free it and restart \
         nats-server"
    )]
    NoStream,
    /// The broker can't store anything more.
    #[error("the broker's storage is full; free it and restart nats-server, which refuses until then")]
    StorageFull,
    /// The broker refused for lack of permission.
    #[error("the broker does not let this service publish; check its permissions in nats.conf")]
    Denied,
    /// The broker did not answer, or with an error.
    #[error("the broker did not take an event")]
    Publish(#[source] PublishError),
    /// The stream's end is found elsewhere at each attempt.
    #[error("the stream changes while events are announced")]
    Unstable,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LeaseLost => Self::LeaseLost,
            other => Self::Store(other),
        }
    }
}

impl Trouble {
    /// Whether this process can't reach the stream, although another one may.
    pub(super) fn is_cut_off(&self) -> bool {
        match self {
            Self::NoStream | Self::Denied => true,
            Self::Publish(error) => {
                matches!(error.kind(), PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe)
            }
            // A full broker is full for everybody.
            Self::StorageFull | Self::LeaseLost | Self::Store(_) | Self::Unstable => false,
        }
    }
}
