//! Pauses of sending.

use time::OffsetDateTime;

use crate::subject::ChurchId;

/// An operator's pause of sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Whose messages wait; `None` means everybody's.
    pub church_id: Option<ChurchId>,
    /// Who paused it.
    pub by: String,
    /// Since when.
    pub since: OffsetDateTime,
}
