//! The JSON that front ends get.

use common::event::timestamp;
use common::status::MessageStatus;
use common::store::{Message, Recipient};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::schemas::Status;

/// The envelope of every success: `{"success":true, "data":…}`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Success<T> {
    /// Always true.
    success: bool,
    data: T,
}

impl<T> Success<T> {
    /// Wraps the data.
    pub(crate) fn new(data: T) -> Self {
        Self { success: true, data }
    }
}

/// A message in the history.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "01939f5e-7c00-7000-8000-00000000000a", "content": "Service is at ten", "status": "delivered", "version": 4,
    "targetType": "groups", "conversationId": null, "totalRecipients": 3, "deliveredCount": 2, "failedCount": 1,
    "unconfirmedCount": 0, "readCount": 0, "cancelledCount": 0, "deliveryRate": 67,
    "failureReason": "The recipient has opted out (STOP).", "sentAt": "2026-11-22T20:15:32.004Z",
    "createdAt": "2026-11-22T20:15:31.123Z", "updatedAt": "2026-11-22T20:15:34.871Z",
}))]
pub(super) struct MessageSummary {
    id: Uuid,
    content: String,
    #[schema(value_type = Status)]
    status: MessageStatus,
    version: i64,
    target_type: String,
    #[schema(required = true)]
    conversation_id: Option<String>,
    /// The message that it retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_of: Option<Uuid>,
    total_recipients: i32,
    delivered_count: i32,
    failed_count: i32,
    unconfirmed_count: i32,
    read_count: i32,
    /// Among the failed ones.
    cancelled_count: i32,
    /// Delivered recipients, in per cent of all.
    delivery_rate: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failure_reason: Option<String>,
    #[serde(with = "timestamp::option")]
    #[schema(required = true)]
    sent_at: Option<OffsetDateTime>,
    #[serde(with = "timestamp")]
    created_at: OffsetDateTime,
    #[serde(with = "timestamp")]
    updated_at: OffsetDateTime,
}

impl From<Message> for MessageSummary {
    fn from(message: Message) -> Self {
        let tally = message.tally;
        Self {
            id: message.id,
            content: message.content,
            status: message.status,
            version: message.version,
            target_type: message.target_type,
            conversation_id: message.conversation_id,
            retry_of: message.retry_of,
            total_recipients: tally.recipients,
            delivered_count: tally.delivered,
            failed_count: tally.failed,
            unconfirmed_count: tally.unconfirmed,
            read_count: tally.read,
            cancelled_count: tally.cancelled,
            delivery_rate: percentage(tally.delivered, tally.recipients),
            failure_reason: message.failure_reason,
            sent_at: message.sent_at,
            created_at: message.created_at,
            updated_at: message.updated_at,
        }
    }
}

/// Rounded half up; 0 without recipients.
fn percentage(part: i32, whole: i32) -> i32 {
    if whole <= 0 {
        return 0;
    }
    let (part, whole) = (i64::from(part), i64::from(whole));
    i32::try_from((200 * part + whole) / (2 * whole)).unwrap_or(100)
}

/// A message with its recipients.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageDetail {
    #[serde(flatten)]
    pub(super) message: MessageSummary,
    /// All recipients, or the first page of many.
    pub(super) recipients: Vec<RecipientItem>,
    /// The cursor of the next page; null if these are all.
    #[schema(required = true)]
    pub(super) recipients_next: Option<String>,
}

/// A recipient.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "01939f5e-7c00-7000-8000-0000000000b1", "status": "failed", "deliveredAt": null,
    "member": {"id": "m1", "firstName": "Ada", "lastName": "Lovelace", "phone": "+15551230102"},
    "failedAt": "2026-11-22T20:15:34.871Z", "failureReason": "The recipient has opted out (STOP).",
    "failureCode": "40300",
}))]
pub(crate) struct RecipientItem {
    id: Uuid,
    member: Member,
    #[schema(value_type = Status)]
    status: MessageStatus,
    #[serde(with = "timestamp::option")]
    #[schema(required = true)]
    delivered_at: Option<OffsetDateTime>,
    #[serde(with = "timestamp::option")]
    #[schema(required = true)]
    failed_at: Option<OffsetDateTime>,
    #[schema(required = true)]
    failure_reason: Option<String>,
    /// Telnyx's code, or one of ours, such as `cancelled`.
    #[schema(required = true)]
    failure_code: Option<String>,
}

/// The person. A number that belongs to no member has neither id nor names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Member {
    #[schema(required = true)]
    id: Option<String>,
    #[schema(required = true)]
    first_name: Option<String>,
    #[schema(required = true)]
    last_name: Option<String>,
    phone: String,
}

impl From<Recipient> for RecipientItem {
    fn from(recipient: Recipient) -> Self {
        let (failure_code, failure_reason) = recipient.failure.map(|f| (f.code, f.reason)).unzip();
        Self {
            id: recipient.id,
            status: recipient.state.status(),
            member: Member {
                id: recipient.member_id,
                first_name: recipient.first_name,
                last_name: recipient.last_name,
                phone: recipient.phone,
            },
            delivered_at: recipient.delivered_at,
            failed_at: recipient.failed_at,
            failure_reason,
            failure_code,
        }
    }
}

/// The answer to a send: the message as it was recorded. A repetition gets the same answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "01939f5e-7c00-7000-8000-00000000000a", "content": "Service is at ten", "targetType": "groups",
    "conversationId": null, "totalRecipients": 3, "status": "pending", "version": 1, "deliveredCount": 0,
    "failedCount": 0, "unconfirmedCount": 0, "readCount": 0, "estimatedSeconds": 3,
    "createdAt": "2026-11-22T20:15:31.123Z",
}))]
pub(crate) struct AcceptedMessage {
    id: Uuid,
    content: String,
    target_type: String,
    #[schema(required = true)]
    conversation_id: Option<String>,
    /// The message that it retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_of: Option<Uuid>,
    total_recipients: i32,
    #[schema(value_type = Status)]
    status: MessageStatus,
    version: i64,
    delivered_count: i32,
    failed_count: i32,
    unconfirmed_count: i32,
    read_count: i32,
    /// Expected time until the last recipient's turn, as estimated when the message was recorded.
    #[schema(required = true)]
    estimated_seconds: Option<i64>,
    /// People of the target without a number that can be read. Only in the first answer.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    skipped_recipients: usize,
    #[serde(with = "timestamp")]
    created_at: OffsetDateTime,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl AcceptedMessage {
    /// The answer, with the number of recipients that were left out.
    pub(super) fn skipping(self, skipped_recipients: usize) -> Self {
        Self { skipped_recipients, ..self }
    }
}

impl From<Message> for AcceptedMessage {
    fn from(message: Message) -> Self {
        Self {
            id: message.id,
            content: message.content,
            target_type: message.target_type,
            conversation_id: message.conversation_id,
            retry_of: message.retry_of,
            total_recipients: message.tally.recipients,
            status: MessageStatus::Pending,
            version: 1,
            delivered_count: 0,
            failed_count: 0,
            unconfirmed_count: 0,
            read_count: 0,
            estimated_seconds: message.estimated_seconds,
            skipped_recipients: 0,
            created_at: message.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delivery_rate_is_a_rounded_percentage() {
        for (part, whole, rate) in [(0, 0, 0), (0, 3, 0), (1, 3, 33), (2, 3, 67), (1, 8, 13), (3, 3, 100)] {
            assert_eq!(percentage(part, whole), rate, "{part} of {whole}");
        }
    }
}
