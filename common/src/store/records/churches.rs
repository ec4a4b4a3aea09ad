//! The churches of an installation.

use time::OffsetDateTime;

use crate::subject::ChurchId;

/// A church, and when its newest message was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownChurch {
    /// The church.
    pub church_id: ChurchId,
    /// When its newest message was recorded.
    pub last_message_at: Option<OffsetDateTime>,
}
