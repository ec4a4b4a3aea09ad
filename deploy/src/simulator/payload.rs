//! Telnyx's JSON: messages, webhooks, errors.

use common::event::timestamp;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

/// The messaging profile of a number, where the request names none.
pub(super) const PROFILE: &str = "40017e8b-0000-4000-8000-000000000001";

/// An accepted message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: Uuid,
    pub(super) request: Value,
    pub(super) accepted_at: OffsetDateTime,
}

impl Message {
    /// The message as in the answer and in webhooks.
    pub(super) fn data(&self, status: &str) -> Value {
        let asked = |field: &str| self.request.get(field).cloned().unwrap_or(Value::Null);
        let text = self.request["text"].as_str().unwrap_or_default();
        let (encoding, parts) = segments(text);
        let media = self.request["media_urls"].as_array().cloned().unwrap_or_default();
        let kind = match status {
            "read" => "RCS",
            _ if media.is_empty() => "SMS",
            _ => "MMS",
        };
        let finished = !matches!(status, "queued" | "scheduled" | "sending" | "sent");
        let now = timestamp::to_text(OffsetDateTime::now_utc());
        json!({
            "record_type": "message",
            "direction": "outbound",
            "id": self.id,
            "type": kind,
            "messaging_profile_id": self.request["messaging_profile_id"].as_str().unwrap_or(PROFILE),
            "from": {"phone_number": asked("from"), "carrier": "Simulated", "line_type": "Wireless"},
            "to": [{
                "phone_number": asked("to"), "status": status, "carrier": "Simulated", "line_type": "Wireless",
            }],
            "cc": [],
            "text": text,
            "media": media.iter().map(|url| json!({"url": url})).collect::<Vec<_>>(),
            "webhook_url": asked("webhook_url"),
            "webhook_failover_url": asked("webhook_failover_url"),
            "encoding": encoding,
            "parts": parts,
            "tags": [],
            "cost": {"amount": "0.0040", "currency": "USD"},
            "received_at": timestamp::to_text(self.accepted_at),
            "sent_at": if status == "queued" { Value::Null } else { json!(now) },
            "completed_at": if finished { json!(now) } else { Value::Null },
            "valid_until": null,
            "errors": if status == "delivery_failed" { json!([undeliverable()]) } else { json!([]) },
        })
    }

    /// A webhook's body.
    pub(super) fn webhook(&self, event: &Event<'_>, attempt: u32, url: &str) -> Value {
        json!({
            "data": {
                "event_type": event.kind,
                "id": event.id,
                "occurred_at": timestamp::to_text(event.at),
                "record_type": "event",
                "payload": self.data(event.status),
            },
            "meta": {"attempt": attempt, "delivered_to": url},
        })
    }
}

/// The event of a webhook.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) id: Uuid,
    pub(super) kind: &'a str,
    pub(super) status: &'a str,
    pub(super) at: OffsetDateTime,
}

fn undeliverable() -> Value {
    json!({"code": "40008", "title": "Undeliverable", "detail": "The carrier did not take the message."})
}

/// The body of an error answer. `pointer` names the wrong field.
pub(super) fn error(code: &str, title: &str, detail: &str, pointer: Option<&str>) -> Value {
    let mut error = json!({"code": code, "title": title, "detail": detail});
    if let Some(pointer) = pointer {
        error["source"] = json!({"pointer": pointer});
    }
    json!({"errors": [error]})
}

/// The encoding of a text and its number of parts.
pub(super) fn segments(text: &str) -> (&'static str, usize) {
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                         ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    const EXTENDED: &str = "^{}\\[~]|€";
    let width = |c: char| match c {
        c if BASIC.contains(c) => Some(1),
        c if EXTENDED.contains(c) => Some(2),
        _ => None,
    };
    let parts =
        |length: usize, alone: usize, each: usize| if length <= alone { 1 } else { length.div_ceil(each) };
    match text.chars().map(width).sum::<Option<usize>>() {
        Some(length) => ("GSM-7", parts(length, 160, 153)),
        None => ("UCS-2", parts(text.encode_utf16().count(), 70, 67)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_as_carriers_do() {
        assert_eq!(segments(&"a".repeat(160)), ("GSM-7", 1));
        assert_eq!(segments(&"a".repeat(161)), ("GSM-7", 2));
        assert_eq!(segments(&"€".repeat(81)), ("GSM-7", 2));
        assert_eq!(segments(&"🙏".repeat(35)), ("UCS-2", 1));
        assert_eq!(segments(&"🙏".repeat(36)), ("UCS-2", 2));
    }
}
