//! The packets of one event: one or two for the church, and one for the author alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use common::event::{ChurchEvent, EventType, timestamp};
use common::inbound::InboundEvent;
use common::status::MessageStatus;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// The packet to the author alone when a message finishes.
pub(crate) const NOTIFICATION: &str = "notification";

/// One packet, encoded once and sent to many sockets.
pub(crate) struct Packet {
    /// The event name that clients listen to.
    pub(crate) name: &'static str,
    /// Its JSON object.
    pub(crate) body: Box<RawValue>,
}

/// A packet for one user of the church.
pub(crate) struct Notice {
    /// The author.
    pub(crate) user: String,
    /// The notification.
    pub(crate) packet: Packet,
}

/// All packets of one event. The notice, if there is one, is sent first.
pub(crate) struct Packets {
    /// For the author alone.
    pub(crate) notice: Option<Notice>,
    /// For the whole church.
    pub(crate) all: Vec<Packet>,
}

impl Packets {
    /// The packets for one user. Only the last carries the cursor, so a client that loses one of them gets all again.
    pub(crate) fn of_user<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a Packet> {
        let notice =
            self.notice.iter().filter(move |notice| notice.user == user).map(|notice| &notice.packet);
        notice.chain(&self.all)
    }

    /// Bytes of all bodies.
    pub(crate) fn size(&self) -> usize {
        let notice = self.notice.as_ref().map_or(0, |notice| notice.packet.body.get().len());
        notice + self.all.iter().map(|packet| packet.body.get().len()).sum::<usize>()
    }
}

/// How an event reaches the browser.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Delivery<'a> {
    /// In the order of the stream, with the cursor of its position.
    InOrder {
        /// The client's cursor once it has the last packet.
        cursor: &'a str,
        /// The event finishes its message, so the author gets a notification.
        finishes: bool,
    },
    /// Replayed by an operator: marked as such, without cursor and notification.
    Replayed,
}

/// Encodes the packets from the event's own JSON, so that fields unknown to this version of the gateway are passed on.
///
/// # Errors
/// The payload is not the JSON object that `event` was read from.
pub(crate) fn encode(
    event: &ChurchEvent,
    payload: &[u8],
    delivery: Delivery<'_>,
) -> serde_json::Result<Packets> {
    let base = match event.kind {
        EventType::Sent => EventType::Sent,
        _ => EventType::StatusUpdate,
    };
    let names = [base.as_str(), event.kind.as_str()];
    let names = if base == event.kind { &names[..1] } else { &names[..] };
    let all = named(names, payload, delivery)?;
    let notice = match (delivery, &event.user_id) {
        (Delivery::InOrder { finishes: true, .. }, Some(user)) => {
            Some(Notice { user: user.clone(), packet: notification(event)? })
        }
        _ => None,
    };
    Ok(Packets { notice, all })
}

/// Encodes the packet of a text that came in, in the same way.
///
/// # Errors
/// The payload is not the JSON object that `event` was read from.
pub(crate) fn encode_inbound(
    event: &InboundEvent,
    payload: &[u8],
    delivery: Delivery<'_>,
) -> serde_json::Result<Packets> {
    Ok(Packets { notice: None, all: named(&[event.kind.as_str()], payload, delivery)? })
}

/// A packet for each name. The last one has the cursor.
fn named(names: &[&'static str], payload: &[u8], delivery: Delivery<'_>) -> serde_json::Result<Vec<Packet>> {
    let fields = shared_fields(payload)?;
    let last = names.len() - 1;
    let packets = names.iter().enumerate().map(|(i, name)| {
        let cursor = match delivery {
            Delivery::InOrder { cursor, .. } if i == last => Some(cursor),
            _ => None,
        };
        let replay = matches!(delivery, Delivery::Replayed).then_some(true);
        let body = Body { kind: name, fields: &fields, replay, cursor };
        Ok(Packet { name, body: serde_json::value::to_raw_value(&body)? })
    });
    packets.collect()
}

/// Whether an event finishes its message, judged by the status before it. `before` is called only if needed, because
/// finding it takes time. It returns `None` if the status is forgotten; then a message that was read counts as finished
/// before, because it must have been delivered first. A message that was cancelled as a whole does not count.
pub(crate) fn finishes(event: &ChurchEvent, before: impl FnOnce() -> Option<MessageStatus>) -> bool {
    if event.kind == EventType::Sent || event.status == MessageStatus::Pending || is_only_cancelled(event) {
        return false;
    }
    before().map_or(event.kind != EventType::Read, |before| before == MessageStatus::Pending)
}

/// Whether nothing of the message was sent. Who cancelled it needs no notification.
fn is_only_cancelled(event: &ChurchEvent) -> bool {
    event.status == MessageStatus::Failed && event.cancelled_count == event.recipient_count
}

type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The fields that all packets share: the event without format number and type, and with `id` renamed to `eventId`.
fn shared_fields(payload: &[u8]) -> serde_json::Result<Fields<'_>> {
    let mut fields: Fields<'_> = serde_json::from_slice(payload)?;
    for name in ["v", "type", "replay", "cursor"] {
        fields.remove(name);
    }
    if let Some(id) = fields.remove("id") {
        fields.insert("eventId".into(), id);
    }
    Ok(fields)
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    fields: &'a Fields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
}

