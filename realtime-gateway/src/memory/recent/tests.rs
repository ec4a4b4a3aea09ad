//! What is kept and forgotten, and what a cursor is worth after that.

use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;
use crate::events::{News, Packet, Packets};

const CREATED: u64 = 1_700_000_000_000_000_000;
const LIMITS: RecentLimits = RecentLimits { events: 6, bytes: 1 << 20, church_events: 3 };

fn church(id: &str) -> ChurchId {
    id.parse().unwrap()
}

fn mark(sequence: u64) -> Fingerprint {
    Fingerprint::of_bytes(&sequence.to_be_bytes())
}

fn event(sequence: u64, id: &str) -> Arc<Event> {
    let body = serde_json::value::to_raw_value(&"x".repeat(98)).unwrap();
    let packet = Packet { name: "message:sent", body };
    Arc::new(Event {
        sequence,
        church: church(id),
        news: News::Message {
            id: Uuid::from_u128(sequence.into()),
            status: MessageStatus::Pending,
            at: OffsetDateTime::UNIX_EPOCH,
            packets: Packets { notice: None, all: vec![packet] },
        },
    })
}

fn filled(limits: RecentLimits, churches: &[&str]) -> Recent {
    let mut memory = Recent::new(limits, CREATED, 10, Some(mark(10)));
    for (sequence, id) in (11..).zip(churches) {
        memory.push(mark(sequence), Some(event(sequence, id)));
    }
    memory
}

fn sequences(memory: &Recent, id: &str, after: u64) -> Vec<u64> {
    memory.after(&church(id), after).map(|event| event.sequence).collect()
}

#[test]
fn a_busy_church_does_not_push_a_quiet_one_out() {
    let memory = filled(LIMITS, &["quiet", "busy", "busy", "busy", "busy"]);
    assert_eq!(sequences(&memory, "quiet", 10), [11]);
    assert_eq!(memory.floor(&church("quiet")), 10);
    assert_eq!(sequences(&memory, "busy", 10), [13, 14, 15]);
    assert_eq!(memory.floor(&church("busy")), 12);
}

#[test]
fn the_oldest_of_all_goes_first() {
    let memory = filled(LIMITS, &["a", "b", "a", "b", "a", "b", "a", "c"]);
    assert_eq!(memory.last(), 18);
    assert_eq!(memory.floor(&church("unheard-of")), 10, "an event of it would have been heard");
    assert_eq!(sequences(&memory, "b", 0), [14, 16]);
    assert_eq!(sequences(&memory, "a", 15), [17]);
    assert_eq!((memory.floor(&church("a")), memory.floor(&church("b"))), (11, 12));
    // The fingerprint outlives the event.
    assert_eq!((memory.fingerprint(9), memory.fingerprint(11)), (None, Some(mark(11))));
    assert_eq!((memory.fingerprint(18), memory.fingerprint(19)), (Some(mark(18)), None));
}

#[test]
fn a_church_is_known_to_be_quiet_after_its_last_event_was_forgotten() {
    let mut churches = vec!["quiet"];
    churches.extend(["busy"; 20]);
    let memory = filled(LIMITS, &churches);
    assert_eq!((memory.floor(&church("quiet")), memory.size().0), (11, 6));
    assert_eq!(memory.fingerprint_for(&church("quiet"), 11), Some(mark(11)));
    assert_eq!(memory.floor(&church("busy")), 28);
}

#[test]
fn a_quiet_span_read_from_the_stream_is_kept_until_an_event_is_forgotten() {
    let (quiet, busy) = (church("quiet"), church("busy"));
    let mut memory = filled(LIMITS, &["busy", "busy", "busy", "busy"]);
    memory.note_quiet(&quiet, 3, mark(3), 9);
    assert_eq!(memory.floor(&quiet), 10, "the span ends before memory begins");
    memory.note_quiet(&quiet, 3, mark(3), 10);
    assert_eq!((memory.floor(&quiet), memory.fingerprint_for(&quiet, 3)), (3, Some(mark(3))));
    assert_eq!(memory.fingerprint_for(&busy, 3), None);
    memory.note_quiet(&busy, 3, mark(3), 10);
    assert_eq!(memory.floor(&busy), 11, "its event at 11 is forgotten");
    memory.push(mark(15), Some(event(15, "quiet")));
    assert_eq!((memory.floor(&quiet), sequences(&memory, "quiet", 3)), (3, vec![15]));
}

