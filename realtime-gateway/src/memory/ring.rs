//! The newest events of one church.

use std::collections::VecDeque;
use std::sync::Arc;

use common::status::MessageStatus;
use uuid::Uuid;

use crate::events::Event;
use crate::stream::Fingerprint;

/// A church's newest events. It stays when the last of them is forgotten: knowing that nothing happened since saves a
/// client that resumes a read of the stream.
pub(super) struct Ring {
    /// Every event of the church above this sequence is here.
    pub(super) floor: u64,
    /// The fingerprint at the floor, if it is known.
    pub(super) at_floor: Option<Fingerprint>,
    events: VecDeque<Arc<Event>>,
}

impl Ring {
    /// A ring without events.
    pub(super) fn new(floor: u64, at_floor: Option<Fingerprint>) -> Self {
        Self { floor, at_floor, events: VecDeque::new() }
    }

    /// Adds the newest event.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.events.push_back(event);
    }

    /// Forgets the oldest event, which has this fingerprint. Returns its bytes.
    pub(super) fn forget_oldest(&mut self, at_floor: Option<Fingerprint>) -> usize {
        let Some(oldest) = self.events.pop_front() else { return 0 };
        (self.floor, self.at_floor) = (oldest.sequence, at_floor);
        if self.events.is_empty() {
            // The ring may stay empty for long; give its buffer back.
            self.events = VecDeque::new();
        }
        oldest.size()
    }

    /// The sequence of the oldest event.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.events.front().map(|event| event.sequence)
    }

    /// How many events are here.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The events above a sequence, oldest first.
    pub(super) fn after(&self, sequence: u64) -> impl Iterator<Item = &Arc<Event>> {
        let first = self.events.partition_point(|event| event.sequence <= sequence);
        self.events.range(first..)
    }

    /// The newest status of a message that an event here tells.
    pub(super) fn status_of(&self, message: Uuid) -> Option<MessageStatus> {
        let mut newest_first = self.events.iter().rev().filter_map(|event| event.message());
        newest_first.find(|(id, _)| *id == message).map(|(_, status)| status)
    }
}
