//! The newest part of the stream, in memory: whoever was away for a short time is served from here.
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

use crate::cursor::Fingerprint;
use crate::intake::{self, Foreign};
use crate::packets::Packets;
use crate::stream::Stored;

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
    at_floor: Option<Fingerprint>,
    entries: VecDeque<Entry>,
    rings: HashMap<ChurchId, Ring>,
    bytes: usize,
}

struct Entry {
    fingerprint: Fingerprint,
    church: Option<ChurchId>,
}

#[derive(Default)]
struct Ring {
    floor: u64,
    events: VecDeque<Arc<Event>>,
}

impl Memory {
    /// An empty memory that begins after `floor`; `at_floor` is what stands there, if it is known.
    pub(crate) fn new(limits: Limits, floor: u64, at_floor: Option<Fingerprint>) -> Self {
        Self { limits, floor, at_floor, entries: VecDeque::new(), rings: HashMap::new(), bytes: 0 }
    }

    /// Takes the next message of the stream and gives its event back.
    ///
    /// # Errors
    /// It is no event of ours; its sequence is taken all the same.
    pub(crate) fn take(&mut self, created: u64, stored: &Stored) -> Result<Arc<Event>, Foreign> {
        let status_before = |event: &ChurchEvent| self.status_of(&event.church_id, event.message_id);
        let (fingerprint, event) = intake::prepare(created, stored, status_before);
        self.push(fingerprint, event.as_ref().ok().cloned());
        event
    }

    /// Takes the next sequence: an event, or `None` for a message that is no event of ours.
    fn push(&mut self, fingerprint: Fingerprint, event: Option<Arc<Event>>) {
        let church = event.as_ref().map(|event| event.church.clone());
        self.entries.push_back(Entry { fingerprint, church });
        if let Some(event) = event {
            self.bytes += event.packets.size();
            let ring = self.rings.entry(event.church.clone()).or_default();
            ring.events.push_back(event);
            if ring.events.len() > self.limits.church_events
                && let Some(oldest) = ring.events.pop_front()
            {
                ring.floor = oldest.sequence;
                self.bytes -= oldest.packets.size();
            }
        }
        while self.entries.len() > self.limits.events || self.bytes > self.limits.bytes {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.floor += 1;
        self.at_floor = Some(entry.fingerprint);
        let Some(church) = entry.church else { return };
        let Some(ring) = self.rings.get_mut(&church) else { return };
        if let Some(oldest) = ring.events.pop_front_if(|event| event.sequence == self.floor) {
            self.bytes -= oldest.packets.size();
        }
        if ring.events.is_empty() {
            self.rings.remove(&church);
        }
    }

    /// The last sequence that is known; the floor while nothing came after it.
    pub(crate) fn last(&self) -> u64 {
        self.floor + self.entries.len() as u64
    }

    /// What stands at a sequence, if that is remembered. Before the first sequence stand zeros.
    pub(crate) fn fingerprint(&self, sequence: u64) -> Option<Fingerprint> {
        match sequence.checked_sub(self.floor)? {
            0 if sequence == 0 => Some(Fingerprint::default()),
            0 => self.at_floor,
            n => self.entries.get(usize::try_from(n - 1).ok()?).map(|entry| entry.fingerprint),
        }
    }

    /// The sequence above which every event of a church is here.
    pub(crate) fn floor(&self, church: &ChurchId) -> u64 {
        self.rings.get(church).map_or(self.floor, |ring| ring.floor.max(self.floor))
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
        (self.entries.len(), self.bytes)
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
        let packet = crate::packets::Packet { name: "message:sent", body };
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
        assert_eq!(memory.floor(&church("unheard-of")), 12);
        assert_eq!(sequences(&memory, "b", 0), [14, 16]);
        assert_eq!(sequences(&memory, "a", 15), [17]);
        assert_eq!((memory.fingerprint(11), memory.fingerprint(12)), (None, Some(mark(12))));
        assert_eq!((memory.fingerprint(18), memory.fingerprint(19)), (Some(mark(18)), None));
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

    #[test]
    fn before_the_first_sequence_of_a_stream_stand_zeros() {
        let memory = Memory::new(LIMITS, 0, None);
        assert_eq!(memory.fingerprint(0), Some(Fingerprint::default()));
        assert_eq!(Memory::new(LIMITS, 5, None).fingerprint(5), None);
    }
}
