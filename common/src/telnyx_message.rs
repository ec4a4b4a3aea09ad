//! A message as Telnyx describes it: in the payload of a webhook, and in the answer to a question for it.
//!
//! It is read as liberally as Telnyx writes: what is not a usable id, phone or word counts as missing.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::event::timestamp;
use crate::failure::reason_of;
use crate::status::Rank;
use crate::store::Failure;

/// Longest id. Ids of Telnyx are UUIDs.
pub const MAX_ID: usize = 128;
/// Longest phone number, or address of a messaging service.
const MAX_PHONE: usize = 64;
/// Longest reason of a failure, in characters.
const MAX_REASON: usize = 200;
/// Longest code of a failure. Codes have five digits.
const MAX_CODE: usize = 32;

/// The fields of a message.
#[derive(Debug, Clone, Copy)]
pub struct TelnyxMessage<'a>(&'a Map<String, Value>);

/// One entry of the message's `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelnyxRecipient<'a> {
    /// E.164.
    pub phone: &'a str,
    /// Telnyx's word for its status, if there is one. A status that is no text is given as its JSON.
    pub status: Option<String>,
}

impl TelnyxRecipient<'_> {
    /// The rank of its status, `None` without one that we know.
    pub fn rank(&self) -> Option<Rank> {
        self.status.as_deref().and_then(Rank::from_telnyx)
    }
}

impl<'a> TelnyxMessage<'a> {
    /// Reads the fields of a message.
    pub fn new(fields: &'a Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Telnyx's id of the message.
    pub fn id(self) -> Option<&'a str> {
        name(self.0, "id", MAX_ID)
    }

    /// Whether it was received, not sent.
    pub fn is_inbound(self) -> bool {
        text(self.0, "direction") == Some("inbound")
    }

    /// Whether it was sent, not received, as far as it says.
    pub fn is_outbound(self) -> bool {
        text(self.0, "direction") == Some("outbound")
    }

    /// Who sent it. `from` is an object, or just the phone.
    pub fn sender(self) -> Option<&'a str> {
        match self.0.get("from")? {
            Value::Object(from) => name(from, "phone_number", MAX_PHONE),
            Value::String(phone) => Some(phone.as_str()).filter(|phone| is_name(phone, MAX_PHONE)),
            _ => None,
        }
    }

    /// Its text; empty if it has only media.
    pub fn content(self) -> &'a str {
        text(self.0, "text").unwrap_or_default()
    }

    /// How many media it has.
    pub fn media_count(self) -> usize {
        self.0.get("media").and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// What Telnyx answered by itself: `STOP`, `START` or `HELP`.
    pub fn autoresponse(self) -> Option<&'a str> {
        text(self.0, "autoresponse_type")
    }

    /// When Telnyx received it.
    pub fn received_at(self) -> Option<OffsetDateTime> {
        text(self.0, "received_at").and_then(timestamp::parse)
    }

    /// Whether Telnyx has finished with it.
    pub fn is_completed(self) -> bool {
        text(self.0, "completed_at").is_some()
    }

    /// When it was completed, else when it was sent.
    pub fn last_changed_at(self) -> Option<OffsetDateTime> {
        ["completed_at", "sent_at"].into_iter().find_map(|key| text(self.0, key)).and_then(timestamp::parse)
    }

    /// Our recipient's id at the end of the URL that we gave Telnyx with the message.
    pub fn recipient_id(self) -> Option<Uuid> {
        text(self.0, "webhook_url").and_then(recipient_of_url)
    }

    /// Its recipients. `to` is a list, or a single entry; an entry is an object, or just the phone.
    pub fn recipients(self) -> impl Iterator<Item = TelnyxRecipient<'a>> {
        self.to().iter().filter_map(recipient)
    }

    /// Its only recipient, if it has no other, readable or not.
    pub fn only_recipient(self) -> Option<TelnyxRecipient<'a>> {
        let [only] = self.to() else { return None };
        recipient(only)
    }

    fn to(self) -> &'a [Value] {
        match self.0.get("to") {
            Some(Value::Array(entries)) => entries,
            Some(entry) => std::slice::from_ref(entry),
            None => &[],
        }
    }

    /// Why a recipient of this rank and status failed, or why the carrier confirms nothing.
    pub fn failure(self, rank: Rank, status: Option<&str>) -> Option<Failure> {
        let (code, reason) = self.first_error();
        match rank {
            Rank::Failed => Some(Failure {
                reason: reason.unwrap_or_else(|| reason_of_status(status).to_owned()),
                code: code
                    .unwrap_or_else(|| status.filter(|word| !word.is_empty()).unwrap_or("failed").into()),
            }),
            // A carrier may say, too, why it only took the message and confirms nothing.
            rank if rank < Rank::Failed => Some(Failure { code: code?, reason: reason? }),
            _ => None,
        }
    }

    /// Code and reason of the first of its `errors`.
    fn first_error(self) -> (Option<String>, Option<String>) {
        let error = self.0.get("errors").and_then(Value::as_array).and_then(|errors| errors.first());
        let field = |key| error.and_then(|error| error.get(key));
        let code = match field("code") {
            Some(Value::String(code)) => clean(code, MAX_CODE),
            Some(Value::Number(code)) => Some(code.to_string()),
            _ => None,
        };
        let told = ["title", "detail"].into_iter().find_map(|key| clean(field(key)?.as_str()?, MAX_REASON));
        let known = code.as_deref().and_then(reason_of).map(str::to_owned);
        (code, known.or(told))
    }
}

