//! Reads Telnyx's answer into the report that a webhook would have brought.

use common::json::parse_lenient;
use common::status::Rank;
use common::store::{Ask, DeliveryReport, PhoneReport, WebhookContent};
use common::telnyx_message::TelnyxMessage;
use serde_json::Value;
use time::OffsetDateTime;

/// The report on the recipient that was asked for, and when it happened.
pub(super) fn read(ask: &Ask, body: &[u8]) -> (WebhookContent, Option<OffsetDateTime>) {
    let answer = parse_lenient(body).unwrap_or_default();
    let Some(data) = answer.get("data").and_then(Value::as_object) else {
        return (WebhookContent::Ignored { reason: "the answer is no message".into() }, None);
    };
    let message = TelnyxMessage::new(data);
    match phone_report(ask, message) {
        Ok(to) => {
            let report =
                DeliveryReport { provider_id: ask.provider_id.clone(), recipient_hint: None, to: vec![to] };
            (WebhookContent::Delivery(report), message.last_changed_at())
        }
        Err(reason) => (WebhookContent::Ignored { reason: reason.into() }, None),
    }
}

fn phone_report(ask: &Ask, message: TelnyxMessage<'_>) -> Result<PhoneReport, &'static str> {
    if message.id() != Some(&ask.provider_id) {
        return Err("the answer is of another message");
    }
    let asked_for = message.recipients().find(|recipient| recipient.phone == ask.phone);
    let recipient =
        asked_for.or_else(|| message.only_recipient()).ok_or("the answer does not name the recipient")?;
    let rank = recipient.rank().ok_or("the answer's status is a word that we do not know")?;
    // A carrier without receipts: Telnyx has finished, and nothing will follow.
    let is_finished = message.is_completed() || rank == Rank::Unconfirmed;
    Ok(PhoneReport {
        phone: ask.phone.clone(),
        rank: rank.as_i16(),
        closed: is_finished && rank < Rank::Failed,
        failure: message.failure(rank, recipient.status.as_deref()),
    })
}

#[cfg(test)]
mod tests {
    use common::store::Failure;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn ask() -> Ask {
        let (recipient_id, attempted_at) = (Uuid::nil(), OffsetDateTime::UNIX_EPOCH);
        Ask { recipient_id, provider_id: "p".into(), phone: "+1".into(), attempted_at, asked: 0 }
    }

    fn reported(data: &Value) -> Option<(Rank, bool, Option<Failure>)> {
        match read(&ask(), json!({"data": data}).to_string().as_bytes()).0 {
            WebhookContent::Delivery(report) => {
                let to = report.to.into_iter().next()?;
                Some((Rank::from_i16(to.rank)?, to.closed, to.failure))
            }
            WebhookContent::Inbound(_) | WebhookContent::Ignored { .. } => None,
        }
    }

    #[test]
    fn each_status_is_read_as_its_webhook_would_be() {
        let now = "2026-11-22T10:00:00Z";
        let of = |status: &str, completed: Option<&str>| {
            let to = json!([{"phone_number": "+1", "status": status}]);
            let (rank, closed, _) = reported(&json!({"id": "p", "to": to, "completed_at": completed}))?;
            Some((rank, closed))
        };
        assert_eq!(of("queued", None), Some((Rank::Queued, false)));
        assert_eq!(of("sent", None), Some((Rank::Sent, false)));
        assert_eq!(of("sent", Some(now)), Some((Rank::Sent, true)));
        assert_eq!(of("delivery_unconfirmed", None), Some((Rank::Unconfirmed, true)));
        assert_eq!(of("delivered", Some(now)), Some((Rank::Delivered, false)));
        assert_eq!(of("nonsense", None), None);
    }

    #[test]
    fn a_failure_has_a_reason_for_a_person() {
        let to = json!([{"phone_number": "+1", "status": "delivery_failed"}]);
        let errors = json!([{"code": "40300", "title": "Blocked"}]);
        let failure = reported(&json!({"id": "p", "to": to, "errors": errors})).unwrap().2.unwrap();
        assert_eq!(failure.code, "40300");
        assert!(failure.reason.contains("STOP"));
        let bare = reported(&json!({"id": "p", "to": to})).unwrap().2.unwrap();
        assert_eq!(bare.code, "delivery_failed");
    }

    #[test]
    fn an_answer_of_something_else_reports_nothing() {
        let to = json!([{"phone_number": "+1", "status": "delivered"}]);
        assert_eq!(reported(&json!({"id": "other", "to": to})), None);
        let two = json!([{"phone_number": "+2", "status": "delivered"}, {"phone_number": "+3"}]);
        assert_eq!(reported(&json!({"id": "p", "to": two})), None);
        let one_unreadable = json!([{"phone_number": "+2", "status": "delivered"}, {"status": "sent"}]);
        assert_eq!(reported(&json!({"id": "p", "to": one_unreadable})), None);
        assert!(matches!(read(&ask(), b"<html>").0, WebhookContent::Ignored { .. }));
    }
}
