//! W3C trace context: which request of a front end, or which webhook, log lines and events belong to.
//!
//! The services record no spans, so they pass the header `traceparent` on unchanged, as
//! [the recommendation](https://www.w3.org/TR/trace-context/) says for services that add no spans. `tracestate` is not
//! carried: only tracers read it, and each event would keep up to 512 characters that strangers chose.

use axum::http::HeaderMap;
use tracing::{Span, error_span};

/// The header's name, in HTTP and in NATS.
pub const TRACEPARENT: &str = "traceparent";
/// Characters of version 00, with which every later version begins.
const LENGTH: usize = 55;
/// Longest header of a later version that is passed on.
const MAX_LENGTH: usize = 128;

/// A valid `traceparent`, such as `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent(Box<str>);

impl TraceParent {
    /// That of a request. Without the header, with several, or with one that is invalid, the request belongs to no trace.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found = headers.get_all(TRACEPARENT).iter();
        match (found.next(), found.next()) {
            (Some(only), None) => only.to_str().ok().and_then(Self::parse),
            _ => None,
        }
    }

    /// Reads a header's text.
    pub fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let parts: Vec<&str> = known.split('-').collect();
        let [version, trace_id, parent_id, flags] = *parts.as_slice() else { return None };
        let is_valid = is_hex(version, 2)
            && version != "ff"
            && is_id(trace_id, 32)
            && is_id(parent_id, 16)
            && is_hex(flags, 2)
            && (rest.is_empty() || version != "00" && is_of_later_version(rest));
        is_valid.then(|| Self(text.into()))
    }

    /// The header's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What all requests of one trace have in common: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.0.get(3..35).unwrap_or_default()
    }
}

/// The span whose log lines have `trace_id`. Without a trace it adds nothing to them.
pub fn span(trace: Option<&TraceParent>) -> Span {
    // At the level that every log shows; and no part of another span, so that a line has one id.
    trace.map_or_else(Span::none, |trace| error_span!(parent: None, "request", trace_id = trace.trace_id()))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_id(text: &str, length: usize) -> bool {
    is_hex(text, length) && text.bytes().any(|byte| byte != b'0')
}

/// What a later version may add behind the known part.
fn is_of_later_version(rest: &str) -> bool {
    rest.starts_with('-')
        && rest.len() <= MAX_LENGTH - LENGTH
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_header_is_kept_as_it_is() {
        for valid in [VALID, &VALID.replace("-01", "-00"), &VALID.replace("-01", "-ff")] {
            let trace = TraceParent::parse(valid).unwrap();
            assert_eq!((trace.as_str(), trace.trace_id()), (valid, "4bf92f3577b34da6a3ce929d0e0e4736"));
        }
    }

    #[test]
    fn an_invalid_header_is_ignored() {
        let zeros = "0".repeat(32);
        for invalid in [
            "",
            "00",
            &VALID[..54],
            &VALID.to_uppercase(),
            &VALID.replace("00-4b", "ff-4b"),
            &VALID.replace("00-4b", "0g-4b"),
            &VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zeros),
            &VALID.replace("00f067aa0ba902b7", &zeros[..16]),
            &VALID.replace("-01", "-0x"),
            &VALID.replace('-', "_"),
            &format!("{VALID}-00"),
            &format!("{VALID} "),
            &format!(" {VALID}"),
            &VALID.replace("4bf9", "4bfé"),
        ] {
            assert_eq!(TraceParent::parse(invalid), None, "{invalid:?}");
        }
    }

    #[test]
    fn a_later_version_may_say_more_behind_a_dash() {
        let later = VALID.replace("00-4b", "cc-4b");
        for valid in [later.clone(), format!("{later}-"), format!("{later}-what-the-future-will-be-like")] {
            assert_eq!(TraceParent::parse(&valid).unwrap().as_str(), valid);
        }
        for invalid in [
            format!("{later}.more"),
            format!("{later}x"),
            format!("{later}-a b"),
            format!("{later}-{}", "x".repeat(MAX_LENGTH)),
        ] {
            assert_eq!(TraceParent::parse(&invalid), None, "{invalid:?}");
        }
    }

    #[test]
    fn of_several_headers_none_counts() {
        let headers = |values: &[&'static str]| {
            let values = values.iter().copied().map(HeaderValue::from_static);
            values
                .map(|value| (axum::http::HeaderName::from_static(TRACEPARENT), value))
                .collect::<HeaderMap>()
        };
        assert_eq!(TraceParent::of(&headers(&[VALID])).unwrap().as_str(), VALID);
        for none in [&[][..], &[VALID, VALID], &["no trace"]] {
            assert_eq!(TraceParent::of(&headers(none)), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_kept_unchanged_or_ignored(text in "([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.{0,90})|.*") {
            if let Some(trace) = TraceParent::parse(&text) {
                prop_assert_eq!(trace.as_str(), &text);
                prop_assert!(text.len() <= MAX_LENGTH && text.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(is_id(trace.trace_id(), 32));
            }
        }
    }
}
