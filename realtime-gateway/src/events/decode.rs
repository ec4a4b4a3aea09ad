//! From a stored message to an event that is ready to be sent.

use std::sync::Arc;

use common::event::{ChurchEvent, FORMAT};
use common::inbound::InboundEvent;
use common::status::MessageStatus;
use common::subject::{self, ChurchId, Topic};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::events::event::{Event, News};
use crate::events::packets::{self, Delivery, Packets};
use crate::stream::{Fingerprint, Position, Stored};

/// Why a message in the stream can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Its subject names no church or an unknown topic.
    #[error("its subject {0:?} is unknown; is this gateway older than the service that published it?")]
    Subject(String),
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

/// An event as its publisher wrote it.
#[derive(Debug)]
pub(crate) enum ReadEvent {
    /// A change of a message.
    Message(ChurchEvent),
    /// A text that came in.
    Inbound(InboundEvent),
}

impl ReadEvent {
    /// The church that alone may see it.
    pub(crate) fn church(&self) -> &ChurchId {
        match self {
            Self::Message(event) => &event.church_id,
            Self::Inbound(event) => &event.church_id,
        }
    }

    fn id(&self) -> Uuid {
        match self {
            Self::Message(event) => event.id,
            Self::Inbound(event) => event.id,
        }
    }

    /// Its packets for browsers.
    ///
    /// # Errors
    /// The payload is not the JSON object that the event was read from.
    pub(crate) fn packets(&self, payload: &[u8], delivery: Delivery<'_>) -> serde_json::Result<Packets> {
        match self {
            Self::Message(event) => packets::encode(event, payload, delivery),
            Self::Inbound(event) => packets::encode_inbound(event, payload, delivery),
        }
    }
}

/// Parses a message whose payload matches its subject; `None` if it is meant for the gateways and not for browsers.
///
/// # Errors
/// Says what is wrong with the message.
pub(crate) fn parse(subject: &str, payload: &[u8]) -> Result<Option<ReadEvent>, DecodeError> {
    let (church, topic) = subject::parse(subject).ok_or_else(|| DecodeError::Subject(subject.to_owned()))?;
    let event = match topic {
        Topic::Revoked => return Ok(None),
        Topic::Received => ReadEvent::Inbound(read(payload)?),
        Topic::Sent | Topic::Status => match read::<ChurchEvent>(payload)? {
            event if event.kind.topic() == topic => ReadEvent::Message(event),
            _ => return Err(DecodeError::Mismatch),
        },
    };
    if *event.church() == church { Ok(Some(event)) } else { Err(DecodeError::Mismatch) }
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u8,
    }
    match serde_json::from_slice::<Versioned>(payload)? {
        Versioned { v: FORMAT } => Ok(serde_json::from_slice(payload)?),
        Versioned { v } => Err(DecodeError::Format(v)),
    }
}

/// The fingerprint of a stored message.
pub(crate) fn fingerprint(stored: &Stored) -> Fingerprint {
    fingerprint_of(&parse(&stored.subject, &stored.payload), stored)
}

/// Of a message that can't be read, too, by its id: then versions of the gateway agree about its position, and the event
/// after it names it.
fn fingerprint_of(parsed: &Result<Option<ReadEvent>, DecodeError>, stored: &Stored) -> Fingerprint {
    #[derive(Deserialize)]
    struct Identified {
        id: Uuid,
    }
    if let Ok(Some(event)) = parsed {
        return Fingerprint::of_event(event.id());
    }
    let identified = serde_json::from_slice::<Identified>(&stored.payload);
    identified.map_or_else(|_| Fingerprint::of_bytes(&stored.payload), |one| Fingerprint::of_event(one.id))
}

/// A stored message, ready to be sent.
pub(crate) struct Prepared {
    /// Its fingerprint.
    pub(crate) fingerprint: Fingerprint,
    /// Its event; `None` if no browser is concerned. One that can't be read is [`News::Unknown`] to its church.
    pub(crate) event: Option<Arc<Event>>,
    /// Why it can't be read.
    pub(crate) error: Option<DecodeError>,
}

