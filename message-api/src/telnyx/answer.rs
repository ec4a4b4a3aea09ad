//! What an answer to `POST /v2/messages` means. The error code decides first, the HTTP status second. An answer that
//! proves neither "accepted" nor "not accepted" is unresolved, because repeating a send could text a person twice.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use common::store::Failure;
use serde::Deserialize;
use time::OffsetDateTime;

use super::codes::{Meaning, meaning};
use super::retry_reason::RetryReason;

/// Longest wait that an answer may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// A larger `x-ratelimit-reset` is a Unix time, a smaller one a number of seconds.
const EPOCH: f64 = 1e9;
/// Longest title of an unknown error that is kept, in characters.
const MAX_TITLE_CHARS: usize = 200;
/// Longest error code that is kept, in characters. Telnyx's have five.
const MAX_CODE_CHARS: usize = 32;

/// What became of one POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Telnyx accepted the message.
    Accepted {
        /// Telnyx's message id.
        provider_id: String,
    },
    /// Telnyx refused the message for good.
    Refused(Failure),
    /// Telnyx does not have the message; it may be sent again.
    NotAccepted {
        /// Why.
        reason: RetryReason,
        /// How long Telnyx asks to wait.
        retry_after: Option<Duration>,
    },
    /// It is unknown whether Telnyx has the message, for this reason.
    Unresolved(&'static str),
}

#[derive(Deserialize)]
struct Accepted {
    data: AcceptedData,
}

#[derive(Deserialize)]
struct AcceptedData {
    id: String,
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<RefusalError>,
}

#[derive(Deserialize)]
struct RefusalError {
    code: Code,
    #[serde(default)]
    title: Option<String>,
}

/// Documented as a string; accepted as a number, too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Code {
    Text(String),
    Number(u64),
}

/// Reads a complete answer.
pub(crate) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8], now: OffsetDateTime) -> Verdict {
    if status.is_success() {
        return match serde_json::from_slice::<Accepted>(body) {
            Ok(accepted) if !accepted.data.id.is_empty() => {
                Verdict::Accepted { provider_id: accepted.data.id }
            }
            _ => Verdict::Unresolved("an accepting answer without an id"),
        };
    }
    let errors = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.errors).unwrap_or_default();
    let errors = errors.into_iter().map(|error| (error.code.into_text(), error.title));
    let mut errors: Vec<_> = errors.map(|(code, title)| (meaning(&code), code, title)).collect();
    // Known codes first.
    errors.sort_by_key(|(meaning, ..)| *meaning == Meaning::Unknown);
    let retry_after = retry_after(headers, now);
    let not_accepted = |reason| Verdict::NotAccepted { reason, retry_after };
    match (status.as_u16(), errors.into_iter().next()) {
        (500..=599, _) => Verdict::Unresolved("an error at Telnyx"),
        (_, Some((Meaning::Refused(reason), code, _))) => {
            Verdict::Refused(Failure { code, reason: reason.into() })
        }
        (429, Some((Meaning::Throttled, ..))) => not_accepted(RetryReason::Throttled),
        (400..=499, Some((Meaning::Temporary(reason), ..))) => not_accepted(reason),
        // An edge proxy that limits requests did not forward this one, even if it answers with HTML.
        (429, _) if shows_a_rate_limit(headers) => not_accepted(RetryReason::Throttled),
        (401, _) => not_accepted(RetryReason::KeyRefused),
        // Codes from 40000 on concern the message, the others its sender.
        (403, error) if !error.as_ref().is_some_and(|(_, code, _)| is_about_message(code)) => {
            not_accepted(RetryReason::SenderRefused)
        }
        (408 | 429, _) => Verdict::Unresolved("an answer that does not tell whether it was accepted"),
        (400..=499, Some((Meaning::Unknown, code, title))) => {
            Verdict::Refused(Failure { code, reason: unknown_refusal(title) })
        }
        _ => Verdict::Unresolved("an answer that does not tell whether it was accepted"),
    }
}

impl Code {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text.chars().filter(|c| !c.is_control()).take(MAX_CODE_CHARS).collect(),
            Self::Number(number) => number.to_string(),
        }
    }
}

fn is_about_message(code: &str) -> bool {
    code.len() == 5 && code.starts_with('4')
}

fn unknown_refusal(title: Option<String>) -> String {
    let title: String =
        title.unwrap_or_default().chars().filter(|c| !c.is_control()).take(MAX_TITLE_CHARS).collect();
    if title.is_empty() {
        "Telnyx refused the message.".into()
    } else {
        format!("Telnyx refused the message: {}.", title.trim_end_matches('.'))
    }
}

fn shows_a_rate_limit(headers: &HeaderMap) -> bool {
    let is_of_limits = |name: &str| {
        name == "retry-after" || name.starts_with("x-ratelimit-") || name.starts_with("ratelimit")
    };
    headers.keys().any(|name| is_of_limits(name.as_str()))
}

