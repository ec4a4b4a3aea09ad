//! Reads a signed body into what the store takes, as liberally as Telnyx writes.
//!
//! Only what is no envelope at all is refused. Whatever else we can't use is kept as ignored, with the reason: Telnyx
//! must not repeat it, and operators must find it. Nothing read here decides a status; the ranks do, in the store.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use common::event::timestamp;
use common::status::Rank;
use common::store::{DeliveryReport, PhoneReport, Webhook, WebhookContent};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::signature::Verified;

mod failure;

/// Ids of Telnyx are UUIDs; what is longer than this is no id.
const MAX_ID: usize = 128;
/// Event types are a few words.
const MAX_EVENT_TYPE: usize = 64;
/// The longest phone number or address of a messaging service that is kept.
const MAX_PHONE: usize = 64;

/// Why a signed body is refused: it is not what Telnyx sends, and sending it again can't help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEnvelope {
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

/// What is read of the envelope.
struct Event<'a> {
    id: Option<&'a str>,
    kind: Option<&'a str>,
    occurred_at: Option<OffsetDateTime>,
    payload: Option<&'a Map<String, Value>>,
}

/// Reads a webhook.
///
/// # Errors
/// The body is no envelope.
pub fn webhook(verified: &Verified, received_at: OffsetDateTime) -> Result<Webhook, NotAnEnvelope> {
    let body = verified.body();
    let envelope: Value = serde_json::from_slice(body).map_err(|_| NotAnEnvelope::NotJson)?;
    let envelope = envelope.as_object().ok_or(NotAnEnvelope::NotAnObject)?;
    let event = read_event(envelope)?;
    Ok(Webhook {
        event_id: event.id.map_or_else(|| derived_id(body), str::to_owned),
        event_type: event.kind.unwrap_or("unknown").to_owned(),
        occurred_at: event.occurred_at,
        received_at,
        body: body.clone(),
        content: match delivery(&event) {
            Ok(report) => WebhookContent::Delivery(report),
            Err(reason) => WebhookContent::Ignored { reason },
        },
    })
}

/// The event of an envelope, or of the flat objects that a few kinds (link clicks) are sent as.
fn read_event(envelope: &Map<String, Value>) -> Result<Event<'_>, NotAnEnvelope> {
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
        _ => Err(NotAnEnvelope::NoData),
    }
}

/// What the event says of a message that we sent, or why it says nothing.
fn delivery(event: &Event<'_>) -> Result<DeliveryReport, String> {
    let (Some(kind), Some(payload)) = (event.kind, event.payload) else {
        return Err("it has no event type or no payload".into());
    };
    let kind = Kind::of(kind).ok_or_else(|| format!("events of the type {kind} are not used"))?;
    if text(payload, "direction") == Some("inbound") {
        return Err("the message was received, not sent".into());
    }
    let provider_id = name(payload, "id", MAX_ID).ok_or("it names no message")?;
    Ok(DeliveryReport {
        provider_id: provider_id.to_owned(),
        recipient_hint: text(payload, "webhook_url").and_then(recipient_of_url),
        to: phone_reports(kind, payload)?,
    })
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

    /// What the event alone says of a recipient whose status is left out.
    fn rank(self) -> Rank {
        match self {
            Self::Sent => Rank::Sent,
            Self::Finalized => Rank::Unconfirmed,
            Self::Read => Rank::Read,
        }
    }
}

/// One report for each phone in `to` whose status we know. `to` is a list, or a single entry; an entry is an object,
/// or just the phone.
fn phone_reports(kind: Kind, payload: &Map<String, Value>) -> Result<Vec<PhoneReport>, String> {
    let entries = match payload.get("to") {
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(entry) => std::slice::from_ref(entry),
        None => &[],
    };
    let mut problem = None;
    let mut reports = Vec::with_capacity(entries.len());
    for entry in entries {
        match phone_report(kind, entry, payload) {
            Ok(report) => reports.push(report),
            Err(why) => problem = Some(why),
        }
    }
    if reports.is_empty() {
        return Err(problem.unwrap_or("it names no phone").into());
    }
    Ok(reports)
}

fn phone_report(
    kind: Kind,
    entry: &Value,
    payload: &Map<String, Value>,
) -> Result<PhoneReport, &'static str> {
    let (phone, status) = match entry {
        Value::Object(entry) => (name(entry, "phone_number", MAX_PHONE), entry.get("status")),
        Value::String(phone) => (Some(phone.as_str()).filter(|phone| is_name(phone, MAX_PHONE)), None),
        _ => (None, None),
    };
    let phone = phone.ok_or("it names no phone")?;
    let word = match status {
        None | Some(Value::Null) => None,
        Some(status) => Some(status.as_str().ok_or("its status is no word")?),
    };
    let rank = match word {
        None => kind.rank(),
        Some(word) => Rank::from_telnyx(word).ok_or("its status is a word that we do not know")?,
    };
    Ok(PhoneReport {
        phone: phone.to_owned(),
        rank: rank.as_i16(),
        closed: kind == Kind::Finalized && rank < Rank::Failed,
        failure: (rank == Rank::Failed).then(|| failure::of(payload.get("errors"), word.unwrap_or_default())),
    })
}

/// Our recipient id at the end of the URL that we gave Telnyx with the message, whatever host and prefix it has.
fn recipient_of_url(url: &str) -> Option<Uuid> {
    let path = url.split(['?', '#']).next()?.trim_end_matches('/');
    let (before, id) = path.rsplit_once('/')?;
    let hyphenated = id.len() == 36 && before.ends_with("/webhooks/telnyx");
    hyphenated.then(|| Uuid::try_parse(id).ok()).flatten()
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

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// A text that can be an id, a phone or a word; anything else counts as missing, so that no database chokes on it.
fn name<'a>(object: &'a Map<String, Value>, key: &str, longest: usize) -> Option<&'a str> {
    text(object, key).filter(|text| is_name(text, longest))
}

fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
