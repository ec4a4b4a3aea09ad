//! Recipients that failed, as operators ask for them.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::subject::ChurchId;

/// Which failures are asked for.
#[derive(Debug, Clone)]
pub struct FailureQuery {
    /// Recipients that failed at or after this moment.
    pub since: OffsetDateTime,
    /// Only those of one church.
    pub church: Option<ChurchId>,
    /// Only those with this code.
    pub code: Option<String>,
}

/// Recipients that failed for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureCount {
    /// Telnyx's code, or one of ours; empty if none is known.
    pub code: String,
    /// A sentence for people; one of them, if the code has several.
    pub reason: String,
    /// How many recipients.
    pub recipients: i64,
    /// Of how many messages.
    pub messages: i64,
    /// When the last one failed.
    pub last: OffsetDateTime,
}

/// A recipient that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRecipient {
    /// Its church.
    pub church_id: ChurchId,
    /// Its message.
    pub message_id: Uuid,
    /// The recipient.
    pub id: Uuid,
    /// E.164.
    pub phone: String,
    /// Telnyx's code, or one of ours; empty if none is known.
    pub code: String,
    /// When it failed.
    pub failed_at: OffsetDateTime,
    /// The message that tries again to reach it.
    pub retry_id: Option<Uuid>,
}