/// `retry-after` (seconds or a date), else `x-ratelimit-reset` (seconds or a Unix time; sources differ).
pub(super) fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let number = |name| {
        let text = headers.get(name)?.to_str().ok()?;
        text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
    };
    let date = || {
        let date = httpdate::parse_http_date(headers.get("retry-after")?.to_str().ok()?).ok()?;
        Some((OffsetDateTime::from(date) - now).as_seconds_f64().max(0.0))
    };
    let seconds = number("retry-after").or_else(date).or_else(|| {
        let reset = number("x-ratelimit-reset")?;
        Some(if reset > EPOCH { (reset - now.unix_timestamp() as f64).max(0.0) } else { reset })
    })?;
    Some(Duration::from_secs_f64(seconds.min(MAX_RETRY_AFTER.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn verdict(status: u16, headers: &[(&'static str, &str)], body: &str) -> Verdict {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
        classify(StatusCode::from_u16(status).unwrap(), &headers.collect(), body.as_bytes(), now)
    }

    fn errors(codes: &[&str]) -> String {
        let errors: Vec<_> =
            codes.iter().map(|code| json!({"code": code, "title": "Title", "detail": "d"})).collect();
        json!({"errors": errors}).to_string()
    }

    #[test]
    fn an_accepting_answer_gives_the_id() {
        let body = r#"{"data":{"id":"abc","to":[{"phone_number":"+1","status":"queued"}],"errors":[]}}"#;
        for status in [200, 201, 202] {
            assert_eq!(verdict(status, &[], body), Verdict::Accepted { provider_id: "abc".into() });
        }
    }

    #[test]
    fn an_answer_that_may_mean_accepted_is_unresolved() {
        let known = errors(&["10011"]);
        for (status, body) in [
            (200, ""),
            (200, "<html>"),
            (200, r#"{"data":{}}"#),
            (200, r#"{"data":{"id":""}}"#),
            (200, r#"{"data":{"id":"cut"#),
            (204, ""),
            (301, ""),
            (307, r#"{"data":{"id":"abc"}}"#),
            (400, "Bad Request"),
            (404, "not found"),
            (408, &errors(&["99999"])),
            (429, "slow down"),
            (429, &errors(&["99999"])),
            (422, &errors(&["40008"])),
            (400, &errors(&["40006"])),
            (500, ""),
            (500, &known),
            (502, "Bad Gateway"),
            (503, &errors(&["40318"])),
            (500, &errors(&["40300"])),
            (504, ""),
        ] {
            assert!(matches!(verdict(status, &[], body), Verdict::Unresolved(_)), "{status} {body}");
        }
    }

    #[test]
    fn an_answer_that_proves_not_accepted_allows_a_retry() {
        for (status, body, reason) in [
            (429, errors(&["10011"]), RetryReason::Throttled),
            (429, r#"{"errors":[{"code":10011}]}"#.into(), RetryReason::Throttled),
            (429, errors(&["40318"]), RetryReason::QueueFull),
            (422, errors(&["40318"]), RetryReason::QueueFull),
            (429, errors(&["40333"]), RetryReason::SpendLimit),
            (403, errors(&["40333"]), RetryReason::SpendLimit),
            (400, errors(&["40320"]), RetryReason::NumberUnusable),
            (401, errors(&["10009"]), RetryReason::KeyRefused),
            (401, String::new(), RetryReason::KeyRefused),
            (403, errors(&["10010"]), RetryReason::SenderRefused),
            (403, "forbidden".into(), RetryReason::SenderRefused),
        ] {
            let expected = Verdict::NotAccepted { reason, retry_after: None };
            assert_eq!(verdict(status, &[], &body), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_429_with_rate_limit_headers_proves_not_accepted_also_as_html() {
        for header in
            ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "retry-after"]
        {
            for body in ["<html>Too Many Requests</html>", "", &errors(&["99999"])] {
                match verdict(429, &[(header, "5")], body) {
                    Verdict::NotAccepted { reason, .. } => assert_eq!(reason, RetryReason::Throttled),
                    other => panic!("{header}: {other:?}"),
                }
            }
        }
        assert!(matches!(verdict(503, &[("retry-after", "5")], ""), Verdict::Unresolved(_)));
    }

    #[test]
    fn a_final_refusal_has_its_code_and_a_readable_reason() {
        for (status, codes, code) in [
            (400, &["40300"][..], "40300"),
            (422, &["40310"], "40310"),
            (403, &["40312"], "40312"),
            (403, &["40399"], "40399"),
            (422, &["77777", "40302"], "40302"),
            (422, &["77777"], "77777"),
        ] {
            match verdict(status, &[], &errors(codes)) {
                Verdict::Refused(failure) => {
                    assert_eq!(failure.code, code);
                    assert!(!failure.reason.is_empty());
                }
                other => panic!("{status} {codes:?}: {other:?}"),
            }
        }
        let Verdict::Refused(unknown) = verdict(422, &[], &errors(&["77777"])) else { panic!() };
        assert_eq!(unknown.reason, "Telnyx refused the message: Title.");
    }

    #[test]
    fn the_wait_that_telnyx_asks_for_is_read_and_bounded() {
        let asked = |headers: &[(&'static str, &str)]| match verdict(429, headers, &errors(&["10011"])) {
            Verdict::NotAccepted { retry_after, .. } => retry_after.map(|wait| wait.as_secs()),
            other => panic!("{other:?}"),
        };
        let moment = (NOW + 30).to_string();
        assert_eq!(asked(&[("retry-after", "7")]), Some(7));
        assert_eq!(asked(&[("retry-after", "7"), ("x-ratelimit-reset", "9")]), Some(7));
        assert_eq!(asked(&[("x-ratelimit-reset", "9")]), Some(9));
        assert_eq!(asked(&[("x-ratelimit-reset", &moment)]), Some(30));
        assert_eq!(asked(&[("retry-after", "999999999")]), Some(3_600));
        let date = std::time::UNIX_EPOCH + Duration::from_secs(NOW as u64 + 42);
        assert_eq!(asked(&[("retry-after", &httpdate::fmt_http_date(date))]), Some(42));
        assert_eq!(asked(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), Some(0));
        for nonsense in ["-1", "NaN", "inf", "soon", ""] {
            assert_eq!(asked(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }
}
