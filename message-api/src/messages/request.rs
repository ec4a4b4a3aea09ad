//! What `POST /api/messages/send` takes, and what must hold of it.

use std::collections::HashSet;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use common::event::timestamp;
use common::json::without_lone_surrogates;
use common::store::NewRecipient;
use reqwest::Url;
use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::error::{ApiError, Problem};
use crate::phone::is_e164;
use crate::segments;

const MAX_RECIPIENTS: usize = 10_000;
const MAX_MEDIA: usize = 10;
const MAX_URL_LEN: usize = 2_000;
/// Ids of members, conversations and targets, in characters.
const MAX_ID_CHARS: usize = 128;
const MAX_NAME_CHARS: usize = 100;
/// As far ahead as Telnyx would take it. We hold the message until then, so Telnyx's five minutes at least don't
/// bind; a moment that is over means now, so that a repeated request stays valid.
const MAX_AHEAD: Duration = Duration::days(5);
/// More problems are not listed.
const MAX_PROBLEMS: usize = 20;
/// Whom a message is meant for.
const TARGET_TYPES: [&str; 4] = ["individual", "groups", "branches", "all"];

/// The body. What is required is checked by hand, so that all that is wrong is said at once.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendRequest {
    content: Option<String>,
    target_type: Option<String>,
    target_ids: Option<Vec<String>>,
    recipients: Option<Vec<RecipientEntry>>,
    conversation_id: Option<String>,
    media_urls: Option<Vec<String>>,
    send_at: Option<String>,
}

/// One recipient, named by its number.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecipientEntry {
    phone: Option<String>,
    member_id: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
}

/// A request that holds.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) content: String,
    pub(super) target_type: String,
    pub(super) conversation_id: Option<String>,
    pub(super) media_urls: Vec<String>,
    pub(super) send_at: Option<OffsetDateTime>,
    /// Each number once; the first entry of a number counts.
    pub(super) recipients: Vec<NewRecipient>,
}

impl SendRequest {
    /// Reads a body. Half an emoji, as an editor that cuts by UTF-16 leaves it, becomes U+FFFD.
    ///
    /// # Errors
    /// It is no JSON (400), or a field has the wrong type (422, named).
    pub(super) fn from_body(body: &[u8]) -> Result<Self, ApiError> {
        let read = Json::from_bytes(body).or_else(|rejection| {
            without_lone_surrogates(body).map_or(Err(rejection), |copy| Json::from_bytes(&copy))
        });
        read.map(|Json(request)| request).map_err(|rejection| unreadable(&rejection))
    }

    /// Checks everything.
    ///
    /// # Errors
    /// All that is wrong with the fields, or that there is nobody to send it to.
    pub(super) fn check(self, now: OffsetDateTime) -> Result<Draft, ApiError> {
        let mut problems = Problems::default();
        let content = problems.content(self.content);
        let has_targets = self.target_type.is_some() || self.target_ids.is_some();
        let target_type = problems.target_type(self.target_type);
        let has_ids = problems.target_ids(self.target_ids.unwrap_or_default());
        problems.line("conversationId", self.conversation_id.as_deref(), MAX_ID_CHARS);
        let media_urls = self.media_urls.unwrap_or_default();
        problems.media(&media_urls);
        let send_at = self.send_at.and_then(|text| problems.send_at(&text, now));
        let entries = self.recipients.unwrap_or_default();
        if has_ids && !entries.is_empty() {
            problems.add("targetIds", "give either targetIds or recipients");
        }
        let recipients = problems.recipients(entries);
        problems.into_result()?;
        if recipients.is_empty() {
            return Err(nobody(has_targets));
        }
        let conversation_id = self.conversation_id;
        Ok(Draft { content, target_type, conversation_id, media_urls, send_at, recipients })
    }
}

fn nobody(has_targets: bool) -> ApiError {
    if has_targets {
        ApiError::Impossible {
            code: "directory_unavailable",
            message: "there is no member directory yet that targetType and targetIds could be looked up in; \
                      list the recipients by phone in `recipients`",
        }
    } else {
        ApiError::Impossible { code: "no_recipients", message: "the message has no recipient" }
    }
}

fn unreadable(rejection: &JsonRejection) -> ApiError {
    if rejection.status() != StatusCode::UNPROCESSABLE_ENTITY {
        return ApiError::Malformed("the body is no JSON".into());
    }
    // "<what happened>: <path>: <what is wrong>", where the path may be missing.
    let text = rejection.body_text();
    let text = text.split_once(": ").map_or(text.as_str(), |(_, rest)| rest);
    match text.split_once(": ") {
        Some((path, message)) if !path.contains(' ') => Problem::new(path, message).into(),
        _ => Problem::new("body", text).into(),
    }
}

