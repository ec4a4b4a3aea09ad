//! The events of a transaction, to be logged once it is committed.

use tracing::{debug, info};
use uuid::Uuid;

use crate::event::ChurchEvent;
use crate::status::MessageStatus;
use crate::subject::ChurchId;

/// The events that a transaction put into the outbox.
#[derive(Debug, Default)]
pub(super) struct NewEvents(Vec<Step>);

/// One message's new version.
#[derive(Debug)]
struct Step {
    message_id: Uuid,
    church_id: ChurchId,
    event_id: Uuid,
    status: MessageStatus,
    /// Counters changed and the status did not.
    progress: bool,
}

impl NewEvents {
    pub(super) fn add(&mut self, event: &ChurchEvent, progress: bool) {
        self.0.push(Step {
            message_id: event.message_id,
            church_id: event.church_id.clone(),
            event_id: event.id,
            status: event.status,
            progress,
        });
    }

    pub(super) fn append(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Logs each new version: at `info` if the status changed, else at `debug`.
    pub(super) fn log(&self) {
        for step in &self.0 {
            let (message, church, event) = (step.message_id, &step.church_id, step.event_id);
            let status = step.status.as_str();
            if step.progress {
                debug!(message.id = %message, church.id = %church, event.id = %event, status, "recorded progress");
            } else {
                info!(message.id = %message, church.id = %church, event.id = %event, status, "recorded a status");
            }
        }
    }
}
