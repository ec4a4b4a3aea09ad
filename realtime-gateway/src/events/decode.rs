//! From a stored message to an event that is ready to be sent.

use std::sync::Arc;

use common::event::{ChurchEvent, FORMAT};
use common::status::MessageStatus;
use common::subject::{self, Topic};

use crate::events::packets::{self, Delivery};
use crate::memory::recent::Event;
use crate::stream::cursor::{Fingerprint, Place};
use crate::stream::reader::Stored;

/// Why a message in the stream is no event of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Foreign {
    /// Its subject names no church, or nothing that we know.
    #[error("subject {0:?}")]
    Subject(String),
    /// It is of the stream, but not for browsers.
    #[error("not for browsers")]
    Internal,
    /// Its fields may mean something else.
    #[error("format {0}; is this gateway older than what announces events?")]
    Format(u8),
    /// Its payload is no event.
    #[error("payload: {0}")]
    Payload(#[from] serde_json::Error),
    /// Subject and payload do not agree: it may belong to another church.
    #[error("the payload is not of its subject")]
    Mismatch,
}

/// An event whose payload agrees with its subject.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn parse(subject: &str, payload: &[u8]) -> Result<ChurchEvent, Foreign> {
    let (church, topic) = subject::parse(subject).ok_or_else(|| Foreign::Subject(subject.to_owned()))?;
    if topic == Topic::Revoked {
        return Err(Foreign::Internal);
    }
    let event: ChurchEvent = serde_json::from_slice(payload)?;
    if event.v != FORMAT {
        return Err(Foreign::Format(event.v));
    }
    let agrees = event.church_id == church && event.kind.topic() == topic;
    if agrees { Ok(event) } else { Err(Foreign::Mismatch) }
}

/// What tells this message from another one at its sequence.
pub(crate) fn fingerprint(stored: &Stored) -> Fingerprint {
    fingerprint_of(&parse(&stored.subject, &stored.payload), stored)
}

fn fingerprint_of(parsed: &Result<ChurchEvent, Foreign>, stored: &Stored) -> Fingerprint {
    match parsed {
        Ok(event) => Fingerprint::of_event(event.id),
        Err(_) => Fingerprint::of_bytes(&stored.payload),
    }
}

/// Encodes an event; `status_before` knows the status that its message had, if that is remembered.
///
/// # Errors
/// The message is no event of ours; its place in the stream is taken all the same.
pub(crate) fn prepare(
    created: u64,
    stored: &Stored,
    status_before: impl Fn(&ChurchEvent) -> Option<MessageStatus>,
) -> (Fingerprint, Result<Arc<Event>, Foreign>) {
    let parsed = parse(&stored.subject, &stored.payload);
    let fingerprint = fingerprint_of(&parsed, stored);
    let place = Place { created, sequence: stored.sequence, fingerprint };
    let event = parsed.and_then(|event| {
        let finishes = packets::finishes(&event, || status_before(&event));
        encode(place, &event, stored, finishes)
    });
    (fingerprint, event)
}

fn encode(place: Place, event: &ChurchEvent, stored: &Stored, finishes: bool) -> Result<Arc<Event>, Foreign> {
    let cursor = place.cursor(&event.church_id);
    let delivery = Delivery::InTurn { cursor: &cursor, finishes };
    Ok(Arc::new(Event {
        sequence: stored.sequence,
        church: event.church_id.clone(),
        message: event.message_id,
        status: event.status,
        at: event.timestamp,
        packets: packets::encode(event, &stored.payload, delivery)?,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(over: &Value) -> String {
        let mut event = json!({
            "v": 1, "id": "01890a5d-ac96-774b-bcce-b302099a8057", "type": "message:sent", "churchId": "grace",
            "messageId": "01890a5d-ac96-774b-bcce-b302099a8058", "status": "pending", "version": 1,
            "recipientCount": 1, "deliveredCount": 0, "failedCount": 0, "unconfirmedCount": 0, "readCount": 0,
            "timestamp": "2026-11-22T20:15:31.123Z",
        });
        let fields = over.as_object().cloned().unwrap_or_default();
        event.as_object_mut().unwrap().extend(fields);
        event.to_string()
    }

    #[test]
    fn an_event_belongs_to_the_church_of_its_subject() {
        let good = event(&json!({}));
        assert!(parse("church.grace.sent", good.as_bytes()).is_ok());
        assert!(parse("live.church.grace.sent", good.as_bytes()).is_ok());
        for subject in
            ["church.hope.sent", "church.grace.status", "church.grace.revoked", "church.grace.else", "x"]
        {
            assert!(parse(subject, good.as_bytes()).is_err(), "{subject}");
        }
    }

    #[test]
    fn what_can_not_be_understood_is_no_event() {
        for over in
            [json!({"v": 2}), json!({"type": "message:lost"}), json!({"churchId": "a.b"}), json!({"id": 7})]
        {
            assert!(parse("church.grace.sent", event(&over).as_bytes()).is_err(), "{over}");
        }
        assert!(parse("church.grace.sent", b"").is_err());
        assert!(parse("church.grace.sent", event(&json!({"new": {"a": 1}})).as_bytes()).is_ok());
    }

    #[test]
    fn a_message_that_is_no_event_still_has_a_fingerprint_of_its_own() {
        let stored = |payload: &str| Stored {
            sequence: 1,
            subject: "church.grace.sent".into(),
            payload: payload.to_owned().into(),
            after: None,
        };
        assert_ne!(fingerprint(&stored("a")), fingerprint(&stored("b")));
        assert_ne!(fingerprint(&stored("a")), Fingerprint::default());
        assert_eq!(fingerprint(&stored("a")), fingerprint(&stored("a")));
    }
}