/// All that is wrong, up to a number.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.push(Problem::new(field, message));
        }
    }

    fn into_result(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.0)) }
    }

    fn content(&mut self, content: Option<String>) -> String {
        let content = content.unwrap_or_default();
        let segments = segments::count(&content);
        if content.trim().is_empty() {
            self.add("content", "write a text");
        } else if content.contains('\0') {
            self.add("content", "the text holds a character that can't be sent (NUL)");
        } else if segments > segments::MAX_SEGMENTS {
            let most = segments::MAX_SEGMENTS;
            self.add(
                "content",
                format!("the text makes {segments} SMS for each recipient, at most {most} are allowed"),
            );
        }
        content
    }

    fn target_type(&mut self, target_type: Option<String>) -> String {
        let target_type = target_type.unwrap_or_else(|| TARGET_TYPES[0].to_owned());
        if !TARGET_TYPES.contains(&target_type.as_str()) {
            self.add("targetType", format!("give one of {}", TARGET_TYPES.join(", ")));
        }
        target_type
    }

    /// Returns whether there are any.
    fn target_ids(&mut self, ids: Vec<String>) -> bool {
        if ids.len() > MAX_RECIPIENTS {
            self.add("targetIds", format!("give at most {MAX_RECIPIENTS}"));
        }
        for (index, id) in ids.iter().take(MAX_RECIPIENTS).enumerate() {
            self.line(&format!("targetIds[{index}]"), Some(id), MAX_ID_CHARS);
        }
        !ids.is_empty()
    }

    /// An id or a name: one line, not empty, bounded.
    fn line(&mut self, field: &str, text: Option<&str>, most: usize) {
        let Some(text) = text else { return };
        if text.trim().is_empty() || text.chars().count() > most || text.chars().any(char::is_control) {
            self.add(field, format!("give 1 to {most} characters in one line, or leave it out"));
        }
    }

    fn media(&mut self, urls: &[String]) {
        if urls.len() > MAX_MEDIA {
            self.add("mediaUrls", format!("give at most {MAX_MEDIA}"));
        }
        for (index, url) in urls.iter().take(MAX_MEDIA).enumerate() {
            let is_web = url.parse::<Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !is_web || url.len() > MAX_URL_LEN || url.contains(char::is_control) {
                let help = format!("give an http or https address of at most {MAX_URL_LEN} characters");
                self.add(format!("mediaUrls[{index}]"), help);
            }
        }
    }

    fn send_at(&mut self, text: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let send_at = timestamp::parse(text);
        match send_at {
            None => self.add("sendAt", "give a moment as 2026-11-22T20:15:00Z"),
            Some(at) if at > now + MAX_AHEAD => self.add("sendAt", "give a moment within the next five days"),
            Some(_) => {}
        }
        send_at.filter(|at| *at > now)
    }

    fn recipients(&mut self, entries: Vec<RecipientEntry>) -> Vec<NewRecipient> {
        if entries.len() > MAX_RECIPIENTS {
            self.add("recipients", format!("give at most {MAX_RECIPIENTS}"));
            return Vec::new();
        }
        let mut phones = HashSet::with_capacity(entries.len());
        let mut recipients = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let recipient = self.recipient(index, entry);
            // A person in two groups gets one message.
            if phones.insert(recipient.phone.clone()) {
                recipients.push(recipient);
            }
        }
        recipients
    }

    fn recipient(&mut self, index: usize, entry: RecipientEntry) -> NewRecipient {
        let field = |name: &str| format!("recipients[{index}].{name}");
        let phone = entry.phone.unwrap_or_default();
        if !is_e164(&phone) {
            self.add(field("phone"), "give the number as +15551230000");
        }
        // An empty name is no name: that is how forms send it.
        let [member_id, first_name, last_name] = [entry.member_id, entry.first_name, entry.last_name]
            .map(|text| text.filter(|text| !text.is_empty()));
        self.line(&field("memberId"), member_id.as_deref(), MAX_ID_CHARS);
        self.line(&field("firstName"), first_name.as_deref(), MAX_NAME_CHARS);
        self.line(&field("lastName"), last_name.as_deref(), MAX_NAME_CHARS);
        NewRecipient { id: Uuid::now_v7(), phone, member_id, first_name, last_name }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(body: &Value) -> Result<Draft, ApiError> {
        SendRequest::from_body(body.to_string().as_bytes())?.check(OffsetDateTime::now_utc())
    }

    fn fields(body: &Value) -> Vec<String> {
        match check(body) {
            Err(ApiError::Invalid(problems)) => problems.into_iter().map(|problem| problem.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn with(field: &str, value: Value) -> Value {
        let mut body = json!({"content": "Hello", "recipients": [{"phone": "+15551230101"}]});
        body[field] = value;
        body
    }

    #[test]
    fn each_wrong_field_is_named() {
        let far = timestamp::to_text(OffsetDateTime::now_utc() + Duration::days(6));
        for (field, wrong) in [
            ("content", json!("")),
            ("content", json!(" \n")),
            ("content", json!("x".repeat(1_531))),
            ("content", json!("a\u{0}b")),
            ("content", Value::Null),
            ("content", json!(5)),
            ("targetType", json!("everybody")),
            ("targetIds", json!(["g1"])),
            ("conversationId", json!("")),
            ("conversationId", json!("x".repeat(129))),
            ("mediaUrls", json!(vec!["https://a/"; 11])),
            ("sendAt", json!("tomorrow")),
            ("sendAt", json!(far)),
        ] {
            assert_eq!(fields(&with(field, wrong.clone())), [field], "{wrong}");
        }
        for (field, wrong) in [
            ("recipients[0].phone", json!([{"phone": "5551230101"}])),
            ("recipients[0].phone", json!([{"firstName": "Ada"}])),
            ("recipients[1].phone", json!([{"phone": "+15551230101"}, {"phone": 15551230102u64}])),
            ("recipients[0].firstName", json!([{"phone": "+15551230101", "firstName": "x".repeat(101)}])),
            ("recipients[0].memberId", json!([{"phone": "+15551230101", "memberId": "a\nb"}])),
            ("recipients", json!("+15551230101")),
        ] {
            assert_eq!(fields(&with("recipients", wrong.clone())), [field], "{wrong}");
        }
        assert_eq!(
            fields(&with("mediaUrls", json!(["https://a/b.png", "file:///etc/passwd"]))),
            ["mediaUrls[1]"]
        );
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let body = json!({"content": "", "recipients": [{"phone": "1"}], "sendAt": "x"});
        assert_eq!(fields(&body), ["content", "sendAt", "recipients[0].phone"]);
        let many = vec![json!({"phone": "1"}); 500];
        assert_eq!(fields(&with("recipients", json!(many))).len(), MAX_PROBLEMS);
    }

    #[test]
    fn a_text_of_ten_segments_is_taken() {
        assert!(check(&with("content", json!("x".repeat(1_530)))).is_ok());
    }

    #[test]
    fn a_number_that_is_listed_twice_gets_one_message() {
        let twice = json!([
            {"phone": "+15551230101", "firstName": "Ada"},
            {"phone": "+15551230102"},
            {"phone": "+15551230101", "firstName": "Bea", "lastName": ""},
        ]);
        let recipients = check(&with("recipients", twice)).unwrap().recipients;
        assert_eq!(recipients.len(), 2);
        assert_eq!(recipients[0].first_name.as_deref(), Some("Ada"));
    }

    #[test]
    fn nobody_to_send_to_is_said_with_its_reason() {
        for (body, expected) in [
            (json!({"content": "Hello"}), "no_recipients"),
            (json!({"content": "Hello", "recipients": []}), "no_recipients"),
            (
                json!({"content": "Hello", "targetType": "groups", "targetIds": ["g1"]}),
                "directory_unavailable",
            ),
            (json!({"content": "Hello", "targetType": "all"}), "directory_unavailable"),
        ] {
            match check(&body) {
                Err(ApiError::Impossible { code, .. }) => assert_eq!(code, expected, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_moment_that_is_over_means_now() {
        let at = |after: Duration| {
            let text = timestamp::to_text(OffsetDateTime::now_utc() + after);
            check(&with("sendAt", json!(text))).unwrap().send_at
        };
        assert_eq!(at(Duration::hours(-1)), None);
        assert!(at(Duration::minutes(1)).is_some());
        assert!(at(Duration::days(4)).is_some());
    }

    #[test]
    fn half_an_emoji_becomes_the_replacement_character() {
        let read = |content: &str| {
            let body = format!(r#"{{"content":"{content}","recipients":[{{"phone":"+15551230101"}}]}}"#);
            SendRequest::from_body(body.as_bytes()).unwrap().check(OffsetDateTime::now_utc()).unwrap().content
        };
        assert_eq!(read(r"Hi \ud83d"), "Hi \u{fffd}");
        assert_eq!(read(r"Hi \ud83d\ude00, \\ud83d"), "Hi \u{1f600}, \\ud83d");
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for body in ["", "{", "no", "{\"content\":"] {
            assert!(matches!(SendRequest::from_body(body.as_bytes()), Err(ApiError::Malformed(_))), "{body}");
        }
    }
}
