//! The packets of each golden event as the author's browser gets them, one file per event. Fields may be added to these
//! files; none may change.

use serde_json::{Value, json};

use super::*;

const CURSOR: &str = "AQ";

/// Name, the event as the broker carries it, and its packets.
const FILES: [(&str, &str, &str); 6] = [
    ("sent", include_str!("../../../../common/golden/sent.json"), include_str!("../../../golden/sent.json")),
    (
        "status_update",
        include_str!("../../../../common/golden/status_update.json"),
        include_str!("../../../golden/status_update.json"),
    ),
    (
        "delivered",
        include_str!("../../../../common/golden/delivered.json"),
        include_str!("../../../golden/delivered.json"),
    ),
    (
        "failed",
        include_str!("../../../../common/golden/failed.json"),
        include_str!("../../../golden/failed.json"),
    ),
    (
        "cancelled",
        include_str!("../../../../common/golden/cancelled.json"),
        include_str!("../../../golden/cancelled.json"),
    ),
    ("read", include_str!("../../../../common/golden/read.json"), include_str!("../../../golden/read.json")),
];

/// The packets that the author gets.
fn packets(event: &str, delivery: Delivery<'_>) -> Value {
    let parsed: ChurchEvent = serde_json::from_str(event).unwrap();
    let packets = encode(&parsed, event.as_bytes(), delivery).unwrap();
    packets.of_user("u1").map(shown).collect()
}

fn shown(packet: &Packet) -> Value {
    json!({"name": packet.name, "body": serde_json::from_str::<Value>(packet.body.get()).unwrap()})
}

#[test]
fn an_event_reaches_its_author_as_its_golden_packets() {
    for (name, event, golden) in FILES {
        let parsed = serde_json::from_str(event).unwrap();
        let finishes = finishes(&parsed, || Some(MessageStatus::Pending));
        let golden: Value = serde_json::from_str(golden).unwrap();
        assert_eq!(packets(event, Delivery::InOrder { cursor: CURSOR, finishes }), golden, "{name}");
    }
}

#[test]
fn a_text_that_came_in_reaches_its_church_as_its_golden_packet() {
    let event = include_str!("../../../../common/golden/received.json");
    let golden: Value = serde_json::from_str(include_str!("../../../golden/received.json")).unwrap();
    let parsed = serde_json::from_str(event).unwrap();
    let delivery = Delivery::InOrder { cursor: CURSOR, finishes: false };
    let packets = encode_inbound(&parsed, event.as_bytes(), delivery).unwrap();
    assert_eq!(packets.of_user("u2").map(shown).collect::<Value>(), golden);
}

#[test]
fn a_replayed_event_is_its_golden_packets() {
    let golden: Value = serde_json::from_str(include_str!("../../../golden/replayed.json")).unwrap();
    let delivered = include_str!("../../../../common/golden/delivered.json");
    let received = include_str!("../../../../common/golden/received.json");
    let text = serde_json::from_str(received).unwrap();
    let text = encode_inbound(&text, received.as_bytes(), Delivery::Replayed).unwrap();
    let mut all = packets(delivered, Delivery::Replayed);
    all.as_array_mut().unwrap().extend(text.all.iter().map(shown));
    assert_eq!(all, golden);
}
