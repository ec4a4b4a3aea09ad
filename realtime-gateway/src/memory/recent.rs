//! The newest part of the stream, in memory: clients that were away for a short time are served from here.
//!
//! Two bounds work together. A church keeps at most so many events, so a loud one can't push the others out. All
//! churches together keep at most so many events and bytes; beyond, the oldest of all goes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use common::event::ChurchEvent;
use common::status::MessageStatus;
use common::subject::ChurchId;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::events::decode::{self, Foreign};
use crate::events::packets::Packets;
use crate::memory::fingerprints::Places;
use crate::stream::cursor::Fingerprint;
use crate::stream::reader::Stored;

/// One event, ready to be sent.
pub(crate) struct Event {
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    /// The church that may see it.
    pub(crate) church: ChurchId,
    /// The message that it is about.
    pub(crate) message: Uuid,
    /// That message's status after it.
    pub(crate) status: MessageStatus,
    /// When it was recorded.
    pub(crate) at: OffsetDateTime,
    /// What browsers get.
    pub(crate) packets: Packets,
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Events of all churches.
    pub(crate) events: usize,
    /// Bytes of all churches' packets.
    pub(crate) bytes: usize,
    /// Events of one church.
    pub(crate) church_events: usize,
}

/// Every sequence above the floor up to the last one, without a hole.
pub(crate) struct Memory {
    limits: Limits,
    floor: u64,
    /// From here on every church's events were heard: one that is not among the rings has had none since.
    begin: u64,
    places: Places,
    /// Whose event is at each sequence above the floor; `None` for what is no event of ours.
    owners: VecDeque<Option<ChurchId>>,
    rings: HashMap<ChurchId, Ring>,
    bytes: usize,
}

/// A church's newest events. It stays when the last of them is forgotten, because that nothing happened since is worth
/// knowing: then a client that comes back costs no question.
struct Ring {
    /// Above this sequence every event of the church is here: the place of its last event that was forgotten, or what
    /// the stream told of it, or the memory's begin.
    floor: u64,
    /// What stands there, if that is known.
    at_floor: Option<Fingerprint>,
    events: VecDeque<Arc<Event>>,
}

impl Ring {
    /// Forgets the oldest event, which has this fingerprint, and gives it back.
    fn forget_oldest(&mut self, at_floor: Option<Fingerprint>) -> Option<Arc<Event>> {
        let oldest = self.events.pop_front()?;
        (self.floor, self.at_floor) = (oldest.sequence, at_floor);
        if self.events.is_empty() {
            // A ring may stay for long without events, and its room would stay with it.
            self.events = VecDeque::new();
        }
        Some(oldest)
    }
}

impl Memory {
    /// An empty memory that begins after `floor`; `at_floor` is what stands there, if it is known.
    pub(crate) fn new(limits: Limits, floor: u64, at_floor: Option<Fingerprint>) -> Self {
        Self {
            limits,
            floor,
            begin: floor,
            places: Places::after(floor, at_floor),
            owners: VecDeque::new(),
            rings: HashMap::new(),
            bytes: 0,
        }
    }

    /// Takes the next message of the stream and gives its event back.
    ///
    /// # Errors
    /// It is no event of ours; its sequence is taken all the same.
    pub(crate) fn take(&mut self, created: u64, stored: &Stored) -> Result<Arc<Event>, Foreign> {
        let status_before = |event: &ChurchEvent| self.status_of(&event.church_id, event.message_id);
        let (fingerprint, event) = decode::prepare(created, stored, status_before);
        self.push(fingerprint, event.as_ref().ok().cloned());
        event
    }

    /// Takes the next sequence: an event, or `None` for a message that is no event of ours.
    fn push(&mut self, fingerprint: Fingerprint, event: Option<Arc<Event>>) {
        self.places.push(fingerprint);
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
        self.bytes += event.packets.size();
        let begin = self.begin;
        let fresh = || Ring { floor: begin, at_floor: None, events: VecDeque::new() };
        let ring = self.rings.entry(event.church.clone()).or_insert_with(fresh);
        ring.events.push_back(event);
        if ring.events.len() > self.limits.church_events {
            let at_floor = ring.events.front().and_then(|oldest| self.places.at(oldest.sequence));
            self.bytes -= ring.forget_oldest(at_floor).map_or(0, |oldest| oldest.packets.size());
        }
    }

