//! From a stored message to an event that is ready to be sent.

use std::sync::Arc;

use common::event::{ChurchEvent, FORMAT};
use common::status::MessageStatus;
use common::subject::{self, Topic};

use crate::events::event::Event;
use crate::events::packets::{self, Delivery};
use crate::stream::{Fingerprint, Position, Stored};

/// Why a message in the stream is no event for browsers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Its subject names no church or an unknown topic.
    #[error("its subject {0:?} is unknown")]
    Subject(String),
    /// It is meant for the gateways, not for browsers.
    #[error("it is not for browsers")]
    Internal,
    /// It has another format, in which the fields may mean something else.
    #[error("its format is {0}; is this gateway older than the service that published it?")]
    Format(u8),
    /// Its payload is no event.
    #[error("its payload is malformed: {0}")]
    Payload(#[from] serde_json::Error),
    /// Subject and payload name different churches or topics.
    #[error("its payload does not match its subject")]
    Mismatch,
}

/// Parses an event whose payload matches its subject.
///
/// # Errors
/// Says what is wrong with the message.
pub(crate) fn parse(subject: &str, payload: &[u8]) -> Result<ChurchEvent, DecodeError> {
    let (church, topic) = subject::parse(subject).ok_or_else(|| DecodeError::Subject(subject.to_owned()))?;
    if topic == Topic::Revoked {
        return Err(DecodeError::Internal);
    }
    let event: ChurchEvent = serde_json::from_slice(payload)?;
    if event.v != FORMAT {
        return Err(DecodeError::Format(event.v));
    }
    let agrees = event.church_id == church && event.kind.topic() == topic;
    if agrees { Ok(event) } else { Err(DecodeError::Mismatch) }
}

/// The fingerprint of a stored message.
pub(crate) fn fingerprint(stored: &Stored) -> Fingerprint {
    fingerprint_of(&parse(&stored.subject, &stored.payload), stored)
}

fn fingerprint_of(parsed: &Result<ChurchEvent, DecodeError>, stored: &Stored) -> Fingerprint {
    match parsed {
        Ok(event) => Fingerprint::of_event(event.id),
        Err(_) => Fingerprint::of_bytes(&stored.payload),
    }
}

/// Decodes a stored message and encodes its packets. `status_before` returns the earlier status of the event's message,
/// if that is remembered. The fingerprint is there even if the message is no event.
pub(crate) fn prepare(
    created: u64,
    stored: &Stored,
    status_before: impl Fn(&ChurchEvent) -> Option<MessageStatus>,
) -> (Fingerprint, Result<Arc<Event>, DecodeError>) {
    let parsed = parse(&stored.subject, &stored.payload);
    let fingerprint = fingerprint_of(&parsed, stored);
    let position = Position { created, sequence: stored.sequence, fingerprint };
    let event = parsed.and_then(|event| {
        let finishes = packets::finishes(&event, || status_before(&event));
        encode(position, &event, stored, finishes)
    });
    (fingerprint, event)
}

fn encode(
    position: Position,
    event: &ChurchEvent,
    stored: &Stored,
    finishes: bool,
) -> Result<Arc<Event>, DecodeError> {
    let cursor = position.cursor(&event.church_id);
    let delivery = Delivery::InOrder { cursor: &cursor, finishes };
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
    fn a_message_of_another_format_type_or_shape_is_refused() {
        for over in
            [json!({"v": 2}), json!({"type": "message:lost"}), json!({"churchId": "a.b"}), json!({"id": 7})]
        {
            assert!(parse("church.grace.sent", event(&over).as_bytes()).is_err(), "{over}");
        }
        assert!(parse("church.grace.sent", b"").is_err());
        assert!(parse("church.grace.sent", event(&json!({"new": {"a": 1}})).as_bytes()).is_ok());
    }

    #[test]
    fn a_message_that_is_no_event_has_a_fingerprint_of_its_own() {
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
