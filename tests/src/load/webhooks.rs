//! Telnyx's webhooks, encoded and signed beforehand, so that the measurement contains only their sending.

use std::net::SocketAddr;

use bytes::Bytes;
use common::event::timestamp;
use deploy::simulator::Signer;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::record::Target;

/// The report of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// `message.sent`: with the carrier.
    Sent,
    /// `message.finalized`: delivered.
    Delivered,
}

/// A complete HTTP request that posts a webhook, signed with the current time. The signature is valid for five minutes.
pub fn request(signer: &Signer, address: SocketAddr, target: &Target, report: Report) -> Bytes {
    let now = OffsetDateTime::now_utc();
    let path = format!("/webhooks/telnyx/{}", target.recipient);
    let body = body(target, report, &format!("http://{address}{path}"), now);
    let [(timestamp_name, timestamp), (signature_name, signature)] =
        signer.headers(now.unix_timestamp(), body.as_bytes());
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: telnyx-webhooks\r\n\
         content-type: application/json\r\n{timestamp_name}: {timestamp}\r\n{signature_name}: {signature}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// A body as long as Telnyx's own, about 1.3 KB.
fn body(target: &Target, report: Report, url: &str, at: OffsetDateTime) -> String {
    let (kind, status) = match report {
        Report::Sent => ("message.sent", "sent"),
        Report::Delivered => ("message.finalized", "delivered"),
    };
    let now = timestamp::to_text(at);
    let line =
        |phone: &str| json!({"phone_number": phone, "carrier": "Example Wireless", "line_type": "Wireless"});
    let mut to = line(&target.phone);
    to["status"] = json!(status);
    json!({
        "data": {
            "event_type": kind,
            "id": Uuid::now_v7(),
            "occurred_at": now,
            "record_type": "event",
            "payload": {
                "record_type": "message", "direction": "outbound", "id": target.provider_id, "type": "SMS",
                "messaging_profile_id": "40017f8e-49bd-4f16-9e3d-ef103f916228",
                "organization_id": "40017f8e-49bd-4f16-9e3d-ef103f916229",
                "from": line("+12025550100"), "to": [to], "cc": [],
                "text": "The choir meets at seven tonight, in the small hall and not in the church.",
                "media": [], "webhook_url": url, "webhook_failover_url": null,
                "encoding": "GSM-7", "parts": 1, "tags": [],
                "cost": {"amount": "0.0040", "currency": "USD"},
                "cost_breakdown": {"carrier_fee": {"amount": "0.0010", "currency": "USD"},
                                   "rate": {"amount": "0.0030", "currency": "USD"}},
                "tcr_campaign_id": null, "tcr_campaign_billable": false, "tcr_campaign_registered": null,
                "received_at": now, "sent_at": now, "valid_until": null,
                "completed_at": if report == Report::Delivered { json!(now) } else { json!(null) },
                "errors": [],
            },
        },
        "meta": {"attempt": 1, "delivered_to": url},
    })
    .to_string()
}
