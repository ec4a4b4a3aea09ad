//! A message of the stream, as the broker republishes it or direct get returns it.

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use common::trace_context::{TRACEPARENT, TraceParent};
use uuid::Uuid;

use crate::stream::cursor::Fingerprint;

const SEQUENCE: &str = "Nats-Sequence";
const EXPECTED_LAST_ID: &str = "Nats-Expected-Last-Msg-Id";

/// A stored message.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    /// The subject it was published to.
    pub(crate) subject: String,
    /// The payload.
    pub(crate) payload: Bytes,
    /// The event right before it. Its publisher named that, and the stream has checked it.
    pub(crate) after: Option<Fingerprint>,
    /// The trace of what made the event.
    pub(crate) trace: Option<TraceParent>,
}

impl Stored {
    /// Reads a message that the stream republished; `None` for one that did not come from a stream.
    pub(crate) fn republished(message: Message) -> Option<Self> {
        let headers = message.headers.as_ref()?;
        let sequence = header(headers, SEQUENCE)?.parse().ok()?;
        let (after, trace) = (named_before(headers), trace(headers));
        Some(Self {
            sequence,
            subject: message.subject.into_string(),
            payload: message.payload,
            after,
            trace,
        })
    }

    /// Reads a message that direct get returned; `None` if a header is missing.
    pub(crate) fn from_direct_get(message: Message) -> Option<Self> {
        let headers = message.headers.as_ref()?;
        let sequence = header(headers, SEQUENCE)?.parse().ok()?;
        let subject = header(headers, "Nats-Subject")?.to_owned();
        let (after, trace) = (named_before(headers), trace(headers));
        Some(Self { sequence, subject, payload: message.payload, after, trace })
    }
}

fn named_before(headers: &HeaderMap) -> Option<Fingerprint> {
    Some(Fingerprint::of_event(header(headers, EXPECTED_LAST_ID)?.parse::<Uuid>().ok()?))
}

fn trace(headers: &HeaderMap) -> Option<TraceParent> {
    TraceParent::parse(header(headers, TRACEPARENT)?)
}

/// A header's text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(name).map(|value| value.as_str())
}
