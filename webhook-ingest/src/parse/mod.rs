//! Reads a signed body into what the store takes, as liberally as Telnyx writes.
//!
//! Nothing that is signed is refused. What we can't use, or can't even read, is kept as ignored, with the reason: Telnyx
//! must not repeat it, and operators must find it. Nothing read here decides a status; the ranks do, in the store.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use common::event::timestamp;
use common::json::parse_lenient;
use common::status::Rank;
use common::store::{DeliveryReport, PhoneReport, Webhook, WebhookContent};
use common::telnyx_message::{MAX_ID, TelnyxMessage, name, text};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::signature::Verified;

/// Event types are a few words.
const MAX_EVENT_TYPE: usize = 64;

/// Why a signed body can't be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or nested deeper than anything that Telnyx sends.
    #[error("the body is not JSON")]
    NotJson,
    /// JSON, but no object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// No `data` object, nor anything else that names an event.
    #[error("the body has no data object")]
    NoData,
}

impl Unreadable {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::NoData => "no_data",
        }
    }
}

/// A webhook as the store takes it, and what operators should know of it.
#[derive(Debug)]
pub struct Reading {
    /// What is recorded.
    pub webhook: Webhook,
    /// The body can't be read; it is kept as ignored.
    pub unreadable: Option<Unreadable>,
    /// Words for a status that we do not know; the event's kind decided in their place.
    pub unknown_statuses: Vec<String>,
}

/// What is read of the envelope.
struct Event<'a> {
    id: Option<&'a str>,
    kind: Option<&'a str>,
    occurred_at: Option<OffsetDateTime>,
    payload: Option<&'a Map<String, Value>>,
}

/// Reads a webhook.
pub fn webhook(verified: &Verified, received_at: OffsetDateTime) -> Reading {
    let body = verified.body();
    match parse_lenient(body).map_err(|_| Unreadable::NotJson) {
        Ok(envelope) => match envelope.as_object().ok_or(Unreadable::NotAnObject).and_then(read_event) {
            Ok(event) => reading(&event, body, received_at),
            Err(unreadable) => unread(unreadable, body, received_at),
        },
        Err(unreadable) => unread(unreadable, body, received_at),
    }
}

fn reading(event: &Event<'_>, body: &Bytes, received_at: OffsetDateTime) -> Reading {
    let (content, unknown_statuses) = match delivery(event) {
        Ok((report, unknown)) => (WebhookContent::Delivery(report), unknown),
        Err(reason) => (WebhookContent::Ignored { reason }, Vec::new()),
    };
    let webhook = Webhook {
        event_id: event.id.map_or_else(|| derived_id(body), str::to_owned),
        event_type: event.kind.unwrap_or("unknown").to_owned(),
        occurred_at: event.occurred_at,
        received_at,
        body: body.clone(),
        content,
    };
    Reading { webhook, unreadable: None, unknown_statuses }
}

/// Telnyx must not repeat what can never be read, and operators must find it.
fn unread(unreadable: Unreadable, body: &Bytes, received_at: OffsetDateTime) -> Reading {
    let webhook = Webhook {
        event_id: derived_id(body),
        event_type: "unreadable".into(),
        occurred_at: None,
        received_at,
        body: body.clone(),
        content: WebhookContent::Ignored { reason: unreadable.to_string() },
    };
    Reading { webhook, unreadable: Some(unreadable), unknown_statuses: Vec::new() }
}

/// The event of an envelope, or of the flat objects that a few kinds (link clicks) are sent as.
fn read_event(envelope: &Map<String, Value>) -> Result<Event<'_>, Unreadable> {
    if let Some(data) = envelope.get("data").and_then(Value::as_object) {
        return Ok(Event {
            id: name(data, "id", MAX_ID),
            kind: name(data, "event_type", MAX_EVENT_TYPE),
            occurred_at: text(data, "occurred_at").and_then(timestamp::parse),
            payload: data.get("payload").and_then(Value::as_object),
        });
    }
    let kind = ["event_type", "record_type"].into_iter().find_map(|key| text(envelope, key));
    match (envelope.get("data"), kind) {
        (None | Some(Value::Null), Some(_)) => {
            let kind =
                ["event_type", "record_type"].into_iter().find_map(|key| name(envelope, key, MAX_EVENT_TYPE));
            Ok(Event { id: None, kind, occurred_at: None, payload: None })
        }
        _ => Err(Unreadable::NoData),
    }
}

/// What the event says of a message that we sent, with the words for a status that are unknown; or why it says nothing.
fn delivery(event: &Event<'_>) -> Result<(DeliveryReport, Vec<String>), String> {
    let (Some(kind), Some(payload)) = (event.kind, event.payload) else {
        return Err("it has no event type or no payload".into());
    };
    let kind = Kind::of(kind).ok_or_else(|| format!("events of the type {kind} are not used"))?;
    let message = TelnyxMessage::new(payload);
    if message.is_inbound() {
        return Err("the message was received, not sent".into());
    }
    let provider_id = message.id().ok_or("it names no message")?;
    let (to, unknown) = phone_reports(kind, message)?;
    let report =
        DeliveryReport { provider_id: provider_id.to_owned(), recipient_hint: message.recipient_id(), to };
    Ok((report, unknown))
}

/// The event types that report how far a message got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sent,
    Finalized,
    Read,
}

impl Kind {
    fn of(event_type: &str) -> Option<Self> {
        Some(match event_type {
            "message.sent" => Self::Sent,
            "message.finalized" => Self::Finalized,
            "message.read" => Self::Read,
            _ => return None,
        })
    }

    /// What the event alone says of a recipient whose status is left out, or is a word that we do not know.
    fn rank(self) -> Rank {
        match self {
            Self::Sent => Rank::Sent,
            Self::Finalized => Rank::Unconfirmed,
            Self::Read => Rank::Read,
        }
    }
}

/// One report for each phone, and the unknown words for a status in them.
fn phone_reports(
    kind: Kind,
    message: TelnyxMessage<'_>,
) -> Result<(Vec<PhoneReport>, Vec<String>), &'static str> {
    let (mut reports, mut unknown) = (Vec::new(), Vec::new());
    for recipient in message.recipients() {
        let rank = recipient.rank().unwrap_or_else(|| kind.rank());
        reports.push(PhoneReport {
            phone: recipient.phone.to_owned(),
            rank: rank.as_i16(),
            closed: kind == Kind::Finalized && rank < Rank::Failed,
            failure: message.failure(rank, recipient.status.as_deref()),
        });
        if recipient.rank().is_none() {
            unknown.extend(recipient.status);
        }
    }
    if reports.is_empty() { Err("it names no phone") } else { Ok((reports, unknown)) }
}

/// The same for every repetition of a body that brings no id of its own.
fn derived_id(body: &Bytes) -> String {
    use std::fmt::Write as _;
    digest(&SHA256, body).as_ref().iter().fold(String::from("sha256:"), |mut id, byte| {
        // Writing into a string does not fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

#[cfg(test)]
mod tests;
