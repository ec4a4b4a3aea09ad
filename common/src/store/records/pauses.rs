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

impl Pause {
    /// Whose messages wait: the church's id, or `everybody`.
    pub fn whose(&self) -> &str {
        self.church_id.as_ref().map_or("everybody", ChurchId::as_str)
    }

    /// The pause that keeps a church's messages waiting: its own, or everybody's.
    pub fn of<'p>(pauses: &'p [Self], church: &ChurchId) -> Option<&'p Self> {
        pauses.iter().find(|pause| pause.church_id.as_ref().is_none_or(|paused| paused == church))
    }

    /// The command that ends it.
    pub fn resume_command(&self) -> String {
        let church = self.church_id.as_ref().map(|church| format!(" --church {church}")).unwrap_or_default();
        format!("ops resume sending{church}")
    }
}
