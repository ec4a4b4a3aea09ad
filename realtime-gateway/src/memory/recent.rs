//! The newest part of the stream, in memory. It serves clients that were away for a short time.
//!
//! Two bounds work together. A church keeps a limited number of events, so a busy church can't push the others out.
//! All churches together keep a limited number of events and bytes; beyond that, the oldest event of all is forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use common::event::ChurchEvent;
use common::status::MessageStatus;
use common::subject::ChurchId;

use crate::events::Event;
use crate::events::decode::{self, Prepared};
use crate::memory::fingerprints::Fingerprints;
use crate::memory::progress::{Progress, Proof};
use crate::memory::ring::Ring;
use crate::settings::LimitOptions;
use crate::stream::{Fingerprint, Position, Stored};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecentLimits {
    /// Events of all churches.
    pub(crate) events: usize,
    /// Bytes of all churches' packets.
    pub(crate) bytes: usize,
    /// Events of one church.
    pub(crate) church_events: usize,
}

impl From<&LimitOptions> for RecentLimits {
    fn from(options: &LimitOptions) -> Self {
        Self {
            events: options.memory_events as usize,
            bytes: options.memory_bytes,
            church_events: options.memory_church_events as usize,
        }
    }
}

/// Every sequence above the floor up to the last one, without a hole.
pub(crate) struct Recent {
    /// When the stream was created.
    pub(crate) created: u64,
    /// Rises whenever the gateway begins at a new position. Progress of an older generation is void.
    pub(crate) generation: u64,
    limits: RecentLimits,
    floor: u64,
    /// Above this sequence the events of every church were heard: a church without a ring has had none since.
    heard_from: u64,
    fingerprints: Fingerprints,
    /// The church of each sequence above the floor; `None` for a message that is no event.
    owners: VecDeque<Option<ChurchId>>,
    rings: HashMap<ChurchId, Ring>,
    bytes: usize,
}

impl Recent {
    /// An empty memory of the stream created then, beginning after `floor`; `at_floor` is the fingerprint there, if it
    /// is known.
    pub(crate) fn new(limits: RecentLimits, created: u64, floor: u64, at_floor: Option<Fingerprint>) -> Self {
        Self {
            created,
            generation: 0,
            limits,
            floor,
            heard_from: floor,
            fingerprints: Fingerprints::after(floor, at_floor),
            owners: VecDeque::new(),
            rings: HashMap::new(),
            bytes: 0,
        }
    }

    /// Takes the next message of the stream, whatever it is.
    pub(crate) fn take(&mut self, stored: &Stored) -> Prepared {
        let status_before = |event: &ChurchEvent| self.status_of(event);
        let prepared = decode::prepare(self.created, stored, status_before);
        self.push(prepared.fingerprint, prepared.event.clone());
        prepared
    }

    /// Takes the next sequence: an event, or `None` for a message that is no event.
    fn push(&mut self, fingerprint: Fingerprint, event: Option<Arc<Event>>) {
        self.fingerprints.push(fingerprint);
        self.owners.push_back(event.as_ref().map(|event| event.church.clone()));
        if let Some(event) = event {
            self.remember(event);
        }
        while self.owners.len() > self.limits.events || self.bytes > self.limits.bytes {
            self.forget_oldest();
        }
        if self.rings.len() > self.limits.events {
            self.forget_quiet_churches();
        }
    }

    fn remember(&mut self, event: Arc<Event>) {
        self.bytes += event.size();
        let floor = self.heard_from;
        let ring = self.rings.entry(event.church.clone()).or_insert_with(|| Ring::new(floor, None));
        ring.push(event);
        if ring.len() > self.limits.church_events {
            let at_floor = ring.oldest().and_then(|oldest| self.fingerprints.at(oldest));
            self.bytes -= ring.forget_oldest(at_floor);
        }
    }

