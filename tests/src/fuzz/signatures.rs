//! The signature headers of a webhook: lines of `name: value`, an empty line, the body.

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use time::OffsetDateTime;
use webhook_ingest::signature::{PublicKeys, SignatureHeaders, TOLERANCE_SECONDS};

/// Half a minute after the signature.
const NOW: i64 = SIGNED_AT + 30;
const SIGNED_AT: i64 = 1_700_000_000;
/// All that was ever signed with the key, at [`SIGNED_AT`].
const SIGNED: &[u8] = b"{}";

struct Keys {
    public: PublicKeys,
    /// The signature of [`SIGNED`].
    signature: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes are a seed");
    let public = STANDARD.encode(pair.public_key());
    let signed = [SIGNED_AT.to_string().as_bytes(), b"|", SIGNED].concat();
    Keys {
        public: PublicKeys::parse(&public).expect("32 bytes are a key"),
        signature: STANDARD.encode(pair.sign(&signed)),
    }
});

/// Only what was signed is accepted, and only under its own timestamp. `$SIGNATURE` stands for the signature.
pub(super) fn verify(data: &[u8]) {
    let (head, body) = split(data, b"\n\n").unwrap_or((data, b""));
    let head = String::from_utf8_lossy(head).replace("$SIGNATURE", &KEYS.signature);
    let mut headers = HeaderMap::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes()))
        {
            headers.append(name, value);
        }
    }
    let now = OffsetDateTime::from_unix_timestamp(NOW).expect("a moment");
    let Ok(read) = SignatureHeaders::read(&headers, now) else { return };
    let stamps: Vec<_> = headers.get_all("telnyx-timestamp").iter().collect();
    let [stamp] = stamps.as_slice() else { panic!("accepted with {} timestamps", stamps.len()) };
    let seconds: i64 = stamp.to_str().ok().and_then(|text| text.parse().ok()).expect("an accepted timestamp");
    assert!(NOW.abs_diff(seconds) <= TOLERANCE_SECONDS, "a stale timestamp: {seconds}");
    if let Ok(verified) = read.verify(Bytes::copy_from_slice(body), &KEYS.public) {
        assert_eq!(verified.body(), SIGNED, "a body that nobody signed");
        assert_eq!(seconds, SIGNED_AT, "a timestamp that nobody signed");
    }
}

fn split<'a>(data: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = data.windows(at.len()).position(|window| window == at)?;
    Some((&data[..place], &data[place + at.len()..]))
}
