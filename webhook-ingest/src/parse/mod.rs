//! Parses a signed body for the store, and tolerates the forms that Telnyx writes.
//!
//! No signed body is refused. A body of no use, or one that can't be parsed, is kept as ignored, with the reason:
//! Telnyx must not repeat it, and operators must find it. The store decides statuses, by rank.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use common::event::timestamp;
use common::json::parse_lenient;
use common::status::Rank;
use common::store::{DeliveryReport, PhoneReport, Webhook, WebhookContent};
use common::telnyx_message::{MAX_ID, TelnyxMessage, name, text};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::inbound;
use crate::settings::DefaultNumber;
use crate::signature::VerifiedBody;

/// Event types are a few words.
const MAX_EVENT_TYPE: usize = 64;

/// Why a signed body can't be parsed. Its name in snake case is the label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
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

/// A webhook for the store, and what operators should know about it.
#[derive(Debug)]
pub struct ParsedWebhook {
    /// What is recorded.
    pub webhook: Webhook,
    /// Why the body can't be parsed; it is kept as ignored.
    pub unreadable: Option<Unreadable>,
    /// Unknown statuses, in whose place the event type decided.
    pub unknown_statuses: Vec<String>,
}

/// The fields of the envelope.
struct Event<'a> {
    id: Option<&'a str>,
    kind: Option<&'a str>,
    occurred_at: Option<OffsetDateTime>,
    payload: Option<&'a Map<String, Value>>,
}

impl<'a> Event<'a> {
    /// The message, if it is one that was received.
    fn inbound(&self) -> Option<TelnyxMessage<'a>> {
        let is_received = self.kind == Some("message.received");
        self.payload.filter(|_| is_received).map(TelnyxMessage::new)
    }
}

/// Parses a webhook. `default` is the number of churches without a sender of their own.
pub fn webhook(
    verified: &VerifiedBody,
    default: Option<&DefaultNumber>,
    received_at: OffsetDateTime,
) -> ParsedWebhook {
    let body = verified.body();
    match parse_lenient(body).map_err(|_| Unreadable::NotJson) {
        Ok(envelope) => match envelope.as_object().ok_or(Unreadable::NotAnObject).and_then(read_event) {
            Ok(event) => parsed(&event, body, default, received_at),
            Err(unreadable) => kept_unreadable(unreadable, body, received_at),
        },
        Err(unreadable) => kept_unreadable(unreadable, body, received_at),
    }
}

fn parsed(
    event: &Event<'_>,
    body: &Bytes,
    default: Option<&DefaultNumber>,
    received_at: OffsetDateTime,
) -> ParsedWebhook {
    let read = match event.inbound() {
        Some(message) => inbound::read(message, default, received_at)
            .map(|text| (WebhookContent::Inbound(text), Vec::new()))
            .map_err(str::to_owned),
        None => delivery(event).map(|(report, unknown)| (WebhookContent::Delivery(report), unknown)),
    };
    let (content, unknown_statuses) =
        read.unwrap_or_else(|reason| (WebhookContent::Ignored { reason }, Vec::new()));
    let webhook = Webhook {
        event_id: event.id.map_or_else(|| derived_id(body), str::to_owned),
        event_type: event.kind.unwrap_or("unknown").to_owned(),
        occurred_at: event.occurred_at,
        received_at,
        body: body.clone(),
        content,
        trace_parent: None,
    };
    ParsedWebhook { webhook, unreadable: None, unknown_statuses }
}

/// Kept as ignored, so that Telnyx does not repeat it and operators find it.
fn kept_unreadable(unreadable: Unreadable, body: &Bytes, received_at: OffsetDateTime) -> ParsedWebhook {
    let webhook = Webhook {
        event_id: derived_id(body),
        event_type: "unreadable".into(),
        occurred_at: None,
        received_at,
        body: body.clone(),
        content: WebhookContent::Ignored { reason: unreadable.to_string() },
        trace_parent: None,
    };
    ParsedWebhook { webhook, unreadable: Some(unreadable), unknown_statuses: Vec::new() }
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
