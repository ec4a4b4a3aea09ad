//! A message's life, as it is recorded: what operators ask for.

use time::OffsetDateTime;
use uuid::Uuid;

use super::messages::Failure;
use crate::status::RecipientState;
use crate::subject::ChurchId;

/// A message that was looked for by one of the ids that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundMessage {
    /// Its church.
    pub church_id: ChurchId,
    /// The message.
    pub message_id: Uuid,
    /// The recipient, if that was looked for.
    pub recipient_id: Option<Uuid>,
}

/// How a message was asked for, beside what front ends see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The number it is sent from.
    pub from_number: Option<String>,
    /// The Telnyx messaging profile it is sent with.
    pub messaging_profile_id: Option<String>,
    /// Not before this moment.
    pub send_at: Option<OffsetDateTime>,
    /// Who cancelled it.
    pub cancelled_by: Option<String>,
}

/// What happened to one recipient.
#[derive(Debug, Clone, PartialEq)]
pub struct RecipientLife {
    /// The recipient.
    pub id: Uuid,
    /// E.164.
    pub phone: String,
    /// How far it got.
    pub state: RecipientState,
    /// Who it is sent as.
    pub sender: String,
    /// When it is due, or was due for its last attempt.
    pub due_at: OffsetDateTime,
    /// When the last attempt was committed, unless Telnyx certainly did not accept it.
    pub attempted_at: Option<OffsetDateTime>,
    /// How many attempts Telnyx certainly did not accept.
    pub tried: i32,
    /// Telnyx's id.
    pub provider_id: Option<String>,
    /// How often Telnyx was asked what became of it.
    pub asked: i32,
    /// When Telnyx is asked next.
    pub ask_at: Option<OffsetDateTime>,
    /// When it was delivered, by Telnyx's clock.
    pub delivered_at: Option<OffsetDateTime>,
    /// When it failed.
    pub failed_at: Option<OffsetDateTime>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The message that tries again to reach it.
    pub retry_id: Option<Uuid>,
}

/// A webhook, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptWebhook {
    /// Telnyx's event id.
    pub event_id: String,
    /// Telnyx's event type.
    pub event_type: String,
    /// Its outcome, as stored.
    pub outcome: String,
    /// Why it was ignored.
    pub reason: Option<String>,
    /// The recipient that it was applied to.
    pub recipient_id: Option<Uuid>,
    /// Telnyx's id of the message.
    pub provider_id: Option<String>,
    /// How often it came.
    pub deliveries: i64,
    /// When it happened, according to Telnyx.
    pub occurred_at: Option<OffsetDateTime>,
    /// When it came first.
    pub received_at: OffsetDateTime,
}

/// An event of a message in the outbox, or among the refused ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTrace {
    /// The event.
    pub event_id: Uuid,
    /// The message's version.
    pub version: i64,
    /// When it was recorded.
    pub created_at: OffsetDateTime,
    /// Its sequence in the stream.
    pub stream_seq: Option<i64>,
    /// When the stream stored it.
    pub announced_at: Option<OffsetDateTime>,
    /// When it was left out, because a newer event of the message waited.
    pub superseded_at: Option<OffsetDateTime>,
    /// Why the stream refuses it for good.
    pub refused: Option<String>,
}
