//! What the stream's answers to a publish mean.

use std::error::Error as _;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use uuid::Uuid;

/// The stream did not store it, because its last event is another one than expected.
pub(super) fn is_out_of_place(error: &PublishError) -> bool {
    matches!(error.kind(), PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence)
}

/// The event itself is larger than the broker or the stream takes; it will be so at each attempt.
pub(super) fn is_too_large(error: &PublishError) -> bool {
    let by_stream = |answer: &async_nats::jetstream::Error| {
        answer.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
    };
    error.kind() == PublishErrorKind::MaxPayloadExceeded || answer(error).is_some_and(by_stream)
}

/// The stream's last id as the server says it: `wrong last msg ID: <id>`.
pub(super) fn last_id(refusal: &PublishError) -> Option<Uuid> {
    last_word(refusal)?.parse().ok()
}

/// The stream's last sequence as the server says it: `wrong last sequence: <number>`.
pub(super) fn last_sequence(refusal: &PublishError) -> Option<i64> {
    last_word(refusal)?.parse().ok()
}

/// A refusal in the server's own words.
pub(super) fn words(refusal: &PublishError) -> String {
    refusal.source().map_or_else(|| refusal.to_string(), ToString::to_string)
}

fn last_word(refusal: &PublishError) -> Option<String> {
    let text = answer(refusal)?.to_string();
    let (_, after) = text.split_once(": ")?;
    after.split(|c: char| c.is_whitespace() || c == ',').find(|word| !word.is_empty()).map(str::to_owned)
}

fn answer(error: &PublishError) -> Option<&async_nats::jetstream::Error> {
    error.source()?.downcast_ref()
}