#[test]
fn the_number_of_churches_is_bounded() {
    let names: Vec<String> = (0..20).map(|number| format!("church-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let memory = filled(LIMITS, &names);
    assert!(memory.rings.len() <= LIMITS.events);
    assert_eq!(memory.floor(&church("church-0")), memory.heard_from);
    assert!(memory.heard_from >= 11 && memory.heard_from <= memory.floor);
    assert_eq!(sequences(&memory, "church-19", memory.floor), [30]);
}

#[test]
fn bytes_are_bounded_and_given_back() {
    let limits = RecentLimits { bytes: 250, ..LIMITS };
    let memory = filled(limits, &["a", "b", "c", "d"]);
    assert_eq!(memory.size(), (2, 200));
    let memory = filled(RecentLimits { church_events: 1, ..limits }, &["a", "a", "a", "a"]);
    assert_eq!(memory.size(), (4, 100));
}

#[test]
fn a_message_that_is_no_event_takes_its_sequence_and_belongs_to_no_church() {
    let mut memory = filled(LIMITS, &["a"]);
    memory.push(mark(12), None);
    memory.push(mark(13), Some(event(13, "a")));
    assert_eq!(sequences(&memory, "a", 10), [11, 13]);
    assert_eq!(memory.fingerprint(12), Some(mark(12)));
}

fn stored(sequence: u64, church: &str) -> Stored {
    let payload = json!({
        "v": 1, "id": Uuid::now_v7(), "type": "message:sent", "churchId": church, "messageId": Uuid::now_v7(),
        "status": "pending", "version": 1, "recipientCount": 1, "deliveredCount": 0, "failedCount": 0,
        "unconfirmedCount": 0, "readCount": 0, "timestamp": "2026-11-22T20:15:31.123Z",
    });
    let event: ChurchEvent = serde_json::from_value(payload.clone()).unwrap();
    Stored {
        sequence,
        subject: event.subject(),
        payload: payload.to_string().into(),
        after: None,
        trace: None,
    }
}

/// A memory that keeps four events, two of each church, and has forgotten six before them.
fn stream() -> (Recent, Vec<Position>) {
    let limits = RecentLimits { events: 4, bytes: 1 << 20, church_events: 10 };
    let mut stream = Recent { generation: 3, ..Recent::new(limits, CREATED, 0, None) };
    let mut positions = vec![stream.head().unwrap()];
    for sequence in 1..=10 {
        let church = if sequence % 2 == 0 { "even" } else { "odd" };
        assert!(stream.take(&stored(sequence, church)).error.is_none());
        positions.push(stream.head().unwrap());
    }
    (stream, positions)
}

fn prove(position: &Position) -> Proof {
    prove_in(&stream().0, position)
}

fn prove_in(stream: &Recent, position: &Position) -> Proof {
    stream.prove(&"even".parse().unwrap(), position)
}

#[test]
fn a_cursor_at_an_event_of_another_church_is_held() {
    let (stream, positions) = stream();
    for position in &positions[6..] {
        let proof = prove_in(&stream, position);
        assert!(
            matches!(proof, Proof::Held(p) if p.sequence == position.sequence && p.generation == 3),
            "{proof:?}"
        );
    }
}

#[test]
fn a_cursor_below_memory_has_to_be_read_from_the_stream() {
    let (stream, positions) = stream();
    for position in &positions[..6] {
        assert!(matches!(prove_in(&stream, position), Proof::Older(p, 6) if p.sequence == position.sequence));
    }
}

#[test]
fn a_cursor_of_another_stream_or_of_another_event_is_refuted() {
    let (_, positions) = stream();
    let position = positions[8];
    assert!(matches!(prove(&Position { created: CREATED + 1, ..position }), Proof::Refuted));
    // A second stream has other event ids.
    assert!(matches!(prove(&position), Proof::Refuted));
}

#[test]
fn a_cursor_beyond_the_last_event_is_ahead() {
    let (stream, positions) = stream();
    assert!(matches!(prove_in(&stream, &Position { sequence: 11, ..positions[10] }), Proof::Ahead));
}
