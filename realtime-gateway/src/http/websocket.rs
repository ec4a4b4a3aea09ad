//! The checks of a websocket handshake (RFC 6455, section 4.2) that the Socket.IO library leaves out. A client behind a
//! proxy that drops headers of the handshake has to be refused at once, so that it tries another transport.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::http::bad_request::BadRequest;

/// The version of the websocket protocol.
const VERSION: &str = "13";
/// Bytes of a handshake's key.
const KEY_BYTES: usize = 16;

/// Checks that a request is a complete handshake.
///
/// # Errors
/// A header is missing or wrong.
pub(crate) fn check(head: &Parts) -> Result<(), BadRequest> {
    let Parts { method, version, headers, .. } = head;
    let is_complete = method == Method::GET
        && *version >= Version::HTTP_11
        && lists(headers, header::CONNECTION, "upgrade")
        && lists(headers, header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == VERSION)
        && headers.get(header::SEC_WEBSOCKET_KEY).is_some_and(is_key)
        && (!headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) || protocol(headers).is_some());
    if is_complete { Ok(()) } else { Err(BadRequest::Malformed) }
}

/// The chosen subprotocol: the first that the client offers. A browser closes a websocket whose server chose none of
/// the offered ones.
pub(crate) fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let first = offered.split(',').next()?.trim();
    let is_token = !first.is_empty() && first.bytes().all(is_token_letter);
    HeaderValue::from_str(first).ok().filter(|_| is_token)
}

/// Whether a header lists this word, in any case.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(word))
}

fn is_key(value: &HeaderValue) -> bool {
    BASE64_STANDARD.decode(value.as_bytes()).is_ok_and(|key| key.len() == KEY_BYTES)
}

/// See RFC 9110, section 5.6.2.
fn is_token_letter(letter: u8) -> bool {
    letter.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&letter)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const COMPLETE: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn head(version: Version, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("/").version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn an_incomplete_handshake_or_one_over_http_1_0_is_refused() {
        assert_eq!(check(&head(Version::HTTP_11, &COMPLETE)), Ok(()));
        assert_eq!(check(&head(Version::HTTP_10, &COMPLETE)), Err(BadRequest::Malformed));
        for missing in 0..COMPLETE.len() {
            let headers: Vec<_> =
                (0..).zip(COMPLETE).filter(|(n, _)| *n != missing).map(|(_, h)| h).collect();
            assert_eq!(check(&head(Version::HTTP_11, &headers)), Err(BadRequest::Malformed), "{headers:?}");
        }
        for (number, wrong) in (0..).zip(["close", "h2c", "8", "c2hvcnQ="]) {
            let mut headers = COMPLETE;
            headers[number].1 = wrong;
            assert_eq!(check(&head(Version::HTTP_11, &headers)), Err(BadRequest::Malformed), "{wrong}");
        }
    }

    #[test]
    fn the_first_offered_protocol_is_chosen_and_an_empty_list_is_refused() {
        let of = |offered: &str| {
            let headers: Vec<_> = COMPLETE.into_iter().chain([("sec-websocket-protocol", offered)]).collect();
            let head = head(Version::HTTP_11, &headers);
            check(&head).map(|()| protocol(&head.headers).unwrap())
        };
        assert_eq!(protocol(&head(Version::HTTP_11, &COMPLETE).headers), None);
        assert_eq!(of("chat").unwrap(), "chat");
        assert_eq!(of("v2.chat, chat").unwrap(), "v2.chat");
        for wrong in ["", " ,chat", "a b", "(x)"] {
            assert_eq!(of(wrong), Err(BadRequest::Malformed), "{wrong:?}");
        }
    }
}
