use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::http::HeaderValue;
use proptest::prelude::*;

use super::*;

const BODY: &[u8] = br#"{"data": {"id":"e1", "event_type":"message.sent"}}"#;
const NOW: i64 = 1_790_000_000;

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(seed: u8) -> String {
    STANDARD.encode(pair(seed).public_key().as_ref())
}

fn keys() -> PublicKeys {
    PublicKeys::parse(&public(1)).unwrap()
}

/// Signs any bytes with the first key.
fn sign(signed: &[u8]) -> String {
    STANDARD.encode(pair(1).sign(signed))
}

/// A valid signature.
fn signed(timestamp: &str, body: &[u8]) -> String {
    sign(&[timestamp.as_bytes(), b"|", body].concat())
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn verify(headers: &HeaderMap, body: &[u8], keys: &PublicKeys) -> Result<Bytes, SignatureError> {
    let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
    SignatureHeaders::read(headers, now)?
        .verify(Bytes::copy_from_slice(body), keys)
        .map(|verified| verified.0)
}

fn verify_with(timestamp: &str, signature: &str) -> Result<Bytes, SignatureError> {
    let headers = headers(&[("telnyx-timestamp", timestamp), ("telnyx-signature-ed25519", signature)]);
    verify(&headers, BODY, &keys())
}

#[test]
fn a_signed_body_is_returned_unchanged() {
    let now = NOW.to_string();
    assert_eq!(verify_with(&now, &signed(&now, BODY)).unwrap(), BODY);
}

#[test]
fn the_timestamp_may_be_300_seconds_away_to_either_side_and_no_more() {
    for (offset, outcome) in [
        (-301, Err(SignatureError::TimestampStale)),
        (-300, Ok(Bytes::from_static(BODY))),
        (300, Ok(Bytes::from_static(BODY))),
        (301, Err(SignatureError::TimestampStale)),
        (86_400, Err(SignatureError::TimestampStale)),
    ] {
        let timestamp = (NOW + offset).to_string();
        assert_eq!(verify_with(&timestamp, &signed(&timestamp, BODY)), outcome, "{offset}");
    }
}

#[test]
fn a_timestamp_is_digits_and_nothing_else() {
    let now = NOW.to_string();
    let long = format!("000{now}");
    for wrong in [
        "123abc",
        "",
        " ",
        "-1",
        "+1",
        "1e9",
        "0x10",
        "1.5",
        "NaN",
        "Infinity",
        "١٢٣",
        "9999999999999",
        &long,
    ] {
        let signature = signed(wrong, BODY);
        let mut headers = headers(&[("telnyx-signature-ed25519", &signature)]);
        headers.insert(TIMESTAMP_HEADER, HeaderValue::from_bytes(wrong.as_bytes()).unwrap());
        assert_eq!(verify(&headers, BODY, &keys()), Err(SignatureError::TimestampMalformed), "{wrong:?}");
    }
    let trailing = format!("{now} ");
    assert_eq!(verify_with(&trailing, &signed(&trailing, BODY)), Err(SignatureError::TimestampMalformed));
}

#[test]
fn the_signature_covers_the_timestamp_header_as_received() {
    let padded = format!("00{NOW}");
    assert!(verify_with(&padded, &signed(&padded, BODY)).is_ok());
    assert_eq!(verify_with(&padded, &signed(&NOW.to_string(), BODY)), Err(SignatureError::SignatureWrong));
}

#[test]
fn a_signature_is_strict_padded_standard_base64_of_64_bytes() {
    let now = NOW.to_string();
    // A timestamp whose signature has letters that differ between the two alphabets.
    let (timestamp, good) = (0..300)
        .map(|back| (NOW - back).to_string())
        .map(|timestamp| (timestamp.clone(), signed(&timestamp, BODY)))
        .find(|(_, signature)| signature.contains('+') || signature.contains('/'))
        .unwrap();
    assert!(verify_with(&timestamp, &good).is_ok());
    let url_safe = good.replace('+', "-").replace('/', "_");
    let hex: String = pair(1).sign(BODY).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let spaced = format!("{} {}", &good[..10], &good[10..]);
    let extended = format!("{good}AAAA");
    let short = STANDARD.encode([7; 63]);
    for wrong in ["", "=", "====", &url_safe, good.trim_end_matches('='), &hex, &spaced, &extended, &short] {
        assert_eq!(verify_with(&timestamp, wrong), Err(SignatureError::SignatureMalformed), "{wrong:?}");
    }
    // The last letter before the padding carries four bits that must be zero.
    let mut sloppy = STANDARD.encode([0; 64]);
    sloppy.replace_range(85..86, "B");
    assert_eq!(verify_with(&now, &sloppy), Err(SignatureError::SignatureMalformed));
}

#[test]
fn a_dot_instead_of_the_pipe_is_refused() {
    let now = NOW.to_string();
    for separator in [".", "", "\n", "||"] {
        let signature = sign(&[now.as_bytes(), separator.as_bytes(), BODY].concat());
        assert_eq!(verify_with(&now, &signature), Err(SignatureError::SignatureWrong), "{separator:?}");
    }
}

#[test]
fn a_reserialized_body_is_refused() {
    let now = NOW.to_string();
    let again = serde_json::to_vec(&serde_json::from_slice::<serde_json::Value>(BODY).unwrap()).unwrap();
    assert_ne!(again, BODY);
    assert_eq!(verify_with(&now, &signed(&now, &again)), Err(SignatureError::SignatureWrong));
}

#[test]
fn another_key_is_refused_and_any_of_several_is_accepted() {
    let now = NOW.to_string();
    let signature = signed(&now, BODY);
    let headers = headers(&[("telnyx-timestamp", &now), ("telnyx-signature-ed25519", &signature)]);
    let [other, both] = [public(2), format!(" {} ,{}\n", public(2), public(1))];
    assert_eq!(
        verify(&headers, BODY, &PublicKeys::parse(&other).unwrap()),
        Err(SignatureError::SignatureWrong)
    );
    assert!(verify(&headers, BODY, &PublicKeys::parse(&both).unwrap()).is_ok());
}

#[test]
fn a_missing_a_misnamed_and_a_repeated_header_are_refused() {
    let now = NOW.to_string();
    let signature = signed(&now, BODY);
    let (name, at) = ("telnyx-signature-ed25519", "telnyx-timestamp");
    for (given, refusal) in [
        (headers(&[]), SignatureError::SignatureMissing),
        (headers(&[(name, &signature)]), SignatureError::TimestampMissing),
        (headers(&[(at, &now)]), SignatureError::SignatureMissing),
        (headers(&[(at, &now), ("telnyx-signature", &signature)]), SignatureError::SignatureMissing),
        (headers(&[(at, &now), ("x-telnyx-signature", "t=1,h=abc")]), SignatureError::SignatureApiV1),
        (headers(&[(at, &now), (name, &signature), (name, &signature)]), SignatureError::SignatureRepeated),
        (headers(&[(at, &now), (at, &now), (name, &signature)]), SignatureError::SignatureRepeated),
    ] {
        assert_eq!(verify(&given, BODY, &keys()), Err(refusal), "{given:?}");
    }
    assert!(
        SignatureError::SignatureApiV1
            .to_string()
            .contains("set the messaging profile's webhook version to 2")
    );
}

#[test]
fn malformed_keys_are_refused() {
    let (unpadded, url_safe) = (public(1).replace('=', ""), STANDARD.encode([0xfb; 32]).replace('+', "-"));
    let hex = "d7".repeat(32);
    let trailing = format!("{},", public(1));
    for wrong in
        ["", " ", ",", "\n", "secret", &unpadded, &url_safe, &hex, &STANDARD.encode([1; 31]), &trailing]
    {
        let error = PublicKeys::parse(wrong).unwrap_err().to_string();
        assert!(error.starts_with("TELNYX_PUBLIC_KEY: "), "{wrong:?}: {error}");
    }
}

proptest! {
    #[test]
    fn a_changed_byte_anywhere_does_not_hold(at in 0..BODY.len(), change in 1..=255u8) {
        let now = NOW.to_string();
        let signature = signed(&now, BODY);
        let headers = headers(&[("telnyx-timestamp", &now), ("telnyx-signature-ed25519", &signature)]);
        let mut body = BODY.to_vec();
        body[at] ^= change;
        prop_assert_eq!(verify(&headers, &body, &keys()), Err(SignatureError::SignatureWrong));
    }

    #[test]
    fn no_header_makes_it_panic_or_pass(
        timestamp in prop::collection::vec(any::<u8>(), 0..40),
        signature in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let values = (HeaderValue::from_bytes(&timestamp), HeaderValue::from_bytes(&signature));
        if let (Ok(timestamp), Ok(signature)) = values {
            let mut headers = HeaderMap::new();
            headers.insert(TIMESTAMP_HEADER, timestamp);
            headers.insert(SIGNATURE_HEADER, signature);
            prop_assert!(verify(&headers, BODY, &keys()).is_err());
        }
    }
}
