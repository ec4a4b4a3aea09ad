//! From a stored message to an event that is ready to be sent.

use std::sync::Arc;

use common::event::ChurchEvent;
use common::status::MessageStatus;
use common::subject::{self, Topic};

use crate::cursor::{Fingerprint, Place};
use crate::memory::Event;
use crate::packets::{self, Delivery};
use crate::stream::Stored;

/// Why a message in the stream is no event of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Foreign {
    /// Its subject names no church, or nothing that we know.
    #[error("subject {0:?}")]
    Subject(String),
    /// It is of the stream, but not for browsers.
    #[error("not for browsers")]
    Internal,
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
        let finishes = packets::finishes(&event, status_before(&event));
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