    fn forget_oldest(&mut self) {
        let Some(owner) = self.owners.pop_front() else { return };
        self.floor += 1;
        let Some(ring) = owner.and_then(|church| self.rings.get_mut(&church)) else { return };
        if ring.events.front().is_some_and(|event| event.sequence == self.floor) {
            let at_floor = self.places.at(self.floor);
            self.bytes -= ring.forget_oldest(at_floor).map_or(0, |oldest| oldest.packets.size());
        }
    }

    fn forget_quiet_churches(&mut self) {
        self.rings.retain(|_, ring| !ring.events.is_empty());
        self.begin = self.floor;
    }

    /// Learns from the stream that between `after` and a sequence that is not below the memory's begin nothing
    /// happened in a church; `fingerprint` is what stands at `after`.
    pub(crate) fn learn_quiet(
        &mut self,
        church: &ChurchId,
        after: u64,
        fingerprint: Fingerprint,
        until: u64,
    ) {
        if until < self.begin || after >= self.begin || self.rings.len() >= self.limits.events {
            return;
        }
        let (begin, at_floor) = (self.begin, Some(fingerprint));
        match self.rings.get_mut(church) {
            Some(ring) if ring.floor == begin => (ring.floor, ring.at_floor) = (after, at_floor),
            // It was forgotten what came after the begin, or something older is known already.
            Some(_) => {}
            None => {
                let ring = Ring { floor: after, at_floor, events: VecDeque::new() };
                self.rings.insert(church.clone(), ring);
            }
        }
    }

    /// The last sequence that is known; the floor while nothing came after it.
    pub(crate) fn last(&self) -> u64 {
        self.floor + self.owners.len() as u64
    }

    /// What stands at a sequence, if that is remembered.
    pub(crate) fn fingerprint(&self, sequence: u64) -> Option<Fingerprint> {
        self.places.at(sequence)
    }

    /// What stands at a sequence, if that is remembered, or is where the church's events begin here.
    pub(crate) fn fingerprint_for(&self, church: &ChurchId, sequence: u64) -> Option<Fingerprint> {
        let at_floor = || self.rings.get(church).filter(|ring| ring.floor == sequence)?.at_floor;
        self.places.at(sequence).or_else(at_floor)
    }

    /// The sequence above which every event of a church is here.
    pub(crate) fn floor(&self, church: &ChurchId) -> u64 {
        self.rings.get(church).map_or(self.begin, |ring| ring.floor)
    }

    /// A church's events above a sequence, oldest first; all of them where that is not below the church's floor.
    pub(crate) fn after(&self, church: &ChurchId, sequence: u64) -> impl Iterator<Item = &Arc<Event>> {
        self.rings.get(church).into_iter().flat_map(move |ring| {
            let first = ring.events.partition_point(|event| event.sequence <= sequence);
            ring.events.range(first..)
        })
    }

    /// A message's newest status that is remembered.
    fn status_of(&self, church: &ChurchId, message: Uuid) -> Option<MessageStatus> {
        let ring = self.rings.get(church)?;
        ring.events.iter().rev().find(|event| event.message == message).map(|event| event.status)
    }

    /// Events and bytes that are kept.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.owners.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { events: 6, bytes: 1 << 20, church_events: 3 };

    fn church(id: &str) -> ChurchId {
        id.parse().unwrap()
    }

    fn mark(sequence: u64) -> Fingerprint {
        Fingerprint::of_bytes(&sequence.to_be_bytes())
    }

    fn event(sequence: u64, id: &str) -> Arc<Event> {
        let body = serde_json::value::to_raw_value(&"x".repeat(98)).unwrap();
        let packet = crate::events::packets::Packet { name: "message:sent", body };
        Arc::new(Event {
            sequence,
            church: church(id),
            message: Uuid::from_u128(sequence.into()),
            status: MessageStatus::Pending,
            at: OffsetDateTime::UNIX_EPOCH,
            packets: Packets { notice: None, all: vec![packet] },
        })
    }

    fn filled(limits: Limits, churches: &[&str]) -> Memory {
        let mut memory = Memory::new(limits, 10, Some(mark(10)));
        for (sequence, id) in (11..).zip(churches) {
            memory.push(mark(sequence), Some(event(sequence, id)));
        }
        memory
    }

