//! Rows as the databases read and write them. What callers see is in [`records`](super::records).

use time::OffsetDateTime;
use uuid::Uuid;

use super::columns::{Columns, Read, unreadable};
use super::failures::StoreError;
use super::records::{CANCELLED, DeliveryReport, Failure, Outcome, SendLimits, Webhook};
use crate::event::{ChurchEvent, EventType, FORMAT};
use crate::status::{MessageStatus, Rank, RecipientState, Tally};
use crate::subject::ChurchId;

/// Replaces an erased number.
pub(super) const ERASED: &str = "erased";

/// The columns of a recipient that reports and answers change.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RecipientRow {
    pub(super) id: Uuid,
    pub(super) message_id: Uuid,
    pub(super) phone: String,
    pub(super) state: RecipientState,
    pub(super) provider_id: Option<String>,
    pub(super) due_at: OffsetDateTime,
    pub(super) attempted_at: Option<OffsetDateTime>,
    pub(super) claim_id: Option<Uuid>,
    pub(super) sender: String,
    pub(super) ask_at: Option<OffsetDateTime>,
    pub(super) tried: i32,
    pub(super) failure: Option<Failure>,
    pub(super) delivered_at: Option<OffsetDateTime>,
    pub(super) failed_at: Option<OffsetDateTime>,
}

impl Read for RecipientRow {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            message_id: row.id("message_id")?,
            phone: row.text("phone")?,
            state: row.state()?,
            provider_id: row.opt_text("provider_id")?,
            due_at: row.time("due_at")?,
            attempted_at: row.opt_time("attempted_at")?,
            claim_id: row.opt_id("claim_id")?,
            sender: row.text("sender")?,
            ask_at: row.opt_time("ask_at")?,
            tried: row.count("tried")?,
            failure: row.failure()?,
            delivered_at: row.opt_time("delivered_at")?,
            failed_at: row.opt_time("failed_at")?,
        })
    }
}

impl RecipientRow {
    /// Whether its text was cancelled before it was sent.
    pub(super) fn is_cancelled(&self) -> bool {
        let is_cancellation = |failure: &Failure| failure.code == CANCELLED;
        self.state.rank == Rank::Failed && self.failure.as_ref().is_some_and(is_cancellation)
    }
}

/// The columns of a message that its recipients decide.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MessageRow {
    pub(super) id: Uuid,
    pub(super) church_id: ChurchId,
    pub(super) author_id: String,
    pub(super) conversation_id: Option<String>,
    pub(super) status: MessageStatus,
    pub(super) version: i64,
    pub(super) tally: Tally,
    pub(super) failure_reason: Option<String>,
    /// Who cancelled it. What has not left by then is not sent any more.
    pub(super) cancelled_by: Option<String>,
    pub(super) sent_at: Option<OffsetDateTime>,
    pub(super) updated_at: OffsetDateTime,
}

impl Read for MessageRow {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            church_id: row.church()?,
            author_id: row.text("author_id")?,
            conversation_id: row.opt_text("conversation_id")?,
            status: row.status()?,
            version: row.number("version")?,
            tally: row.tally()?,
            failure_reason: row.opt_text("failure_reason")?,
            cancelled_by: row.opt_text("cancelled_by")?,
            sent_at: row.opt_time("sent_at")?,
            updated_at: row.time("updated_at")?,
        })
    }
}

impl MessageRow {
    /// The event of the message as it is now.
    pub(super) fn event(&self, kind: EventType, now: OffsetDateTime) -> ChurchEvent {
        let mut event = ChurchEvent {
            v: FORMAT,
            id: Uuid::now_v7(),
            kind,
            church_id: self.church_id.clone(),
            message_id: self.id,
            conversation_id: self.conversation_id.clone(),
            status: self.status,
            version: self.version,
            recipient_count: 0,
            delivered_count: 0,
            failed_count: 0,
            unconfirmed_count: 0,
            read_count: 0,
            cancelled_count: 0,
            failure_reason: self.failure_reason.clone(),
            changed: Vec::new(),
            changed_more: false,
            user_id: Some(self.author_id.clone()),
            timestamp: now,
            occurred_at: None,
        };
        event.set_tally(&self.tally);
        event
    }
}

/// A value of a column that holds JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unreadable(error.to_string()))
}

/// A webhook to record.
pub(super) struct WebhookRow<'a> {
    pub(super) webhook: &'a Webhook,
    pub(super) deliveries: i64,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<&'a str>,
    pub(super) recipient_id: Option<Uuid>,
}

impl<'a> WebhookRow<'a> {
    /// The row of a webhook that changes no recipient.
    pub(super) fn new(webhook: &'a Webhook, outcome: Outcome) -> Self {
        Self { webhook, deliveries: 1, outcome, reason: None, recipient_id: None }
    }

    /// The provider id by which it is found while it is parked.
    pub(super) fn provider_id(&self) -> Option<&str> {
        self.webhook.delivery().map(|report| report.provider_id.as_str())
    }

    /// Its report as JSON, while it is parked.
    pub(super) fn report(&self) -> Option<String> {
        self.webhook
            .delivery()
            .filter(|_| self.outcome == Outcome::Parked)
            .and_then(|report| json(report).ok())
    }
}

/// A parked webhook.
#[derive(Debug, Clone)]
pub(super) struct ParkedRow {
    pub(super) event_id: String,
    pub(super) occurred_at: Option<OffsetDateTime>,
    pub(super) report: DeliveryReport,
}

impl Read for ParkedRow {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let report = serde_json::from_str(&row.text("report")?).map_err(|_| unreadable("report"))?;
        Ok(Self { event_id: row.text("event_id")?, occurred_at: row.opt_time("occurred_at")?, report })
    }
}

/// A parked webhook that found its recipient, and what became of it.
pub(super) struct Unparked {
    pub(super) event_id: String,
    pub(super) outcome: Outcome,
    pub(super) recipient_id: Uuid,
}

/// What a claim is to take.
pub(super) struct Claim<'a> {
    pub(super) id: Uuid,
    pub(super) limit: u32,
    pub(super) now: OffsetDateTime,
    /// The church that was served last. The turns begin after it.
    pub(super) after: &'a str,
    pub(super) limits: SendLimits,
}

/// How many recipients of a sender a claim may take.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    pub(super) sender: String,
    pub(super) allowed: u32,
    /// A text that should have been sent before this is too late and fails as `not_sent`.
    pub(super) not_before: Option<OffsetDateTime>,
}

/// A claim of which it is unknown whether it was committed.
#[derive(Debug, Clone)]
pub(super) struct OpenClaim {
    pub(super) id: Uuid,
    pub(super) recipients: Vec<Uuid>,
}
