//! A webhook of a test's own.

use deploy::simulator::{Entry, Signer};
use reqwest::RequestBuilder;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

/// A webhook of the test's own about a message that Telnyx accepted.
#[derive(Debug, Clone)]
pub struct Report {
    /// Telnyx's event id, the same for repetitions.
    pub event_id: Uuid,
    event_type: &'static str,
    status: &'static str,
    provider_id: Uuid,
    to: String,
    webhook_url: Option<String>,
    trace_parent: Option<String>,
}

impl Report {
    /// A new event about an entry of the simulator's book, with a status in Telnyx's words.
    pub fn of(entry: &Entry, status: &'static str) -> Self {
        Self {
            event_id: Uuid::now_v7(),
            event_type: match status {
                "sent" => "message.sent",
                "read" => "message.read",
                _ => "message.finalized",
            },
            status,
            provider_id: entry.id,
            to: entry.to.clone(),
            webhook_url: entry.webhook_url().map(str::to_owned),
            trace_parent: None,
        }
    }

    /// The same report, in a request with the header `traceparent`.
    #[must_use]
    pub fn traced(self, trace_parent: &str) -> Self {
        Self { trace_parent: Some(trace_parent.into()), ..self }
    }

    /// The signed request.
    pub(crate) fn request(&self, post: RequestBuilder, signer: &Signer) -> RequestBuilder {
        let body = self.body();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut request = post.header("content-type", "application/json");
        for (name, value) in signer.headers(now, body.as_bytes()) {
            request = request.header(name, value);
        }
        if let Some(trace_parent) = &self.trace_parent {
            request = request.header("traceparent", trace_parent);
        }
        request.body(body)
    }

    fn body(&self) -> String {
        let error = json!({"code": "40008", "title": "Undeliverable"});
        json!({
            "data": {
                "event_type": self.event_type,
                "id": self.event_id,
                "occurred_at": common::event::timestamp::to_text(OffsetDateTime::now_utc()),
                "record_type": "event",
                "payload": {
                    "direction": "outbound",
                    "id": self.provider_id,
                    "to": [{"phone_number": self.to, "status": self.status}],
                    "webhook_url": self.webhook_url,
                    "errors": if self.status == "delivery_failed" { vec![error] } else { vec![] },
                },
            },
            "meta": {"attempt": 1},
        })
        .to_string()
    }
}
