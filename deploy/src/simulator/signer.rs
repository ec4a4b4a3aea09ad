//! Telnyx's signature over a webhook: Ed25519 over `timestamp|body`.

use anyhow::Context as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Signs webhooks as Telnyx does.
#[derive(Debug)]
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Creates it from the base64 of a 32-byte seed.
    ///
    /// # Errors
    /// The seed is malformed.
    pub fn from_seed(seed: &str) -> anyhow::Result<Self> {
        let seed = STANDARD.decode(seed).context("the signing seed is not base64")?;
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).ok().context("a signing seed has 32 bytes")?;
        Ok(Self(key))
    }

    /// Base64 of the 32-byte public key: `TELNYX_PUBLIC_KEY`.
    pub fn public_key(&self) -> String {
        STANDARD.encode(self.0.public_key())
    }

    /// The two headers of a webhook sent at `timestamp` (Unix seconds).
    pub fn headers(&self, timestamp: i64, body: &[u8]) -> [(&'static str, String); 2] {
        let mut signed = format!("{timestamp}|").into_bytes();
        signed.extend_from_slice(body);
        let signature = STANDARD.encode(self.0.sign(&signed));
        [("telnyx-timestamp", timestamp.to_string()), ("telnyx-signature-ed25519", signature)]
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn the_signature_covers_the_timestamp_a_pipe_and_the_raw_body() {
        let signer = Signer::from_seed(&STANDARD.encode([7; 32])).unwrap();
        let public = STANDARD.decode(signer.public_key()).unwrap();
        let [(_, timestamp), (_, signature)] = signer.headers(1_700_000_000, b"{ \"a\" : 1}");
        let signature = STANDARD.decode(signature).unwrap();
        let key = UnparsedPublicKey::new(&ED25519, public);
        assert_eq!(timestamp, "1700000000");
        assert!(key.verify(b"1700000000|{ \"a\" : 1}", &signature).is_ok());
        assert!(key.verify(b"1700000000.{ \"a\" : 1}", &signature).is_err());
        assert!(key.verify(b"1700000000|{\"a\":1}", &signature).is_err());
    }
}