    fn forget_oldest(&mut self) {
        let Some(owner) = self.owners.pop_front() else { return };
        self.floor += 1;
        let Some(ring) = owner.and_then(|church| self.rings.get_mut(&church)) else { return };
        if ring.oldest() == Some(self.floor) {
            self.bytes -= ring.forget_oldest(self.fingerprints.at(self.floor));
        }
    }

    fn forget_quiet_churches(&mut self) {
        self.rings.retain(|_, ring| ring.len() > 0);
        self.heard_from = self.floor;
    }

    /// Notes what a read of the stream showed: a church had no event between `after`, where this fingerprint is, and
    /// `until`. It helps only if that reaches up to where memory begins.
    pub(crate) fn note_quiet(&mut self, church: &ChurchId, after: u64, fingerprint: Fingerprint, until: u64) {
        if until < self.heard_from || after >= self.heard_from || self.rings.len() >= self.limits.events {
            return;
        }
        let (floor, at_floor) = (self.heard_from, Some(fingerprint));
        match self.rings.get_mut(church) {
            Some(ring) if ring.floor == floor => (ring.floor, ring.at_floor) = (after, at_floor),
            // A later event was forgotten, or an earlier position is known already.
            Some(_) => {}
            None => {
                self.rings.insert(church.clone(), Ring::new(after, at_floor));
            }
        }
    }

    /// The last sequence that is known; the floor while nothing came after it.
    pub(crate) fn last(&self) -> u64 {
        self.floor + self.owners.len() as u64
    }

    /// The newest position.
    pub(crate) fn head(&self) -> Option<Position> {
        let sequence = self.last();
        let fingerprint = self.fingerprint(sequence)?;
        Some(Position { created: self.created, sequence, fingerprint })
    }

    /// The fingerprint at a sequence, if it is remembered.
    pub(crate) fn fingerprint(&self, sequence: u64) -> Option<Fingerprint> {
        self.fingerprints.at(sequence)
    }

    /// The same for one church, which also remembers the fingerprint at its own floor.
    fn fingerprint_for(&self, church: &ChurchId, sequence: u64) -> Option<Fingerprint> {
        let at_floor = || self.rings.get(church).filter(|ring| ring.floor == sequence)?.at_floor;
        self.fingerprints.at(sequence).or_else(at_floor)
    }

    /// The sequence above which every event of a church is here.
    pub(crate) fn floor(&self, church: &ChurchId) -> u64 {
        self.rings.get(church).map_or(self.heard_from, |ring| ring.floor)
    }

    /// A church's events above a sequence, oldest first. They are complete from the church's floor on.
    pub(crate) fn after(&self, church: &ChurchId, sequence: u64) -> impl Iterator<Item = &Arc<Event>> {
        self.rings.get(church).into_iter().flat_map(move |ring| ring.after(sequence))
    }

    /// The progress of a socket that has everything up to a sequence, and so many packets of the next event.
    pub(crate) fn progress(&self, sequence: u64, packets: usize) -> Progress {
        Progress { created: self.created, generation: self.generation, sequence, packets }
    }

    /// Whether a church can be told everything after a position, without a hole.
    pub(crate) fn prove(&self, church: &ChurchId, position: &Position) -> Proof {
        let progress = self.progress(position.sequence, 0);
        if position.created != self.created {
            return Proof::Refuted;
        }
        if position.sequence > self.last() {
            return Proof::Ahead;
        }
        let floor = self.floor(church);
        match self.fingerprint_for(church, position.sequence) {
            Some(held) if held != position.fingerprint => Proof::Refuted,
            Some(_) if position.sequence >= floor => Proof::Held(progress),
            _ => Proof::Older(progress, floor),
        }
    }

    /// The status of an event's message before it, if that is remembered.
    fn status_of(&self, event: &ChurchEvent) -> Option<MessageStatus> {
        self.rings.get(&event.church_id)?.status_of(event.message_id)
    }

    /// Events and bytes that are kept.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.owners.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests;