    fn sequences(memory: &Memory, id: &str, after: u64) -> Vec<u64> {
        memory.after(&church(id), after).map(|event| event.sequence).collect()
    }

    #[test]
    fn a_loud_church_does_not_push_a_quiet_one_out() {
        let memory = filled(LIMITS, &["quiet", "loud", "loud", "loud", "loud"]);
        assert_eq!(sequences(&memory, "quiet", 10), [11]);
        assert_eq!(memory.floor(&church("quiet")), 10);
        assert_eq!(sequences(&memory, "loud", 10), [13, 14, 15]);
        assert_eq!(memory.floor(&church("loud")), 12);
    }

    #[test]
    fn the_oldest_of_all_goes_first() {
        let memory = filled(LIMITS, &["a", "b", "a", "b", "a", "b", "a", "c"]);
        assert_eq!(memory.last(), 18);
        assert_eq!(memory.floor(&church("unheard-of")), 10, "it would have been heard of");
        assert_eq!(sequences(&memory, "b", 0), [14, 16]);
        assert_eq!(sequences(&memory, "a", 15), [17]);
        assert_eq!((memory.floor(&church("a")), memory.floor(&church("b"))), (11, 12));
        // What stood there outlives the event.
        assert_eq!((memory.fingerprint(9), memory.fingerprint(11)), (None, Some(mark(11))));
        assert_eq!((memory.fingerprint(18), memory.fingerprint(19)), (Some(mark(18)), None));
    }

    #[test]
    fn that_nothing_happened_in_a_church_is_known_long_after_its_last_event_was_forgotten() {
        let mut churches = vec!["quiet"];
        churches.extend(["loud"; 20]);
        let memory = filled(LIMITS, &churches);
        assert_eq!((memory.floor(&church("quiet")), memory.size().0), (11, 6));
        assert_eq!(memory.fingerprint_for(&church("quiet"), 11), Some(mark(11)));
        assert_eq!(memory.floor(&church("loud")), 28);
    }

    #[test]
    fn what_the_stream_told_of_a_church_is_known_until_something_is_forgotten() {
        let (quiet, loud) = (church("quiet"), church("loud"));
        let mut memory = filled(LIMITS, &["loud", "loud", "loud", "loud"]);
        memory.learn_quiet(&quiet, 3, mark(3), 9);
        assert_eq!(memory.floor(&quiet), 10, "the answer does not reach to the begin");
        memory.learn_quiet(&quiet, 3, mark(3), 10);
        assert_eq!((memory.floor(&quiet), memory.fingerprint_for(&quiet, 3)), (3, Some(mark(3))));
        assert_eq!(memory.fingerprint_for(&loud, 3), None);
        memory.learn_quiet(&loud, 3, mark(3), 10);
        assert_eq!(memory.floor(&loud), 11, "its event at 11 is forgotten");
        memory.push(mark(15), Some(event(15, "quiet")));
        assert_eq!((memory.floor(&quiet), sequences(&memory, "quiet", 3)), (3, vec![15]));
    }

    #[test]
    fn churches_are_not_kept_without_bound() {
        let names: Vec<String> = (0..20).map(|number| format!("church-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let memory = filled(LIMITS, &names);
        assert!(memory.rings.len() <= LIMITS.events);
        assert_eq!(memory.floor(&church("church-0")), memory.begin);
        assert!(memory.begin >= 11 && memory.begin <= memory.floor);
        assert_eq!(sequences(&memory, "church-19", memory.floor), [30]);
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let limits = Limits { bytes: 250, ..LIMITS };
        let memory = filled(limits, &["a", "b", "c", "d"]);
        assert_eq!(memory.size(), (2, 200));
        let memory = filled(Limits { church_events: 1, ..limits }, &["a", "a", "a", "a"]);
        assert_eq!(memory.size(), (4, 100));
    }

    #[test]
    fn a_foreign_message_takes_its_place_and_belongs_to_nobody() {
        let mut memory = filled(LIMITS, &["a"]);
        memory.push(mark(12), None);
        memory.push(mark(13), Some(event(13, "a")));
        assert_eq!(sequences(&memory, "a", 10), [11, 13]);
        assert_eq!(memory.fingerprint(12), Some(mark(12)));
    }
}
