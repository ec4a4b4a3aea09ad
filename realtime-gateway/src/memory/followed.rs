//! The stream as the gateway follows it: its newest part, and what a cursor is worth there.

use common::subject::ChurchId;

use crate::memory::recent::Memory;
use crate::stream::cursor::Place;

/// The stream that the gateway follows.
pub(crate) struct Followed {
    /// When it was created.
    pub(crate) created: u64,
    /// Rises whenever a place is taken: a client that is catching up has to begin anew then.
    pub(crate) generation: u64,
    /// Its newest part.
    pub(crate) memory: Memory,
}

/// How far a socket is that catches up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The stream's creation.
    pub(crate) created: u64,
    /// The generation that it belongs to.
    pub(crate) generation: u64,
    /// Everything up to this sequence was sent.
    pub(crate) sequence: u64,
    /// Packets of the event after it that were sent already.
    pub(crate) packets: usize,
}

/// Whether a cursor's place is in the stream that we follow.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof {
    /// It is, and what came after it is in memory.
    Held(Progress),
    /// It is older than the memory, which begins after this floor: the stream has to be asked.
    Older(Progress, u64),
    /// It lies ahead of us; maybe another gateway was quicker.
    Ahead,
    /// It is not.
    Refuted,
}

impl Followed {
    /// The newest place.
    pub(crate) fn head(&self) -> Option<Place> {
        let sequence = self.memory.last();
        let fingerprint = self.memory.fingerprint(sequence)?;
        Some(Place { created: self.created, sequence, fingerprint })
    }

    /// How far a socket is that got everything up to a sequence, and so many packets of the event after it.
    pub(crate) fn progress(&self, sequence: u64, packets: usize) -> Progress {
        Progress { created: self.created, generation: self.generation, sequence, packets }
    }

    /// Whether what came after a place can be told to the church without a hole.
    pub(crate) fn prove(&self, church: &ChurchId, place: &Place) -> Proof {
        let progress = self.progress(place.sequence, 0);
        if place.created != self.created {
            return Proof::Refuted;
        }
        if place.sequence > self.memory.last() {
            return Proof::Ahead;
        }
        let floor = self.memory.floor(church);
        match self.memory.fingerprint_for(church, place.sequence) {
            Some(held) if held != place.fingerprint => Proof::Refuted,
            Some(_) if place.sequence >= floor => Proof::Held(progress),
            _ => Proof::Older(progress, floor),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::event::ChurchEvent;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::memory::recent::Limits;
    use crate::stream::reader::Stored;

    const CREATED: u64 = 1_700_000_000_000_000_000;

    fn stored(sequence: u64, church: &str) -> Stored {
        let payload = json!({
            "v": 1, "id": Uuid::now_v7(), "type": "message:sent", "churchId": church, "messageId": Uuid::now_v7(),
            "status": "pending", "version": 1, "recipientCount": 1, "deliveredCount": 0, "failedCount": 0,
            "unconfirmedCount": 0, "readCount": 0, "timestamp": "2026-11-22T20:15:31.123Z",
        });
        let event: ChurchEvent = serde_json::from_value(payload.clone()).unwrap();
        Stored { sequence, subject: event.subject(), payload: payload.to_string().into(), after: None }
    }

    /// Remembers four events, two of each church, after six that it has forgotten.
    fn stream() -> (Followed, Vec<Place>) {
        let limits = Limits { events: 4, bytes: 1 << 20, church_events: 10 };
        let memory = Memory::new(limits, 0, None);
        let mut stream = Followed { created: CREATED, generation: 3, memory };
        let mut places = vec![stream.head().unwrap()];
        for sequence in 1..=10 {
            let church = if sequence % 2 == 0 { "even" } else { "odd" };
            stream.memory.take(CREATED, &stored(sequence, church)).unwrap();
            places.push(stream.head().unwrap());
        }
        (stream, places)
    }

    fn prove(place: &Place) -> Proof {
        prove_in(&stream().0, place)
    }

    fn prove_in(stream: &Followed, place: &Place) -> Proof {
        stream.prove(&"even".parse().unwrap(), place)
    }

    #[test]
    fn a_cursor_in_memory_is_held_even_if_another_church_stands_there() {
        let (stream, places) = stream();
        for place in &places[6..] {
            let proof = prove_in(&stream, place);
            assert!(
                matches!(proof, Proof::Held(p) if p.sequence == place.sequence && p.generation == 3),
                "{proof:?}"
            );
        }
    }

    #[test]
    fn a_cursor_below_the_memory_has_to_be_asked_for() {
        let (stream, places) = stream();
        for place in &places[..6] {
            assert!(matches!(prove_in(&stream, place), Proof::Older(p, 6) if p.sequence == place.sequence));
        }
    }

    #[test]
    fn a_cursor_of_another_stream_or_of_another_event_is_refuted() {
        let (_, places) = stream();
        let place = places[8];
        assert!(matches!(prove(&Place { created: CREATED + 1, ..place }), Proof::Refuted));
        // The ids of this stream are others.
        assert!(matches!(prove(&place), Proof::Refuted));
    }

    #[test]
    fn a_cursor_of_the_future_is_ahead() {
        let (stream, places) = stream();
        assert!(matches!(prove_in(&stream, &Place { sequence: 11, ..places[10] }), Proof::Ahead));
    }
}
