//! Reads Telnyx's answer into the report that a webhook would have brought.

use common::event::timestamp;
use common::failure::reason_of;
use common::status::Rank;
use common::store::{Ask, DeliveryReport, Failure, PhoneReport, WebhookContent};
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

/// Telnyx's own words are told to a person so far.
const MAX_REASON_CHARS: usize = 200;
/// Codes have five digits.
const MAX_CODE_CHARS: usize = 32;

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    id: String,
    #[serde(default)]
    to: Vec<To>,
    #[serde(default)]
    errors: Vec<Value>,
    #[serde(default)]
    sent_at: Option<String>,
    #[serde(default)]
    completed_at: Option<String>,
}

#[derive(Deserialize)]
struct To {
    phone_number: String,
    #[serde(default)]
    status: Option<String>,
}

/// What the answer reports of the recipient that was asked for, and when it happened.
pub(super) fn read(ask: &Ask, body: &[u8]) -> (WebhookContent, Option<OffsetDateTime>) {
    let ignored = |reason: &str| (WebhookContent::Ignored { reason: reason.into() }, None);
    let Ok(Answer { data }) = serde_json::from_slice(body) else {
        return ignored("the answer is no message");
    };
    if data.id != ask.provider_id {
        return ignored("the answer is of another message");
    }
    let is_asked_for = |to: &&To| to.phone_number == ask.phone;
    let only = data.to.first().filter(|_| data.to.len() == 1);
    let Some(to) = data.to.iter().find(is_asked_for).or(only) else {
        return ignored("the answer does not name the recipient");
    };
    let Some(rank) = to.status.as_deref().and_then(Rank::from_telnyx) else {
        return ignored("the answer's status is a word that we do not know");
    };
    // A carrier without receipts: Telnyx has finished, and nothing will follow.
    let is_finished = data.completed_at.is_some() || rank == Rank::Unconfirmed;
    let report = PhoneReport {
        phone: ask.phone.clone(),
        rank: rank.as_i16(),
        closed: is_finished && rank < Rank::Failed,
        failure: (rank == Rank::Failed).then(|| failure(&data.errors, to.status.as_deref())),
    };
    let at = data.completed_at.or(data.sent_at);
    let report = DeliveryReport { provider_id: data.id, recipient_hint: None, to: vec![report] };
    (WebhookContent::Delivery(report), at.as_deref().and_then(timestamp::parse))
}

fn failure(errors: &[Value], status: Option<&str>) -> Failure {
    let error = errors.first();
    let field = |name: &str, most: usize| {
        let text = match error?.get(name)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let text: String = text.chars().filter(|c| !c.is_control()).take(most).collect();
        (!text.trim().is_empty()).then_some(text)
    };
    let code = field("code", MAX_CODE_CHARS);
    let known = code.as_deref().and_then(reason_of).map(str::to_owned);
    let said = || field("title", MAX_REASON_CHARS);
    Failure {
        reason: known.or_else(said).unwrap_or_else(|| "The carrier could not deliver it.".into()),
        code: code.unwrap_or_else(|| status.unwrap_or("failed").into()),
    }
}

#[cfg(test)]
mod tests {
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
            WebhookContent::Ignored { .. } => None,
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
        assert!(matches!(read(&ask(), b"<html>").0, WebhookContent::Ignored { .. }));
    }
}
