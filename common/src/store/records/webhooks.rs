//! Webhooks and what they report.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::inbound::InboundText;
use super::messages::Failure;
use crate::trace_context::TraceParent;

/// The event type of reports that Telnyx was asked for and that no webhook brought.
pub const ASKED: &str = "asked";

/// A webhook with a valid signature.
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
    /// The trace of its request; the events that it makes keep it.
    pub trace_parent: Option<TraceParent>,
}

impl Webhook {
    /// The status that it reports, if it does.
    pub fn delivery(&self) -> Option<&DeliveryReport> {
        match &self.content {
            WebhookContent::Delivery(report) => Some(report),
            WebhookContent::Inbound(_) | WebhookContent::Ignored { .. } => None,
        }
    }

    /// The text that it brings, if it does.
    pub fn inbound(&self) -> Option<&InboundText> {
        match &self.content {
            WebhookContent::Inbound(text) => Some(text),
            WebhookContent::Delivery(_) | WebhookContent::Ignored { .. } => None,
        }
    }
}

/// What a webhook reports.
#[derive(Debug, Clone)]
pub enum WebhookContent {
    /// The status of a message that was sent.
    Delivery(DeliveryReport),
    /// A text that somebody sent to a church.
    Inbound(InboundText),
    /// Nothing that we use.
    Ignored {
        /// Why, for operators.
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

/// What became of a webhook. Every accepted webhook has exactly one outcome; the audit checks the sum. Its
/// name in lower case stands in the database and in metrics.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    strum::VariantNames,
    strum::EnumString,
)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// It raised its recipient's state.
    Applied,
    /// It was recorded before.
    Duplicate,
    /// Its recipient is as far or farther already.
    Stale,
    /// Its recipient is not known yet.
    Parked,
    /// It brought a text, which is recorded.
    Received,
    /// A kind that we do not use, or one that can't be recorded.
    Ignored,
}

/// Which kept webhooks are asked for.
#[derive(Debug, Clone, Default)]
pub struct KeptQuery {
    /// Only those with this outcome; by default those that changed nothing: parked and ignored ones.
    pub outcome: Option<Outcome>,
    /// Only these events; all if empty.
    pub event_ids: Vec<String>,
    /// Only those whose reason contains this.
    pub reason: Option<String>,
    /// Only those received at or after this moment.
    pub since: Option<OffsetDateTime>,
    /// Only those received before this moment.
    pub until: Option<OffsetDateTime>,
    /// Only those after this one (time and event id).
    pub after: Option<(OffsetDateTime, String)>,
    /// Rows at most.
    pub limit: u32,
}

/// Which webhooks are listed, newest first.
#[derive(Debug, Clone)]
pub struct WebhookQuery {
    /// Only those with this outcome; [`Outcome::Duplicate`] means those that came more than once.
    pub outcome: Option<Outcome>,
    /// Only those received at or after this moment.
    pub since: OffsetDateTime,
    /// Only those before this one (time and event id), for paging.
    pub before: Option<(OffsetDateTime, String)>,
    /// Rows at most.
    pub limit: u32,
}

/// The body of a kept webhook.
#[derive(Debug, Clone)]
pub struct KeptBody {
    /// Telnyx's event id.
    pub event_id: String,
    /// When it came.
    pub received_at: OffsetDateTime,
    /// As received.
    pub body: Bytes,
}

/// What a kept webhook came to when it was processed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reprocessed {
    /// Telnyx's event id.
    pub event_id: String,
    /// Its new outcome.
    pub outcome: Outcome,
    /// Why it is ignored.
    pub reason: Option<String>,
}
