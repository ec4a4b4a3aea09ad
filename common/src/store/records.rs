//! What goes into the store and what comes out of it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::status::{MessageStatus, RecipientState, Tally};
use crate::subject::ChurchId;

/// A message to be recorded, with all its recipients.
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
    /// Why the newest failed recipient failed.
    pub failure_reason: Option<String>,
    /// When Telnyx accepted the first recipient.
    pub sent_at: Option<OffsetDateTime>,
    /// When it was recorded.
    pub created_at: OffsetDateTime,
    /// When it last got a new version.
    pub updated_at: OffsetDateTime,
    /// How long it was expected to take, when it was recorded, until its last recipient's turn to be sent; unknown
    /// before anything was ever sent.
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
    /// When it was delivered to, in Telnyx's time.
    pub delivered_at: Option<OffsetDateTime>,
    /// When it failed.
    pub failed_at: Option<OffsetDateTime>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Which of a message's recipients.
#[derive(Debug, Clone)]
pub struct RecipientQuery {
    /// Rows at most.
    pub limit: u32,
    /// Only recipients behind this place; `None` begins with the first.
    pub after: Option<i64>,
    /// Only recipients of this status; all without one.
    pub status: Option<MessageStatus>,
}

/// Why a recipient failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Telnyx's code (`40300`), or a word of ours (`unresolved`).
    pub code: String,
    /// For a person.
    pub reason: String,
}

/// Which page of a church's history.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// Rows a page, 1 to 100.
    pub limit: u32,
    /// Rows left out before the page; not together with `before`.
    pub offset: u64,
    /// Only messages older than this one (creation time and id), for paging without gaps.
    pub before: Option<(OffsetDateTime, Uuid)>,
    /// Only messages of these statuses; all if empty.
    pub statuses: Vec<MessageStatus>,
    /// Only messages that changed at or after this moment.
    pub updated_since: Option<OffsetDateTime>,
}

/// One page, newest first.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// The rows.
    pub messages: Vec<Message>,
    /// How many there are on all pages. Not counted for a page behind [`HistoryQuery::before`]: that would read all of
    /// them again for each page.
    pub total: Option<u64>,
}

/// Who a church sends as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The church.
    pub church_id: ChurchId,
    /// E.164, unique over all churches.
    pub number: String,
    /// The church's own messaging profile: opt-outs block a whole profile.
    pub messaging_profile_id: Option<String>,
    /// Messages a second at most, over all processes; as fast as everybody together if there is none.
    pub rate: Option<u32>,
}

/// How fast a store's attempts are begun, and until when.
#[derive(Debug, Clone, Copy, Default)]
pub struct SendLimits {
    /// Messages a second at most, of all senders and over all processes.
    pub rate: Option<u32>,
    /// What was held back for longer is not begun any more.
    pub within: Option<std::time::Duration>,
}

/// Which attempt an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptId {
    /// The recipient.
    pub recipient_id: Uuid,
    /// The claim that took it, with others or alone; a later one has another id.
    pub claim_id: Uuid,
}

/// A recipient whose attempt is recorded: it has to be sent now, and never again unless the answer surely means
/// that Telnyx did not accept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What its answer belongs to.
    pub id: AttemptId,
    /// The recipient; stands in the webhook's URL.
    pub recipient_id: Uuid,
    /// Who it is sent as: the number, else the messaging profile.
    pub sender: String,
    /// Its church.
    pub church_id: ChurchId,
    /// E.164.
    pub phone: String,
    /// The text.
    pub content: String,
    /// Pictures.
    pub media_urls: Vec<String>,
    /// The number it is sent from.
    pub from_number: Option<String>,
    /// The messaging profile it is sent with.
    pub messaging_profile_id: Option<String>,
    /// How often it was tried and surely not accepted before.
    pub tried: i32,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Telnyx accepted it under this id.
    Accepted {
        /// Telnyx's message id.
        provider_id: String,
    },
    /// Telnyx refused it for good.
    Refused(Failure),
    /// It surely was not accepted; it may be tried again at this moment.
    NotAccepted {
        /// Not before.
        again_at: OffsetDateTime,
        /// What holds for everything that is sent as the same sender.
        setback: Option<Setback>,
    },
    /// Nobody knows whether it was accepted: it waits for its webhook.
    Unresolved,
}

/// Why and how long a sender has to wait. The wait doubles with each setback in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// A word for operators.
    pub reason: String,
    /// The wait after the first one.
    pub first: time::Duration,
    /// The longest wait.
    pub longest: time::Duration,
    /// Not before this moment, whatever the wait.
    pub until: Option<OffsetDateTime>,
}

/// A sender that something waits for and that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSender {
    /// The word of the setback.
    pub reason: String,
    /// Until when.
    pub until: OffsetDateTime,
    /// Setbacks in a row.
    pub setbacks: i32,
}

/// An accepted recipient without an end that Telnyx is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The recipient.
    pub recipient_id: Uuid,
    /// Telnyx's message id.
    pub provider_id: String,
    /// E.164.
    pub phone: String,
    /// When it was sent.
    pub attempted_at: OffsetDateTime,
    /// How often Telnyx was asked and answered before.
    pub asked: i32,
}