fn recipient(entry: &Value) -> Option<TelnyxRecipient<'_>> {
    match entry {
        Value::Object(entry) => Some(TelnyxRecipient {
            phone: name(entry, "phone_number", MAX_PHONE)?,
            status: match entry.get("status") {
                None | Some(Value::Null) => None,
                Some(Value::String(word)) => Some(word.clone()),
                Some(other) => Some(other.to_string()),
            },
        }),
        Value::String(phone) => is_name(phone, MAX_PHONE).then_some(TelnyxRecipient { phone, status: None }),
        _ => None,
    }
}

fn reason_of_status(status: Option<&str>) -> &'static str {
    match status {
        Some("sending_failed") => "It could not be handed to the carrier.",
        Some("expired") => "It expired before it could be delivered.",
        Some("cancelled") => "Sending was cancelled.",
        _ => "The carrier could not deliver it.",
    }
}

/// The recipient's id in a URL, whatever host and prefix it has.
fn recipient_of_url(url: &str) -> Option<Uuid> {
    let path = url.split(['?', '#']).next()?.trim_end_matches('/');
    let (before, id) = path.rsplit_once('/')?;
    let is_hyphenated = id.len() == 36 && before.ends_with("/webhooks/telnyx");
    is_hyphenated.then(|| Uuid::try_parse(id).ok()).flatten()
}

/// Without control characters, cut; `None` if nothing is left.
fn clean(text: &str, longest: usize) -> Option<String> {
    let clean: String = text.chars().filter(|c| !c.is_control()).take(longest).collect();
    (!clean.trim().is_empty()).then_some(clean)
}

/// A field that is a text.
pub fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// A field that can be an id, a phone or a word; anything else counts as missing, so that no database refuses it.
pub fn name<'a>(object: &'a Map<String, Value>, key: &str, longest: usize) -> Option<&'a str> {
    text(object, key).filter(|text| is_name(text, longest))
}

fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPIENT: &str = "0195a3c0-7a30-7c51-9d5e-0a1b2c3d4e5f";

    #[test]
    fn the_recipient_is_read_from_the_url_that_we_gave() {
        let id = Some(RECIPIENT.parse().unwrap());
        for (url, recipient) in [
            (format!("https://a.example/webhooks/telnyx/{RECIPIENT}"), id),
            (format!("http://10.0.0.1:8081/deep/prefix/webhooks/telnyx/{RECIPIENT}/"), id),
            (format!("https://a.example/webhooks/telnyx/{}?x=/y#/z", RECIPIENT.to_uppercase()), id),
            (format!("https://a.example/hooks/{RECIPIENT}"), None),
            (format!("https://a.example/notwebhooks/telnyx/{RECIPIENT}"), None),
            (format!("https://a.example/?/webhooks/telnyx/{RECIPIENT}"), None),
            (format!("https://a.example/webhooks/telnyx/{{{RECIPIENT}}}"), None),
            (format!("https://a.example/webhooks/telnyx/{}", RECIPIENT.replace('-', "")), None),
            ("https://a.example/webhooks/telnyx/42".into(), None),
            ("https://a.example/webhooks/telnyx".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(recipient_of_url(&url), recipient, "{url}");
        }
    }
}
