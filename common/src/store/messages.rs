//! What a new message looks like in the record; the same for both databases.

use super::ledger::{MessageRow, OutboxEntry, json};
use super::{Message, NewMessage, StoreError};
use crate::event::EventType;
use crate::status::{MessageStatus, Tally};

/// The version of a message that was just recorded.
const FIRST_VERSION: i64 = 1;

fn tally(message: &NewMessage) -> Tally {
    Tally::new(i32::try_from(message.recipients.len()).unwrap_or(i32::MAX))
}

/// The message as front ends see it.
pub(super) fn as_message(new: &NewMessage, estimated_seconds: Option<i64>) -> Message {
    Message {
        id: new.id,
        church_id: new.church_id.clone(),
        author_id: new.author_id.clone(),
        conversation_id: new.conversation_id.clone(),
        content: new.content.clone(),
        target_type: new.target_type.clone(),
        status: MessageStatus::Pending,
        version: FIRST_VERSION,
        tally: tally(new),
        failure_reason: None,
        sent_at: None,
        created_at: new.created_at,
        updated_at: new.created_at,
        estimated_seconds,
    }
}

/// Who it is sent as.
pub(super) fn sender(new: &NewMessage) -> &str {
    new.from_number.as_deref().or(new.messaging_profile_id.as_deref()).unwrap_or_default()
}

/// Its `message:sent` event.
pub(super) fn sent_event(new: &NewMessage) -> Result<OutboxEntry, StoreError> {
    let row = MessageRow {
        id: new.id,
        church_id: new.church_id.clone(),
        author_id: new.author_id.clone(),
        conversation_id: new.conversation_id.clone(),
        status: MessageStatus::Pending,
        version: FIRST_VERSION,
        tally: tally(new),
        failure_reason: None,
        sent_at: None,
        updated_at: new.created_at,
    };
    OutboxEntry::new(&row.event(EventType::Sent, new.created_at), false)
}

/// The pictures as JSON.
pub(super) fn media_urls(new: &NewMessage) -> Result<String, StoreError> {
    json(&new.media_urls)
}
