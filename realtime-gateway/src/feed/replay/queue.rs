//! Replayed events that wait for their turn. Each church gets one event in a turn, so a large replay of one church does
//! not delay another's.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use common::subject::ChurchId;

/// Bytes that may wait.
const MOST_BYTES: usize = 16 << 20;
/// Bytes that an event takes besides its text, roughly.
const OVERHEAD: usize = 128;
/// Events in a turn. With more churches, some wait for the next turn.
const MOST_IN_A_TURN: usize = 32;

/// One event that waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The subject it was published to.
    pub(super) subject: String,
    /// The payload.
    pub(super) payload: Bytes,
}

impl Waiting {
    /// Copies both, because a received message keeps a large network buffer alive.
    pub(super) fn new(subject: &str, payload: &[u8]) -> Self {
        Self { subject: subject.to_owned(), payload: Bytes::copy_from_slice(payload) }
    }

    fn weight(&self) -> usize {
        OVERHEAD + self.subject.len() + self.payload.len()
    }
}

/// The waiting events, bounded by bytes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    churches: HashMap<ChurchId, VecDeque<Waiting>>,
    /// The churches with waiting events, in the order of their turns.
    turns: VecDeque<ChurchId>,
    bytes: usize,
}

impl Queue {
    /// Adds an event to its church's queue. Returns false if there is no room.
    pub(super) fn push(&mut self, church: ChurchId, waiting: Waiting) -> bool {
        if self.bytes + waiting.weight() > MOST_BYTES {
            return false;
        }
        self.bytes += waiting.weight();
        let of_church = self.churches.entry(church.clone()).or_default();
        if of_church.is_empty() {
            self.turns.push_back(church);
        }
        of_church.push_back(waiting);
        true
    }

    /// Whether no event waits.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Takes the oldest event of each church whose turn it is.
    pub(super) fn take_turn(&mut self) -> Vec<Waiting> {
        let churches = self.turns.len().min(MOST_IN_A_TURN);
        (0..churches).filter_map(|_| self.take_one()).collect()
    }

    fn take_one(&mut self) -> Option<Waiting> {
        let church = self.turns.pop_front()?;
        let of_church = self.churches.get_mut(&church)?;
        let waiting = of_church.pop_front()?;
        self.bytes -= waiting.weight();
        if of_church.is_empty() {
            self.churches.remove(&church);
        } else {
            self.turns.push_back(church);
        }
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &mut Queue, church: &str, payload: &str) -> bool {
        queue.push(church.parse().unwrap(), Waiting::new("church.x.sent", payload.as_bytes()))
    }

    fn turn(queue: &mut Queue) -> Vec<String> {
        let turn = queue.take_turn();
        turn.iter().map(|waiting| String::from_utf8_lossy(&waiting.payload).into_owned()).collect()
    }

    #[test]
    fn each_church_gets_one_event_in_a_turn_in_its_own_order() {
        let mut queue = Queue::default();
        for (church, payload) in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")] {
            assert!(push(&mut queue, church, payload));
        }
        assert_eq!(turn(&mut queue), ["a1", "b1"]);
        assert!(push(&mut queue, "b", "b2"));
        assert_eq!([turn(&mut queue), turn(&mut queue)], [["a2", "b2"].as_slice(), &["a3"]]);
        assert!(queue.is_empty() && queue.churches.is_empty());
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn no_church_gets_its_second_event_before_another_gets_its_first() {
        let mut queue = Queue::default();
        for _ in 0..2 {
            for church in 0..MOST_IN_A_TURN + 5 {
                assert!(push(&mut queue, &format!("c{church}"), &church.to_string()));
            }
        }
        let mut seen = turn(&mut queue);
        assert_eq!(seen.len(), MOST_IN_A_TURN);
        seen.extend(turn(&mut queue));
        seen.truncate(MOST_IN_A_TURN + 5);
        let expected: Vec<_> = (0..MOST_IN_A_TURN + 5).map(|church| church.to_string()).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_queue_is_bounded_by_bytes() {
        let (mut queue, large) = (Queue::default(), "x".repeat(1 << 20));
        let mut taken = 0;
        while push(&mut queue, "a", &large) {
            taken += 1;
        }
        assert_eq!(taken, MOST_BYTES / (1 << 20) - 1);
        assert!(queue.bytes <= MOST_BYTES);
        queue.take_turn();
        assert!(push(&mut queue, "a", &large));
    }
}
