//! The events' wire form: one golden file for each kind. Fields may be added; nothing else may change.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use common::event::{ChangedRecipient, ChurchEvent, EventType, FORMAT, MAX_CHANGED, timestamp};
use common::inbound::{InboundEvent, InboundType, OptOut};
use common::status::{MessageStatus, Tally};
use serde_json::Value;
use uuid::Uuid;

fn event(kind: EventType, status: MessageStatus, version: i64, tally: Tally) -> ChurchEvent {
    let mut event = ChurchEvent {
        v: FORMAT,
        id: "01939f5e-7c00-7000-8000-000000000001".parse().unwrap(),
        kind,
        church_id: "grace".parse().unwrap(),
        message_id: "01939f5e-7c00-7000-8000-00000000000a".parse().unwrap(),
        conversation_id: None,
        status,
        version,
        recipient_count: 0,
        delivered_count: 0,
        failed_count: 0,
        cancelled_count: 0,
        unconfirmed_count: 0,
        read_count: 0,
        failure_reason: None,
        changed: Vec::new(),
        changed_more: false,
        user_id: Some("u1".into()),
        timestamp: timestamp::parse("2026-11-22T20:15:31.123Z").unwrap(),
        occurred_at: None,
    };
    event.set_tally(&tally);
    event
}

fn changed(status: MessageStatus) -> Vec<ChangedRecipient> {
    vec![ChangedRecipient { recipient_id: "01939f5e-7c00-7000-8000-0000000000b1".parse().unwrap(), status }]
}

fn golden() -> Vec<(&'static str, ChurchEvent, &'static str)> {
    let three = Tally::new(3);
    let mut sent = event(EventType::Sent, MessageStatus::Pending, 1, three);
    sent.conversation_id = Some("c7".into());
    let mut update =
        event(EventType::StatusUpdate, MessageStatus::Pending, 2, Tally { delivered: 1, ..three });
    update.set_changed(changed(MessageStatus::Delivered));
    update.occurred_at = timestamp::parse("2026-11-22T20:15:30.9Z");
    update.changed_more = true;
    let delivered = Tally { delivered: 2, failed: 1, ..three };
    let mut delivered = event(EventType::Delivered, MessageStatus::Delivered, 4, delivered);
    delivered.failure_reason = Some("The recipient has opted out (STOP).".into());
    delivered.set_changed(changed(MessageStatus::Delivered));
    let mut failed = event(EventType::Failed, MessageStatus::Failed, 2, Tally { failed: 1, ..Tally::new(1) });
    failed.failure_reason = Some("The recipient has opted out (STOP).".into());
    failed.set_changed(changed(MessageStatus::Failed));
    let cancelled = Tally { failed: 1, cancelled: 1, ..Tally::new(1) };
    let kind = EventType::of_change(MessageStatus::Pending, &cancelled);
    let mut cancelled = event(kind, MessageStatus::Failed, 2, cancelled);
    cancelled.failure_reason = Some("Cancelled by u1.".into());
    cancelled.set_changed(changed(MessageStatus::Failed));
    let mut read =
        event(EventType::Read, MessageStatus::Read, 3, Tally { delivered: 1, read: 1, ..Tally::new(1) });
    read.set_changed(changed(MessageStatus::Read));
    vec![
        ("sent", sent, include_str!("../golden/sent.json")),
        ("status_update", update, include_str!("../golden/status_update.json")),
        ("delivered", delivered, include_str!("../golden/delivered.json")),
        ("failed", failed, include_str!("../golden/failed.json")),
        ("cancelled", cancelled, include_str!("../golden/cancelled.json")),
        ("read", read, include_str!("../golden/read.json")),
    ]
}

#[test]
fn each_event_is_written_as_its_golden_file() {
    for (name, event, file) in golden() {
        let golden: Value = serde_json::from_str(file).unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap(), golden, "{name}");
    }
}

#[test]
fn a_golden_file_with_unknown_fields_is_read_as_its_event() {
    for (name, event, file) in golden() {
        let mut golden: Value = serde_json::from_str(file).unwrap();
        golden["addedLater"] = Value::Bool(true);
        assert_eq!(serde_json::from_value::<ChurchEvent>(golden).unwrap(), event, "{name}");
    }
}

#[test]
fn the_news_of_a_text_is_written_and_read_as_its_golden_file() {
    let event = InboundEvent {
        v: FORMAT,
        id: "01939f5e-7c00-7000-8000-000000000001".parse().unwrap(),
        kind: InboundType::Received,
        church_id: "grace".parse().unwrap(),
        inbound_id: "01939f5e-7c00-7000-8000-00000000000c".parse().unwrap(),
        received_at: timestamp::parse("2026-11-22T20:15:30.9Z").unwrap(),
        opt_out: Some(OptOut::Stop),
        timestamp: timestamp::parse("2026-11-22T20:15:31.123Z").unwrap(),
    };
    let mut golden: Value = serde_json::from_str(include_str!("../golden/received.json")).unwrap();
    assert_eq!(serde_json::to_value(&event).unwrap(), golden);
    golden["addedLater"] = Value::Bool(true);
    assert_eq!(serde_json::from_value::<InboundEvent>(golden).unwrap(), event);
}

#[test]
fn an_event_names_at_most_twenty_recipients() {
    let mut event = event(EventType::StatusUpdate, MessageStatus::Pending, 2, Tally::new(30));
    let many = |from: u128, count: u128| -> Vec<ChangedRecipient> {
        (from..from + count)
            .map(|n| ChangedRecipient { recipient_id: Uuid::from_u128(n), status: MessageStatus::Delivered })
            .collect()
    };
    event.set_changed(many(0, 20));
    assert_eq!((event.changed.len(), event.changed_more), (MAX_CHANGED, false));
    let mut older = event.clone();
    older.set_changed(many(100, 1));
    event.absorb(older);
    assert_eq!((event.changed.len(), event.changed_more), (MAX_CHANGED, true));
}
