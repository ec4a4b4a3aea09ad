//! Checks a send request.

use common::store::NewRecipient;
use time::OffsetDateTime;

use super::body::SendRequest;
use crate::directory::Target;
use crate::error::{ApiError, Problems};
use crate::phone::Country;

/// A valid request.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) content: String,
    pub(super) target_type: String,
    pub(super) conversation_id: Option<String>,
    pub(super) media_urls: Vec<String>,
    pub(super) send_at: Option<OffsetDateTime>,
    /// Whose recipients the directory is asked for; then none are listed.
    pub(super) target: Option<Target>,
    /// Each number once, with the names of its first entry.
    pub(super) recipients: Vec<NewRecipient>,
}

impl SendRequest {
    /// Checks every field. Numbers without a country code belong to `country`.
    ///
    /// # Errors
    /// Fields are wrong, or there is neither a recipient nor a target.
    pub(super) fn check(self, now: OffsetDateTime, country: Option<Country>) -> Result<Draft, ApiError> {
        let mut problems = Problems::default();
        let content = problems.content(self.content);
        let target_type = problems.text("targetType", self.target_type);
        let target_ids = problems.list("targetIds", self.target_ids);
        let has_targets = target_type.is_some() || target_ids.is_some();
        let target_type = problems.target_type(target_type);
        let ids = problems.target_ids(target_ids.unwrap_or_default());
        let conversation_id = problems.id("conversationId", self.conversation_id);
        let media_urls = problems.media(self.media_urls);
        let send_at = problems.send_at(self.send_at, now);
        let entries = problems.list("recipients", self.recipients);
        // An empty list means nobody. It must not become everybody.
        let asks = has_targets && entries.is_none();
        let entries = entries.unwrap_or_default();
        if !ids.is_empty() && !entries.is_empty() {
            problems.add("targetIds", "give either targetIds or recipients");
        }
        if asks {
            problems.needed_ids(&target_type, &ids);
        }
        let recipients = problems.recipients(entries, country);
        problems.into_result()?;
        if recipients.is_empty() && !asks {
            return Err(ApiError::NO_RECIPIENTS);
        }
        let target = asks.then(|| Target { kind: target_type.clone(), ids });
        Ok(Draft { content, target_type, conversation_id, media_urls, send_at, target, recipients })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use common::event::timestamp;
    use time::Duration;

    use super::*;

    fn check(body: &Value) -> Result<Draft, ApiError> {
        SendRequest::from_body(body.to_string().as_bytes())?.check(OffsetDateTime::now_utc(), None)
    }

    fn fields(body: &Value) -> Vec<String> {
        match check(body) {
            Err(ApiError::Invalid(problems)) => problems.fields().into_iter().map(str::to_owned).collect(),
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
        let far = timestamp::to_text(OffsetDateTime::now_utc() + Duration::days(91));
        for (field, wrong) in [
            ("content", json!("")),
            ("content", json!(" \n")),
            ("content", json!("\u{200b}\u{feff}")),
            ("content", json!("\u{7}\u{1b}")),
            ("content", json!("x".repeat(1_531))),
            ("content", json!("a\u{0}b")),
            ("content", Value::Null),
            ("content", json!(5)),
            ("targetType", json!("everybody")),
            ("targetIds", json!(["g1"])),
            ("conversationId", json!("x".repeat(129))),
            ("mediaUrls", json!(vec!["https://a/"; 11])),
            ("sendAt", json!("tomorrow")),
            ("sendAt", json!(1_790_000_000)),
            ("mediaUrls", json!("https://a/")),
            ("recipients", json!({"phone": "+15551230101"})),
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
            ("recipients[0]", json!(["+15551230101"])),
            ("recipients[0]", json!([null])),
        ] {
            assert_eq!(fields(&with("recipients", wrong.clone())), [field], "{wrong}");
        }
        assert_eq!(
            fields(&with("mediaUrls", json!(["https://a/b.png", "file:///etc/passwd"]))),
            ["mediaUrls[1]"]
        );
    }

    #[test]
    fn one_answer_names_every_problem() {
        let body = json!({"content": "", "recipients": [{"phone": "1"}], "sendAt": "x"});
        assert_eq!(fields(&body), ["content", "sendAt", "recipients[0].phone"]);
        // A wrong type is one problem among the others.
        let body = json!({"content": 5, "recipients": [{"phone": 15551230101u64}], "sendAt": "x"});
        assert_eq!(fields(&body), ["content", "sendAt", "recipients[0].phone"]);
    }

    #[test]
    fn an_answer_that_does_not_list_all_problems_counts_them() {
        let many = with("recipients", json!(vec![json!({"phone": "1"}); 500]));
        assert_eq!(fields(&many).len(), Problems::LISTED);
        let said = check(&many).unwrap_err().to_string();
        assert!(said.contains("500 fields") && said.contains("20 are listed"), "{said}");
    }

    #[test]
    fn no_text_of_the_parser_reaches_a_caller() {
        for body in [
            r#"{"content":5,"recipients":7,"mediaUrls":{},"targetIds":[1],"sendAt":false}"#,
            r#"{"content":"a","recipients":[{"phone":1,"firstName":[],"lastName":{}},[],"x"]}"#,
            r#"{"content":"a","content":"b"}"#,
            r#"["Hello"]"#,
            r#""Hello""#,
            "7",
            "{",
            "[}",
            "nul",
            "{\"content\":\"\u{1}\"}",
        ] {
            let read = SendRequest::from_body(body.as_bytes());
            let error = read.and_then(|request| request.check(OffsetDateTime::now_utc(), None)).unwrap_err();
            let said = format!("{error:?}").to_lowercase();
            for word in
                ["invalid type", "expected", "struct", "variant", "trailing", "eof", "serde", "duplicate"]
            {
                assert!(!said.contains(word), "{body}: {said}");
            }
        }
    }

    #[test]
    fn a_repeated_field_is_named() {
        let body = r#"{"content":"a","content":"b","recipients":[{"phone":"+15551230101"}]}"#;
        let Err(ApiError::Invalid(problems)) = SendRequest::from_body(body.as_bytes()) else {
            panic!("taken")
        };
        assert_eq!(problems.fields(), ["content"]);
    }

    #[test]
    fn a_blank_optional_text_counts_as_absent() {
        for blank in ["", "  ", "\u{200b}"] {
            let draft = check(&json!({
                "content": "Hello", "targetType": blank, "targetIds": [blank], "conversationId": blank,
                "mediaUrls": [blank], "sendAt": blank, "recipients":
                [{"phone": "+15551230101", "memberId": blank, "firstName": blank, "lastName": blank}],
            }));
            let draft = draft.unwrap();
            assert_eq!(
                (draft.target_type.as_str(), draft.conversation_id, draft.send_at),
                ("individual", None, None)
            );
            assert!(draft.media_urls.is_empty());
            let [recipient] = &draft.recipients[..] else { panic!("{:?}", draft.recipients) };
            assert_eq!(
                (&recipient.member_id, &recipient.first_name, &recipient.last_name),
                (&None, &None, &None)
            );
        }
    }

    #[test]
    fn numbers_in_different_notations_are_one_recipient() {
        let body = with(
            "recipients",
            json!([
                {"phone": " (202) 555-0103\u{200e} "}, {"phone": "+1 202 555 0103"}, {"phone": "+12025550103"},
            ]),
        );
        let request = || SendRequest::from_body(body.to_string().as_bytes()).unwrap();
        let draft = request().check(OffsetDateTime::now_utc(), "US".parse().ok()).unwrap();
        let phones: Vec<_> = draft.recipients.iter().map(|recipient| recipient.phone.as_str()).collect();
        assert_eq!(phones, ["+12025550103"]);
        let refused = request().check(OffsetDateTime::now_utc(), None).unwrap_err();
        assert!(format!("{refused:?}").contains("no country code"), "{refused:?}");
    }

    #[test]
    fn a_text_of_ten_segments_is_accepted() {
        assert!(check(&with("content", json!("x".repeat(1_530)))).is_ok());
    }

    #[test]
    fn a_number_listed_twice_is_one_recipient() {
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
    fn a_request_without_recipients_gets_the_reason() {
        for (body, expected) in [
            (json!({"content": "Hello"}), "no_recipients"),
            (json!({"content": "Hello", "recipients": []}), "no_recipients"),
            (json!({"content": "Hello", "recipients": [], "targetType": "all"}), "no_recipients"),
            (
                json!({"content": "Hello", "recipients": [], "targetType": "groups", "targetIds": ["g1"]}),
                "no_recipients",
            ),
            (json!({"content": "Hello", "targetType": "", "recipients": null}), "no_recipients"),
        ] {
            match check(&body) {
                Err(ApiError::Unprocessable { code, .. }) => assert_eq!(code.as_str(), expected, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_target_other_than_everybody_needs_an_id() {
        for body in [
            json!({"content": "Hello", "targetType": "groups"}),
            json!({"content": "Hello", "targetType": "branches", "targetIds": []}),
            json!({"content": "Hello", "targetType": "individual", "targetIds": [" "]}),
            json!({"content": "Hello", "targetIds": []}),
        ] {
            assert_eq!(fields(&body), ["targetIds"], "{body}");
        }
        let everybody = check(&json!({"content": "Hello", "targetType": "all"})).unwrap().target;
        assert_eq!(everybody, Some(Target { kind: "all".into(), ids: Vec::new() }));
    }

    #[test]
    fn a_past_send_time_means_now() {
        let at = |after: Duration| {
            let text = timestamp::to_text(OffsetDateTime::now_utc() + after);
            check(&with("sendAt", json!(text))).unwrap().send_at
        };
        assert_eq!(at(Duration::hours(-1)), None);
        assert!(at(Duration::minutes(1)).is_some());
        assert!(at(Duration::days(4)).is_some());
    }

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        let read = |content: &str| {
            let body = format!(r#"{{"content":"{content}","recipients":[{{"phone":"+15551230101"}}]}}"#);
            SendRequest::from_body(body.as_bytes())
                .unwrap()
                .check(OffsetDateTime::now_utc(), None)
                .unwrap()
                .content
        };
        assert_eq!(read(r"Hi \ud83d"), "Hi \u{fffd}");
        assert_eq!(read(r"Hi \ud83d\ude00, \\ud83d"), "Hi \u{1f600}, \\ud83d");
    }

    #[test]
    fn a_body_that_is_not_json_is_malformed() {
        for body in ["", "{", "no", "{\"content\":"] {
            assert!(matches!(SendRequest::from_body(body.as_bytes()), Err(ApiError::Malformed(_))), "{body}");
        }
    }
}
