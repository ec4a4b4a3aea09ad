//! Telnyx's signature (API v2): Ed25519 over the timestamp header as it stands, a `|`, and the body as received.
//!
//! The headers are judged alone ([`Claim`]), so that whoever has none costs nothing. Only [`Verified`] gives a body to
//! those who read it, and only a signature that holds makes one. Every doubt is a refusal: a header given twice, a
//! number with anything but digits, base64 of any other kind.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::config::ConfigError;
use time::OffsetDateTime;

/// Base64 of the 64-byte signature.
pub const SIGNATURE_HEADER: HeaderName = HeaderName::from_static("telnyx-signature-ed25519");
/// Unix seconds, decimal.
pub const TIMESTAMP_HEADER: HeaderName = HeaderName::from_static("telnyx-timestamp");
/// What Telnyx's API v1 signs with; not supported.
const V1_HEADER: HeaderName = HeaderName::from_static("x-telnyx-signature");
/// How far a timestamp may be from our clock, in seconds, to either side.
pub const TOLERANCE_SECONDS: u64 = 300;
/// More digits than any second until the year 10000 needs.
const TIMESTAMP_DIGITS: usize = 12;

/// The public keys that a signature may be made with: several, so that a key can be replaced without a gap.
#[derive(Debug, Clone)]
pub struct PublicKeys(Vec<UnparsedPublicKey<[u8; 32]>>);

impl PublicKeys {
    /// Reads `TELNYX_PUBLIC_KEY`: padded standard base64 of 32 bytes, several of them comma separated.
    ///
    /// # Errors
    /// There is none, or one is no key.
    pub fn parse(list: &str) -> Result<Self, ConfigError> {
        let wrong = |problem: &str| ConfigError::new("TELNYX_PUBLIC_KEY", problem);
        if list.trim().is_empty() {
            return Err(wrong(
                "missing; give the account's public key from the Telnyx portal, without which no webhook can be trusted",
            ));
        }
        let keys = list.split(',').map(|text| {
            let bytes = STANDARD.decode(text.trim()).ok()?;
            Some(UnparsedPublicKey::new(&ED25519, <[u8; 32]>::try_from(bytes).ok()?))
        });
        keys.collect::<Option<_>>().map(Self).ok_or_else(|| {
            wrong("each key is 44 characters: the padded base64 of 32 bytes, as the portal shows it")
        })
    }
}

/// Why a request is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No signature at all.
    #[error("the telnyx-signature-ed25519 header is missing")]
    SignatureMissing,
    /// No signature, but one of API v1.
    #[error("signed in the way of API v1; set the messaging profile's webhook version to 2")]
    ApiV1,
    /// No timestamp.
    #[error("the telnyx-timestamp header is missing")]
    TimestampMissing,
    /// A header that may stand once stands twice.
    #[error("a signature header is given more than once")]
    Repeated,
    /// Not padded standard base64 of 64 bytes.
    #[error("the signature is not the padded base64 of 64 bytes")]
    SignatureMalformed,
    /// Not decimal seconds.
    #[error("the timestamp is not a number of seconds")]
    TimestampMalformed,
    /// Signed too long ago, or in the future.
    #[error("the timestamp is more than 300 seconds away from our clock")]
    Stale,
    /// No key of ours made it for this body and timestamp.
    #[error("the signature does not hold")]
    Wrong,
}

impl Refusal {
    /// The word in metrics and in the answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignatureMissing => "signature_missing",
            Self::ApiV1 => "signature_api_v1",
            Self::TimestampMissing => "timestamp_missing",
            Self::Repeated => "signature_repeated",
            Self::SignatureMalformed => "signature_malformed",
            Self::TimestampMalformed => "timestamp_malformed",
            Self::Stale => "timestamp_stale",
            Self::Wrong => "signature_wrong",
        }
    }
}

/// What a request's headers claim: this signature, made at this second. It is cheap to read, so it is read before
/// anything is spent on the body.
#[derive(Debug)]
pub struct Claim<'a> {
    signature: [u8; 64],
    timestamp: &'a [u8],
}

/// The body of a request that Telnyx signed.
#[derive(Debug)]
pub struct Verified(Bytes);

impl<'a> Claim<'a> {
    /// Reads the headers of a request that arrived `now`.
    ///
    /// # Errors
    /// They claim nothing, nothing readable, or a time too far from `now`.
    pub fn read(headers: &'a HeaderMap, now: OffsetDateTime) -> Result<Self, Refusal> {
        let (signature, timestamp) = signed_headers(headers)?;
        let signature = parse_signature(signature).ok_or(Refusal::SignatureMalformed)?;
        let seconds = parse_seconds(timestamp).ok_or(Refusal::TimestampMalformed)?;
        if now.unix_timestamp().abs_diff(seconds) > TOLERANCE_SECONDS {
            return Err(Refusal::Stale);
        }
        Ok(Self { signature, timestamp })
    }

    /// Believes a body if one of the keys signed it: the raw bytes, never what was read and written again.
    ///
    /// # Errors
    /// No key did.
    pub fn verify(&self, body: Bytes, keys: &PublicKeys) -> Result<Verified, Refusal> {
        let signed = [self.timestamp, b"|", &body].concat();
        if keys.0.iter().any(|key| key.verify(&signed, &self.signature).is_ok()) {
            Ok(Verified(body))
        } else {
            Err(Refusal::Wrong)
        }
    }
}

/// Signature and timestamp as they stand.
fn signed_headers(headers: &HeaderMap) -> Result<(&[u8], &[u8]), Refusal> {
    let missing = match headers.contains_key(V1_HEADER) {
        true => Refusal::ApiV1,
        false => Refusal::SignatureMissing,
    };
    let signature = only(headers, &SIGNATURE_HEADER)?.ok_or(missing)?;
    let timestamp = only(headers, &TIMESTAMP_HEADER)?.ok_or(Refusal::TimestampMissing)?;
    Ok((signature, timestamp))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(|value| value.as_bytes())),
        _ => Err(Refusal::Repeated),
    }
}

fn parse_signature(text: &[u8]) -> Option<[u8; 64]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn parse_seconds(text: &[u8]) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= TIMESTAMP_DIGITS && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |seconds, digit| seconds * 10 + i64::from(digit - b'0')))
}

impl Verified {
    /// The body as received.
    pub fn body(&self) -> &Bytes {
        &self.0
    }

    /// A body that a test makes up.
    #[cfg(test)]
    pub(crate) fn trusted(body: Bytes) -> Self {
        Self(body)
    }
}

#[cfg(test)]
mod tests;