fn notification(event: &ChurchEvent) -> serde_json::Result<Packet> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Notification {
        #[serde(rename = "type")]
        name: &'static str,
        kind: &'static str,
        message_id: Uuid,
        status: MessageStatus,
        timestamp: String,
        event_id: Uuid,
    }
    let body = Notification {
        name: NOTIFICATION,
        kind: "message_finished",
        message_id: event.message_id,
        status: event.status,
        timestamp: timestamp::to_text(event.timestamp),
        event_id: event.id,
    };
    Ok(Packet { name: NOTIFICATION, body: serde_json::value::to_raw_value(&body)? })
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn payload(kind: &str, status: &str) -> Value {
        json!({
            "v": 1, "id": "01890a5d-ac96-774b-bcce-b302099a8057", "type": kind, "churchId": "grace",
            "messageId": "01890a5d-ac96-774b-bcce-b302099a8058", "status": status, "version": 7,
            "recipientCount": 3, "deliveredCount": 2, "failedCount": 1, "unconfirmedCount": 0, "readCount": 0,
            "failureReason": "STOP \"\u{e9}\"", "userId": "ann", "timestamp": "2026-11-22T20:15:31.123Z",
            "ofTheFuture": {"a": [1, 2.50]},
        })
    }

    fn packets(kind: &str, status: &str, delivery: Delivery<'_>) -> Packets {
        let payload = payload(kind, status).to_string();
        let event = serde_json::from_str(&payload).unwrap();
        encode(&event, payload.as_bytes(), delivery).unwrap()
    }

    fn body(packet: &Packet) -> Value {
        serde_json::from_str(packet.body.get()).unwrap()
    }

    fn names<'a>(packets: impl Iterator<Item = &'a Packet>) -> Vec<&'static str> {
        packets.map(|p| p.name).collect()
    }

    const UNFINISHED: Delivery<'static> = Delivery::InOrder { cursor: "C", finishes: false };
    const FINISHED: Delivery<'static> = Delivery::InOrder { cursor: "C", finishes: true };

    #[test]
    fn a_status_change_is_sent_as_update_and_by_its_own_name_and_the_last_packet_has_the_cursor() {
        for (kind, status) in
            [("message:delivered", "delivered"), ("message:failed", "failed"), ("message:read", "read")]
        {
            let packets = packets(kind, status, UNFINISHED);
            assert_eq!(names(packets.of_user("ann")), ["message:status_update", kind]);
            assert_eq!(body(&packets.all[0]).get("cursor"), None);
            assert_eq!(body(&packets.all[1])["cursor"], "C");
        }
        for (kind, status) in [("message:sent", "pending"), ("message:status_update", "pending")] {
            let packets = packets(kind, status, UNFINISHED);
            assert_eq!(names(packets.of_user("ann")), [kind]);
            assert_eq!(body(&packets.all[0])["cursor"], "C");
        }
    }

    #[test]
    fn a_packet_is_the_event_with_the_packets_name_as_type() {
        let packets = packets("message:delivered", "delivered", UNFINISHED);
        let mut expected = payload("message:status_update", "delivered");
        let fields = expected.as_object_mut().unwrap();
        fields.remove("v");
        let id = fields.remove("id").unwrap();
        fields.insert("eventId".into(), id);
        assert_eq!(body(&packets.all[0]), expected);
        expected["type"] = json!("message:delivered");
        expected["cursor"] = json!("C");
        assert_eq!(body(&packets.all[1]), expected);
    }

    #[test]
    fn only_the_author_is_notified_and_before_the_other_packets() {
        let packets = packets("message:failed", "failed", FINISHED);
        assert_eq!(names(packets.of_user("bob")), ["message:status_update", "message:failed"]);
        assert_eq!(
            names(packets.of_user("ann")),
            ["notification", "message:status_update", "message:failed"]
        );
        let notice = body(&packets.notice.unwrap().packet);
        assert_eq!(
            notice,
            json!({
                "type": "notification", "kind": "message_finished", "status": "failed",
                "messageId": "01890a5d-ac96-774b-bcce-b302099a8058",
                "eventId": "01890a5d-ac96-774b-bcce-b302099a8057", "timestamp": "2026-11-22T20:15:31.123Z",
            })
        );
    }

    #[test]
    fn a_replayed_event_is_marked_and_has_neither_cursor_nor_notification() {
        let packets = packets("message:delivered", "delivered", Delivery::Replayed);
        assert!(packets.notice.is_none());
        for packet in &packets.all {
            let body = body(packet);
            assert_eq!(
                (&body["replay"], &body["version"], body.get("cursor")),
                (&json!(true), &json!(7), None)
            );
        }
    }

    #[test]
    fn a_message_finishes_once() {
        let event = |kind, status| serde_json::from_value::<ChurchEvent>(payload(kind, status)).unwrap();
        let delivered = event("message:delivered", "delivered");
        assert!(finishes(&delivered, || Some(MessageStatus::Pending)));
        assert!(finishes(&delivered, || None));
        assert!(!finishes(&delivered, || Some(MessageStatus::Failed)));
        assert!(finishes(&event("message:status_update", "sent"), || Some(MessageStatus::Pending)));
        assert!(!finishes(&event("message:status_update", "pending"), || Some(MessageStatus::Pending)));
        assert!(!finishes(&event("message:sent", "pending"), || None));
        let read = event("message:read", "read");
        assert!(finishes(&read, || Some(MessageStatus::Pending)));
        assert!(!finishes(&read, || None));
    }
}
