//! Telnyx's signature (API v2): Ed25519 over the timestamp header as received, a `|`, and the body as received.
//!
//! The headers are checked first ([`SignatureHeaders`]), so that requests without them cost little. Only a valid
//! signature makes a [`VerifiedBody`], and only that is parsed. Anything doubtful is refused: a repeated header, a
//! number with other characters than digits, another kind of base64.

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
/// The signature header of Telnyx's API v1, which is not supported.
const V1_HEADER: HeaderName = HeaderName::from_static("x-telnyx-signature");
/// Largest difference between a timestamp and our clock, in seconds.
pub const TOLERANCE_SECONDS: u64 = 300;
/// Most digits of a timestamp: enough until the year 10000.
const TIMESTAMP_DIGITS: usize = 12;

/// The public keys to verify with. Several, so that a key can be replaced without a gap.
#[derive(Debug, Clone)]
pub struct PublicKeys(Vec<UnparsedPublicKey<[u8; 32]>>);

impl PublicKeys {
    /// Parses `TELNYX_PUBLIC_KEY`: padded standard base64 of 32 bytes, or several, comma separated.
    ///
    /// # Errors
    /// No key is given, or one is malformed.
    pub fn parse(list: &str) -> Result<Self, ConfigError> {
        let wrong = |problem: &str| ConfigError::new("TELNYX_PUBLIC_KEY", problem);
        if list.trim().is_empty() {
            return Err(wrong(
                "missing; set it to the account's public key from the Telnyx portal, which proves who sent a webhook",
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

/// Why a signature is not accepted. Its name in snake case is the error code in metrics and in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum SignatureError {
    /// No signature header.
    #[error("the telnyx-signature-ed25519 header is missing")]
    SignatureMissing,
    /// Only a signature of API v1.
    #[error("signed as by API v1; set the messaging profile's webhook version to 2")]
    SignatureApiV1,
    /// No timestamp header.
    #[error("the telnyx-timestamp header is missing")]
    TimestampMissing,
    /// A signature header is repeated.
    #[error("a signature header is given more than once")]
    SignatureRepeated,
    /// Not padded standard base64 of 64 bytes.
    #[error("the signature is not the padded base64 of 64 bytes")]
    SignatureMalformed,
    /// Not decimal seconds.
    #[error("the timestamp is not a number of seconds")]
    TimestampMalformed,
    /// Signed too long ago, or in the future.
    #[error("the timestamp is more than 300 seconds away from our clock")]
    TimestampStale,
    /// None of the keys signed this body and timestamp.
    #[error("the signature is not valid")]
    SignatureWrong,
}

/// The signature headers of a request. They are cheap to check, so they are checked before the body is read.
#[derive(Debug)]
pub struct SignatureHeaders<'a> {
    signature: [u8; 64],
    timestamp: &'a [u8],
}

/// A body that Telnyx signed.
#[derive(Debug)]
pub struct VerifiedBody(Bytes);

impl VerifiedBody {
    /// A body that is recorded. It was verified before that.
    pub fn recorded(body: Bytes) -> Self {
        Self(body)
    }
}

impl<'a> SignatureHeaders<'a> {
    /// Reads the headers of a request that arrived at `now`.
    ///
    /// # Errors
    /// A header is missing, repeated or malformed, or the timestamp is too far from `now`.
    pub fn read(headers: &'a HeaderMap, now: OffsetDateTime) -> Result<Self, SignatureError> {
        let (signature, timestamp) = signed_headers(headers)?;
        let signature = parse_signature(signature).ok_or(SignatureError::SignatureMalformed)?;
        let seconds = parse_seconds(timestamp).ok_or(SignatureError::TimestampMalformed)?;
        if now.unix_timestamp().abs_diff(seconds) > TOLERANCE_SECONDS {
            return Err(SignatureError::TimestampStale);
        }
        Ok(Self { signature, timestamp })
    }

    /// Verifies the body's raw bytes.
    ///
    /// # Errors
    /// None of the keys signed it.
    pub fn verify(&self, body: Bytes, keys: &PublicKeys) -> Result<VerifiedBody, SignatureError> {
        let signed = [self.timestamp, b"|", &body].concat();
        if keys.0.iter().any(|key| key.verify(&signed, &self.signature).is_ok()) {
            Ok(VerifiedBody(body))
        } else {
            Err(SignatureError::SignatureWrong)
        }
    }
}

/// The values of the signature and timestamp headers.
fn signed_headers(headers: &HeaderMap) -> Result<(&[u8], &[u8]), SignatureError> {
    let missing = match headers.contains_key(V1_HEADER) {
        true => SignatureError::SignatureApiV1,
        false => SignatureError::SignatureMissing,
    };
    let signature = only(headers, &SIGNATURE_HEADER)?.ok_or(missing)?;
    let timestamp = only(headers, &TIMESTAMP_HEADER)?.ok_or(SignatureError::TimestampMissing)?;
    Ok((signature, timestamp))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(|value| value.as_bytes())),
        _ => Err(SignatureError::SignatureRepeated),
    }
}

fn parse_signature(text: &[u8]) -> Option<[u8; 64]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn parse_seconds(text: &[u8]) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= TIMESTAMP_DIGITS && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |seconds, digit| seconds * 10 + i64::from(digit - b'0')))
}

impl VerifiedBody {
    /// The body as received.
    pub fn body(&self) -> &Bytes {
        &self.0
    }

    /// A body that a test trusts.
    #[cfg(test)]
    pub(crate) fn trusted(body: Bytes) -> Self {
        Self(body)
    }
}

#[cfg(test)]
mod tests;
