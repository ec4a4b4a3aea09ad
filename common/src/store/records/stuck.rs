//! Messages that wait for longer than they should, as operators ask for them.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::subject::ChurchId;

/// What a recipient waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Waiting {
    /// To be sent.
    Unsent,
    /// For Telnyx's answer to the attempt; nobody knows whether it has the text.
    Unanswered,
    /// For the receipt of a text that Telnyx accepted.
    Unreported,
}

/// Which waiting recipients are asked for.
#[derive(Debug, Clone)]
pub struct StuckQuery {
    /// Recipients that have waited since before this moment.
    pub before: OffsetDateTime,
    /// Only those that wait for this.
    pub waiting: Option<Waiting>,
    /// Only of this church, among the 10,000 that have waited longest of each kind.
    pub church: Option<ChurchId>,
    /// Messages at most.
    pub limit: u32,
}

/// Recipients of one message that wait for the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The church.
    pub church_id: ChurchId,
    /// The message.
    pub message_id: Uuid,
    /// What they wait for.
    pub waiting: Waiting,
    /// How many, of those that were looked at.
    pub recipients: i64,
    /// Since when the first of them waits.
    pub since: OffsetDateTime,
}

/// What waits now. Each number is counted up to a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Recipients that are due to be sent.
    pub due: i64,
    /// Attempts without an answer of Telnyx.
    pub unanswered: i64,
}
