//! What a webhook said of a recipient.

use common::json::parse_lenient;
use common::telnyx_message::TelnyxMessage;

/// The status in Telnyx's words, and the reason if the webhook names one: `delivery_unconfirmed (40002: …)`. `None` if
/// the body was erased or has no status of this number.
pub(super) fn reported(body: &[u8], phone: &str) -> Option<String> {
    let body = parse_lenient(body).ok()?;
    let data = body.get("data")?;
    // Telnyx's answer to a question is the message itself.
    let message = TelnyxMessage::new(data.get("payload").unwrap_or(data).as_object()?);
    let mut of_phone = message.recipients().filter(|recipient| recipient.phone == phone);
    let recipient = of_phone.next()?;
    let status = recipient.status.as_deref()?;
    let why = recipient.rank().and_then(|rank| message.failure(rank, Some(status)));
    let why = why.map(|why| format!(" ({}: {})", why.code, why.reason)).unwrap_or_default();
    Some(format!("{status}{why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(message: &Value) -> Option<String> {
        let webhook = json!({"data": {"event_type": "message.finalized", "payload": message}}).to_string();
        let asked = json!({ "data": message }).to_string();
        let said = reported(webhook.as_bytes(), "+15551230101");
        assert_eq!(reported(asked.as_bytes(), "+15551230101"), said);
        said
    }

    #[test]
    fn the_status_of_the_recipient_is_told_with_the_reason_that_the_webhook_names() {
        let to = json!([
            {"phone_number": "+15551230102", "status": "delivered"},
            {"phone_number": "+15551230101", "status": "delivery_unconfirmed"},
        ]);
        assert_eq!(told(&json!({ "to": to })).unwrap(), "delivery_unconfirmed");
        let errors = json!([{"code": "99999", "title": "The carrier confirms nothing"}]);
        let why = told(&json!({ "to": to, "errors": errors })).unwrap();
        assert_eq!(why, "delivery_unconfirmed (99999: The carrier confirms nothing)");
    }

    #[test]
    fn without_a_status_of_the_recipient_nothing_is_told() {
        assert_eq!(told(&json!({"to": [{"phone_number": "+15551230101"}]})), None);
        assert_eq!(told(&json!({"to": [{"phone_number": "+15551230102", "status": "sent"}]})), None);
        for body in ["", "{", "{\"data\": 7}"] {
            assert_eq!(reported(body.as_bytes(), "+15551230101"), None, "{body}");
        }
    }
}
