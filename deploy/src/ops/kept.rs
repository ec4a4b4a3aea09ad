//! A webhook that is kept, as commands show it.

use common::event::timestamp;
use common::store::KeptWebhook;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::output::{moment, serialize_moment};

/// A webhook that is kept, without its body.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    #[serde(with = "timestamp")]
    received_at: OffsetDateTime,
    event_id: String,
    event_type: String,
    outcome: String,
    reason: Option<String>,
    telnyx_id: Option<String>,
    recipient_id: Option<Uuid>,
    /// How often it came.
    deliveries: i64,
    /// When it happened, according to Telnyx.
    #[serde(serialize_with = "serialize_moment")]
    occurred_at: Option<OffsetDateTime>,
}

impl From<KeptWebhook> for Kept {
    fn from(webhook: KeptWebhook) -> Self {
        Self {
            received_at: webhook.received_at,
            event_id: webhook.event_id,
            event_type: webhook.event_type,
            outcome: webhook.outcome,
            reason: webhook.reason,
            telnyx_id: webhook.provider_id,
            recipient_id: webhook.recipient_id,
            deliveries: webhook.deliveries,
            occurred_at: webhook.occurred_at,
        }
    }
}

impl Kept {
    /// The webhook as a line.
    pub(super) fn row(&self) -> [String; 5] {
        let telnyx = self.telnyx_id.as_ref().map(|id| format!("of Telnyx {id}")).unwrap_or_default();
        let why = self.reason.clone().unwrap_or_default();
        [moment(self.received_at), self.event_id.clone(), self.event_type.clone(), why, telnyx]
    }

    /// The same, with what became of it.
    pub(super) fn row_with_outcome(&self) -> [String; 6] {
        let [at, event, kind, why, telnyx] = self.row();
        let times = if self.deliveries > 1 { format!(", {} times", self.deliveries) } else { String::new() };
        [at, event, kind, format!("{}{times}", self.outcome), why, telnyx]
    }
}