/// Decodes a stored message and encodes its packets. `status_before` returns the earlier status of the event's message,
/// if that is remembered.
pub(crate) fn prepare(
    created: u64,
    stored: &Stored,
    status_before: impl Fn(&ChurchEvent) -> Option<MessageStatus>,
) -> Prepared {
    let parsed = parse(&stored.subject, &stored.payload);
    let fingerprint = fingerprint_of(&parsed, stored);
    let position = Position { created, sequence: stored.sequence, fingerprint };
    let encoded = |event: ReadEvent| encode(position, &event, stored, status_before);
    let event = parsed.and_then(|event| Ok(event.map(encoded).transpose()?));
    let (event, error) = match event {
        Ok(event) => (event, None),
        Err(error) => (unknown(position, stored), Some(error)),
    };
    Prepared { fingerprint, event: event.map(Arc::new), error }
}

fn encode(
    position: Position,
    event: &ReadEvent,
    stored: &Stored,
    status_before: impl Fn(&ChurchEvent) -> Option<MessageStatus>,
) -> serde_json::Result<Event> {
    let cursor = position.cursor(event.church());
    let finishes = match event {
        ReadEvent::Message(event) => packets::finishes(event, || status_before(event)),
        ReadEvent::Inbound(_) => false,
    };
    let packets = event.packets(&stored.payload, Delivery::InOrder { cursor: &cursor, finishes })?;
    let news = match event {
        ReadEvent::Message(event) => {
            News::Message { id: event.message_id, status: event.status, at: event.timestamp, packets }
        }
        ReadEvent::Inbound(event) => News::Inbound { id: event.inbound_id, at: event.timestamp, packets },
    };
    Ok(Event { sequence: stored.sequence, church: event.church().clone(), news })
}

/// What the church of a message is told that can't be read.
fn unknown(position: Position, stored: &Stored) -> Option<Event> {
    let church = subject::church_of(&stored.subject)?;
    let news = News::Unknown { cursor: position.cursor(&church) };
    Some(Event { sequence: stored.sequence, church, news })
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

    fn stored(subject: &str, payload: String) -> Stored {
        Stored { sequence: 1, subject: subject.into(), payload: payload.into(), after: None, trace: None }
    }

    fn parse(subject: &str, payload: &[u8]) -> Result<ReadEvent, Option<DecodeError>> {
        super::parse(subject, payload).map_err(Some).and_then(|event| event.ok_or(None))
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
            trace: None,
        };
        assert_ne!(fingerprint(&stored("a")), fingerprint(&stored("b")));
        assert_ne!(fingerprint(&stored("a")), Fingerprint::default());
        assert_eq!(fingerprint(&stored("a")), fingerprint(&stored("a")));
    }

    fn received(over: &Value) -> String {
        let golden = include_str!("../../../common/golden/received.json");
        let mut event: Value = serde_json::from_str(golden).unwrap();
        event.as_object_mut().unwrap().extend(over.as_object().cloned().unwrap_or_default());
        event.to_string()
    }

    #[test]
    fn the_news_of_a_text_has_a_topic_of_its_own() {
        assert!(parse("live.church.grace.received", received(&json!({})).as_bytes()).is_ok());
        for (subject, over) in [
            ("church.grace.sent", json!({})),
            ("church.grace.status", json!({})),
            ("church.hope.received", json!({})),
            ("church.grace.received", json!({"v": 2})),
            ("church.grace.received", json!({"type": "message:sent"})),
        ] {
            assert!(parse(subject, received(&over).as_bytes()).is_err(), "{subject} {over}");
        }
        assert!(parse("church.grace.received", event(&json!({})).as_bytes()).is_err());
    }

    #[test]
    fn what_can_not_be_read_is_told_to_its_church_at_a_position_that_other_versions_know() {
        let known = fingerprint(&stored("church.grace.sent", event(&json!({}))));
        for (subject, over) in [
            ("church.grace.invented", json!({})),
            ("church.grace.sent", json!({"type": "message:invented"})),
            ("church.grace.sent", json!({"v": 2, "churchId": {"of": "tomorrow"}})),
            ("church.grace.status", json!({})),
        ] {
            let prepared = prepare(1, &stored(subject, event(&over)), |_| None);
            let told = prepared.event.unwrap();
            assert!(
                matches!(told.news, News::Unknown { .. }) && prepared.error.is_some(),
                "{subject} {over}"
            );
            assert_eq!((told.church.as_str(), prepared.fingerprint), ("grace", known), "{subject} {over}");
        }
        let nobody = prepare(1, &stored("church.two words.sent", event(&json!({}))), |_| None);
        assert!(nobody.event.is_none() && nobody.error.is_some());
        let internal = prepare(1, &stored("church.grace.revoked", event(&json!({}))), |_| None);
        assert!(internal.event.is_none() && internal.error.is_none());
    }
}
