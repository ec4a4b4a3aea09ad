//! What the broker's refusal of a publish means.

use std::error::Error;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use uuid::Uuid;

/// A full disk in the words of nats-server, of its codes 10023, 10047 and 10077, and of the system.
const STORAGE_FULL: [&str; 5] = [
    "no space left",
    "insufficient storage",
    "insufficient resources",
    "storage resources exceeded",
    "resource limits exceeded",
];

/// Why an event was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The stream's last event is this one, and another one was expected.
    LastIs(Uuid),
    /// The stream's last event is not the expected one, and the server does not know its id.
    LastIsUnknown,
    /// The stream's last sequence is this one, and another one was expected.
    EndsAt(i64),
    /// The stream ends elsewhere, and the answer can't be read.
    EndsSomewhere,
    /// The event is larger than the broker or the stream takes, at each attempt.
    TooLarge,
    /// Nothing can be stored until there is space again.
    StorageFull,
    /// There is no stream.
    NoStream,
    /// No answer came, which is all that a denied publish shows.
    TimedOut,
    /// Anything else.
    Other,
}

impl Refusal {
    pub(super) fn of(error: &PublishError) -> Self {
        if is_too_large(error) {
            return Self::TooLarge;
        }
        match error.kind() {
            // `wrong last msg ID: <id>`
            PublishErrorKind::WrongLastMessageId => {
                last_word(error).and_then(|id| id.parse().ok()).map_or(Self::LastIsUnknown, Self::LastIs)
            }
            // `wrong last sequence: <number>`
            PublishErrorKind::WrongLastSequence => {
                last_word(error).and_then(|at| at.parse().ok()).map_or(Self::EndsSomewhere, Self::EndsAt)
            }
            _ if is_storage_full(error) => Self::StorageFull,
            PublishErrorKind::StreamNotFound => Self::NoStream,
            PublishErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Other,
        }
    }

    /// Whether the server's answer proves that this attempt stored nothing.
    pub(super) fn is_proof(self) -> bool {
        !matches!(self, Self::StorageFull | Self::NoStream | Self::TimedOut | Self::Other)
    }
}

/// A refusal in the server's own words.
pub(super) fn words(error: &PublishError) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn is_too_large(error: &PublishError) -> bool {
    let by_stream = |answer: &async_nats::jetstream::Error| {
        answer.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
    };
    error.kind() == PublishErrorKind::MaxPayloadExceeded || answer(error).is_some_and(by_stream)
}

/// Whether an error, or what is behind it, says that nothing more can be stored.
fn is_storage_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let said = error.to_string().to_lowercase();
        if STORAGE_FULL.iter().any(|words| said.contains(words)) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn last_word(error: &PublishError) -> Option<String> {
    let text = answer(error)?.to_string();
    let (_, after) = text.split_once(": ")?;
    after.split(|c: char| c.is_whitespace() || c == ',').find(|word| !word.is_empty()).map(str::to_owned)
}

fn answer(error: &PublishError) -> Option<&async_nats::jetstream::Error> {
    error.source()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_by_what_the_broker_says() {
        let error = |said: &str| std::io::Error::other(said.to_owned());
        assert!(is_storage_full(&error("write /var/lib/nats/1.blk: no space left on device")));
        assert!(is_storage_full(&error(
            "503 error 10047: Insufficient Storage Resources Exceeded on server"
        )));
        assert!(!is_storage_full(&error("timed out")));
    }
}
