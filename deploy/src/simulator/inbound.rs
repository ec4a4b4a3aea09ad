//! A text that somebody sends to a number: a signed `message.received` webhook, at the address that the messaging
//! profile of the number has.

use std::sync::Arc;

use common::event::timestamp;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::callbacks::{ATTEMPTS, post_signed};
use super::payload::{PROFILE, segments};
use super::state::{State, Telnyx};

/// Most people that the simulator remembers to have opted out.
const MAX_OPTED_OUT: usize = 10_000;

/// A text that somebody sends.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InboundText {
    /// Who sends it.
    pub from: String,
    /// The number that it is sent to.
    pub to: String,
    /// The text.
    pub text: String,
    /// URLs of its media.
    pub media: Vec<String>,
    /// Where the messaging profile sends webhooks.
    pub webhook_url: String,
    /// How often the webhook comes, at the same moment; 0 means once, as 1 does.
    pub copies: u32,
}

impl InboundText {
    /// What Telnyx answers by itself, if the text is one of the words for that.
    fn autoresponse(&self) -> Option<&'static str> {
        let word = self.text.trim().to_uppercase();
        match word.as_str() {
            "STOP" | "STOPALL" | "STOP ALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" => Some("STOP"),
            "START" | "UNSTOP" => Some("START"),
            "HELP" => Some("HELP"),
            _ => None,
        }
    }

    /// The body of its webhook.
    fn webhook(&self, event_id: Uuid, message_id: Uuid, at: OffsetDateTime, attempt: u32) -> Value {
        let (encoding, parts) = segments(&self.text);
        let media = self
            .media
            .iter()
            .map(|url| json!({"url": url, "content_type": null, "sha256": null, "size": null}));
        let mut payload = json!({
            "record_type": "message",
            "direction": "inbound",
            "id": message_id,
            "type": if self.media.is_empty() { "SMS" } else { "MMS" },
            "messaging_profile_id": PROFILE,
            "from": {"phone_number": self.from, "carrier": "Simulated", "line_type": "Wireless", "status": "webhook_delivered"},
            "to": [{"phone_number": self.to, "carrier": "Telnyx", "line_type": "Wireless", "status": "webhook_delivered"}],
            "cc": [],
            "text": self.text,
            "media": media.collect::<Vec<_>>(),
            "webhook_url": self.webhook_url,
            "webhook_failover_url": null,
            "encoding": encoding,
            "parts": parts,
            "tags": [],
            "cost": null,
            "received_at": timestamp::to_text(at),
            "sent_at": null,
            "completed_at": null,
            "valid_until": null,
            "errors": [],
        });
        if let Some(autoresponse) = self.autoresponse() {
            payload["autoresponse_type"] = autoresponse.into();
        }
        json!({
            "data": {
                "event_type": "message.received",
                "id": event_id,
                "occurred_at": timestamp::to_text(at),
                "record_type": "event",
                "payload": payload,
            },
            "meta": {"attempt": attempt, "delivered_to": self.webhook_url},
        })
    }
}

/// What became of a text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundDelivery {
    /// `data.id` of its webhook, the same for all attempts and copies.
    pub event_id: Uuid,
    /// HTTP status of each copy's last answer; none where there was no answer.
    pub answers: Vec<Option<u16>>,
}

/// Sends the webhook of a text, with Telnyx's retries, and waits for the answers.
pub(super) async fn receive(telnyx: &Arc<Telnyx>, text: InboundText) -> InboundDelivery {
    note_opt_out(&mut telnyx.state(), &text);
    let (event_id, message_id, at) = (Uuid::now_v7(), Uuid::now_v7(), OffsetDateTime::now_utc());
    let copies = (0..text.copies.max(1)).map(async |_| {
        let mut answer = None;
        for attempt in 1..=ATTEMPTS {
            let body = text.webhook(event_id, message_id, at, attempt).to_string();
            answer = post_signed(telnyx, &text.webhook_url, body).await;
            if answer.is_some_and(|status| status.is_success()) {
                break;
            }
            if attempt < ATTEMPTS {
                telnyx.back_off(attempt).await;
            }
        }
        answer.map(|status| status.as_u16())
    });
    InboundDelivery { event_id, answers: join_all(copies).await }
}

/// Blocks further texts to who asked for that, or lets them through again.
fn note_opt_out(state: &mut State, text: &InboundText) {
    let pair = (text.to.clone(), text.from.clone());
    match text.autoresponse() {
        Some("STOP") if state.opted_out.len() < MAX_OPTED_OUT => drop(state.opted_out.insert(pair)),
        Some("START") => drop(state.opted_out.remove(&pair)),
        _ => {}
    }
}