/// When Telnyx is asked.
#[derive(Debug, Clone, Copy)]
pub struct AskTimes {
    /// Now.
    pub now: OffsetDateTime,
    /// Who was never asked for is, if its first time (a quarter of an hour after the attempt) is before this.
    pub first_before: OffsetDateTime,
    /// Nobody else takes them before this moment.
    pub taken_until: OffsetDateTime,
}

impl AskTimes {
    /// With a first question so long after the attempt.
    pub fn new(
        now: OffsetDateTime,
        first_after: std::time::Duration,
        taken_for: std::time::Duration,
    ) -> Self {
        Self { now, first_before: now + super::book::FIRST_ASK - first_after, taken_until: now + taken_for }
    }
}

/// The event type of reports that we asked Telnyx for, beside those that its webhooks bring.
pub const ASKED: &str = "asked";

/// When waiting for a receipt ends.
#[derive(Debug, Clone, Copy)]
pub struct Overdue {
    /// Accepted recipients whose attempt was before this are closed unconfirmed.
    pub accepted_before: OffsetDateTime,
    /// Unresolved recipients whose attempt was before this fail with the code `unresolved`.
    pub unresolved_before: OffsetDateTime,
    /// At most so many at once.
    pub limit: u32,
}

/// A webhook whose signature held, read as far as it concerns us.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Telnyx's event id (`data.id`); the same for every repetition.
    pub event_id: String,
    /// Telnyx's event type.
    pub event_type: String,
    /// When Telnyx says that it happened.
    pub occurred_at: Option<OffsetDateTime>,
    /// When it reached us.
    pub received_at: OffsetDateTime,
    /// The body as received.
    pub body: Bytes,
    /// What it reports.
    pub content: WebhookContent,
}

impl Webhook {
    /// The status that it reports, if it does.
    pub fn delivery(&self) -> Option<&DeliveryReport> {
        match &self.content {
            WebhookContent::Delivery(report) => Some(report),
            WebhookContent::Ignored { .. } => None,
        }
    }
}

/// What a webhook reports.
#[derive(Debug, Clone)]
pub enum WebhookContent {
    /// The status of a message that was sent.
    Delivery(DeliveryReport),
    /// Nothing that we use, and why.
    Ignored {
        /// For operators.
        reason: String,
    },
}

/// The status of a message that was sent, per recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryReport {
    /// Telnyx's message id (`payload.id`).
    pub provider_id: String,
    /// Our recipient id as it stood in the signed `payload.webhook_url`.
    pub recipient_hint: Option<Uuid>,
    /// One entry for each phone.
    pub to: Vec<PhoneReport>,
}

/// The status of one phone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneReport {
    /// E.164.
    pub phone: String,
    /// The rank ([`crate::status::Rank::as_i16`]).
    pub rank: i16,
    /// No receipt will follow.
    pub closed: bool,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// What became of a webhook. Every accepted webhook has exactly one, and the sum is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It raised its recipient's state.
    Applied,
    /// It was recorded before.
    Duplicate,
    /// Its recipient is as far or farther already.
    Stale,
    /// Its recipient is not known yet.
    Parked,
    /// A kind that we do not use, or one that can't be recorded.
    Ignored,
}

impl Outcome {
    /// The word in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::Parked => "parked",
            Self::Ignored => "ignored",
        }
    }
}

/// An outbox row that waits to be announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// From the database's sequence, taken while the message row is locked.
    pub position: i64,
    /// The event's id; `Nats-Msg-Id`.
    pub event_id: Uuid,
    /// The message.
    pub message_id: Uuid,
    /// Progress that a newer row of the same message makes superfluous.
    pub progress: bool,
    /// `church.<id>.sent` or `church.<id>.status`.
    pub subject: String,
    /// The event as JSON.
    pub payload: String,
}

/// A row that is left out of the stream, and the newer row of its message that takes over what it named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// The rows left out.
    pub positions: Vec<i64>,
    /// The row that takes over.
    pub heir: i64,
    /// The heir's new payload.
    pub payload: String,
}

/// The last announced row: what the relay fences with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Its place in the outbox.
    pub position: i64,
    /// Its event's id.
    pub event_id: Uuid,
    /// Its sequence in the stream.
    pub stream_seq: i64,
}

/// The books, summed, and whatever does not add up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Webhooks that were answered 2xx, repetitions included, and reports that Telnyx was asked for.
    pub accepted: i64,
    /// Of these, applied.
    pub applied: i64,
    /// Of these, repetitions.
    pub duplicate: i64,
    /// Of these, stale.
    pub stale: i64,
    /// Of these, waiting for their recipient.
    pub parked: i64,
    /// Of these, ignored.
    pub ignored: i64,
    /// Webhooks whose outcome and recipient contradict each other.
    pub unmatched_webhooks: i64,
    /// Messages whose status or counters differ from a recount of their recipients.
    pub miscounted_messages: i64,
    /// Messages whose newest version was never put into the outbox, as far back as the outbox is kept.
    pub unannounced_messages: i64,
    /// Outbox rows that wait for the broker.
    pub waiting_events: i64,
    /// Events that the stream refuses for good. `ops audit` names them, `ops outbox retry` puts them back.
    pub refused_events: i64,
}

impl Audit {
    /// Whether everything adds up.
    pub fn is_sound(&self) -> bool {
        self.accepted == self.applied + self.duplicate + self.stale + self.parked + self.ignored
            && self.unmatched_webhooks == 0
            && self.miscounted_messages == 0
            && self.unannounced_messages == 0
            && self.refused_events == 0
    }
}
