//! Messages and their recipients.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::status::{MessageStatus, RecipientState, Tally};
use crate::subject::ChurchId;
use crate::trace_context::TraceParent;

/// A message to record, with all its recipients.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// UUID v7, made by the caller.
    pub id: Uuid,
    /// The church it belongs to.
    pub church_id: ChurchId,
    /// Who wrote it.
    pub author_id: String,
    /// The conversation it belongs to.
    pub conversation_id: Option<String>,
    /// The text.
    pub content: String,
    /// `individual`, `groups`, `branches` or `all`.
    pub target_type: String,
    /// Pictures, at most ten.
    pub media_urls: Vec<String>,
    /// The number it is sent from.
    pub from_number: Option<String>,
    /// The Telnyx messaging profile it is sent with.
    pub messaging_profile_id: Option<String>,
    /// Not before this moment.
    pub send_at: Option<OffsetDateTime>,
    /// At least one.
    pub recipients: Vec<NewRecipient>,
    /// When it was accepted.
    pub created_at: OffsetDateTime,
    /// The trace of the request; its event keeps it.
    pub trace_parent: Option<TraceParent>,
}

impl NewMessage {
    /// Who it is sent as: the number, else the messaging profile.
    pub(in crate::store) fn sender(&self) -> &str {
        self.from_number.as_deref().or(self.messaging_profile_id.as_deref()).unwrap_or_default()
    }
}

/// One recipient of a new message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecipient {
    /// UUID v7, made by the caller.
    pub id: Uuid,
    /// E.164.
    pub phone: String,
    /// The member of the church's directory, if it is one.
    pub member_id: Option<String>,
    /// First name, for the front end.
    pub first_name: Option<String>,
    /// Last name, for the front end.
    pub last_name: Option<String>,
}

/// A client's key that makes a repeated send harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The header's value; unique per church.
    pub key: String,
    /// A digest of the request's body: the same key with another body is a mistake.
    pub body_digest: Vec<u8>,
}

/// How recording a message ended.
#[derive(Debug, Clone)]
pub enum Recorded {
    /// It is new.
    New(Message),
    /// The same request was recorded before; this is its message.
    Repeated(Message),
    /// The key was used for another body.
    KeyReused,
}

/// A message as front ends see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The message.
    pub id: Uuid,
    /// Its church.
    pub church_id: ChurchId,
    /// Its author.
    pub author_id: String,
    /// Its conversation.
    pub conversation_id: Option<String>,
    /// The text.
    pub content: String,
    /// `individual`, `groups`, `branches` or `all`.
    pub target_type: String,
    /// Its status.
    pub status: MessageStatus,
    /// Rises with each change of status or counters; 1 when recorded.
    pub version: i64,
    /// Its recipients, counted.
    pub tally: Tally,
    /// Reason of the recipient that failed last.
    pub failure_reason: Option<String>,
    /// When Telnyx accepted the first recipient.
    pub sent_at: Option<OffsetDateTime>,
    /// When it was recorded.
    pub created_at: OffsetDateTime,
    /// When it last got a new version.
    pub updated_at: OffsetDateTime,
    /// The message that it retries.
    pub retry_of: Option<Uuid>,
    /// Seconds until the last recipient is sent, as estimated when the message was recorded; `None` before any process
    /// has published its rate.
    pub estimated_seconds: Option<i64>,
}

/// A recipient as front ends see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipient {
    /// The recipient.
    pub id: Uuid,
    /// Its place among the message's recipients, from 0.
    pub ordinal: i64,
    /// E.164.
    pub phone: String,
    /// The member of the church's directory.
    pub member_id: Option<String>,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// How far it got.
    pub state: RecipientState,
    /// When the message was delivered, by Telnyx's clock.
    pub delivered_at: Option<OffsetDateTime>,
    /// When it failed.
    pub failed_at: Option<OffsetDateTime>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// A page of a message's recipients.
#[derive(Debug, Clone)]
pub struct RecipientQuery {
    /// Rows at most.
    pub limit: u32,
    /// Only recipients after this place; `None` begins with the first.
    pub after: Option<i64>,
    /// Only recipients of this status; `None` means all.
    pub status: Option<MessageStatus>,
}

/// Why a recipient failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Telnyx's code (`40300`), or one of ours (`unresolved`).
    pub code: String,
    /// A sentence for people.
    pub reason: String,
}

/// A page of a church's history.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// Rows a page, 1 to 100.
    pub limit: u32,
    /// Rows to skip before the page; not together with `before`.
    pub offset: u64,
    /// Only messages older than this one (creation time and id), for paging without gaps.
    pub before: Option<(OffsetDateTime, Uuid)>,
    /// Only messages of these statuses, each named once; all if empty.
    pub statuses: Vec<MessageStatus>,
    /// Only messages that changed at or after this moment.
    pub updated_since: Option<OffsetDateTime>,
}

/// Failure code of a recipient whose message was cancelled before it was sent.
pub const CANCELLED: &str = "cancelled";

/// A message that tries again to reach recipients of an earlier one.
#[derive(Debug, Clone)]
pub struct NewRetry {
    /// UUID v7 of the new message, made by the caller.
    pub id: Uuid,
    /// The church of both.
    pub church_id: ChurchId,
    /// The earlier message.
    pub retry_of: Uuid,
    /// Who asks for it.
    pub author_id: String,
    /// The number it is sent from.
    pub from_number: Option<String>,
    /// The Telnyx messaging profile it is sent with.
    pub messaging_profile_id: Option<String>,
    /// Also recipients of whom nobody knows whether the text reached them.
    pub include_unresolved: bool,
    /// When it was accepted.
    pub created_at: OffsetDateTime,
    /// The trace of the request; its event keeps it.
    pub trace_parent: Option<TraceParent>,
}

/// How a retry ended.
#[derive(Debug, Clone)]
pub enum Retried {
    /// A new message is on its way.
    New(Message),
    /// All recipients were retried before; this is the newest retry.
    Repeated(Message),
    /// No recipient failed for a reason that passes, or the retry of those who did is deleted by now.
    Nothing,
}

/// A message to cancel.
#[derive(Debug, Clone)]
pub struct CancelOrder<'a> {
    /// Its church.
    pub church_id: &'a ChurchId,
    /// The message.
    pub message_id: Uuid,
    /// Who cancels it.
    pub by: &'a str,
    /// Now.
    pub now: OffsetDateTime,
    /// The trace of the request; its event keeps it.
    pub trace_parent: Option<TraceParent>,
}

/// What cancelling a message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled {
    /// Recipients who will get no text.
    pub cancelled: i64,
    /// Recipients whose text had left, or was leaving.
    pub left: i64,
}

/// One page, newest first.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// The rows.
    pub messages: Vec<Message>,
    /// How many messages all pages have. Not counted with [`HistoryQuery::before`], which would read them for each page.
    pub total: Option<Total>,
}

/// How many messages match, counted up to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// The messages that were counted.
    pub messages: u64,
    /// Whether there are more.
    pub more: bool,
}
