//! The events of a transaction, to be logged once it is committed.

use tracing::{debug, info};
use uuid::Uuid;

use crate::event::ChurchEvent;
use crate::inbound::InboundEvent;
use crate::status::MessageStatus;
use crate::subject::ChurchId;
use crate::trace_context::{self, TraceParent};

/// The events that a transaction put into the outbox.
#[derive(Debug, Default)]
pub(super) struct NewEvents {
    steps: Vec<Step>,
    inbound: Vec<(InboundEvent, Option<TraceParent>)>,
}

/// One message's new version.
#[derive(Debug)]
struct Step {
    message_id: Uuid,
    church_id: ChurchId,
    event_id: Uuid,
    status: MessageStatus,
    /// Counters changed and the status did not.
    progress: bool,
    trace_parent: Option<TraceParent>,
}

impl NewEvents {
    pub(super) fn add(&mut self, event: &ChurchEvent, progress: bool, trace_parent: Option<TraceParent>) {
        self.steps.push(Step {
            message_id: event.message_id,
            church_id: event.church_id.clone(),
            event_id: event.id,
            status: event.status,
            progress,
            trace_parent,
        });
    }

    pub(super) fn add_inbound(&mut self, events: Vec<(InboundEvent, Option<TraceParent>)>) {
        self.inbound.extend(events);
    }

    pub(super) fn append(&mut self, later: Self) {
        self.steps.extend(later.steps);
        self.inbound.extend(later.inbound);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.inbound.is_empty()
    }

    /// Logs each new version: at `info` if the status changed, else at `debug`. And each text, at `info`.
    pub(super) fn log(&self) {
        for (InboundEvent { inbound_id, church_id, id, .. }, trace) in &self.inbound {
            let _traced = trace_context::span(trace.as_ref()).entered();
            info!(inbound.id = %inbound_id, church.id = %church_id, event.id = %id, "recorded a text that came in");
        }
        for step in &self.steps {
            let (message, church, event) = (step.message_id, &step.church_id, step.event_id);
            let status = step.status.as_str();
            let _traced = trace_context::span(step.trace_parent.as_ref()).entered();
            if step.progress {
                debug!(message.id = %message, church.id = %church, event.id = %event, status, "recorded progress");
            } else {
                info!(message.id = %message, church.id = %church, event.id = %event, status, "recorded a status");
            }
        }
    }
}
