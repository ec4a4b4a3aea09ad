//! Reads the keys that verify tokens. Refuses a key that could verify none.

use std::path::Path;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::{ExposeSecret, SecretString};

use crate::config::ConfigError;

/// Shortest HS256 secret, in bytes.
const MIN_SECRET_LEN: usize = 32;

/// An HS256 secret of `JWT_SECRET`.
pub(super) fn secret(secret: &SecretString) -> Result<(Algorithm, DecodingKey), ConfigError> {
    let secret = secret.expose_secret();
    if secret.trim() != secret {
        let help =
            "a secret begins or ends with a blank; remove it, also around the commas between several secrets";
        return Err(ConfigError::new("JWT_SECRET", help));
    }
    if secret.len() < MIN_SECRET_LEN {
        let help = "a secret is shorter than 32 bytes; make one with `openssl rand -hex 32`";
        return Err(ConfigError::new("JWT_SECRET", help));
    }
    Ok((Algorithm::HS256, DecodingKey::from_secret(secret.as_bytes())))
}

/// A public key of `JWT_PUBLIC_KEY_FILE`.
pub(super) fn public(file: &Path) -> Result<(Algorithm, DecodingKey), ConfigError> {
    let wrong = |why: String| ConfigError::new("JWT_PUBLIC_KEY_FILE", format!("{}: {why}", file.display()));
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    read(&pem).map_err(|why| wrong(why.into()))
}

fn read(pem: &[u8]) -> Result<(Algorithm, DecodingKey), &'static str> {
    let text = String::from_utf8_lossy(pem);
    if text.contains("PRIVATE KEY-----") {
        return Err("has a private key, which belongs to the sign-in alone; \
                    make the public one with `openssl pkey -in FILE -pubout`");
    }
    if text.matches("-----BEGIN ").count() > 1 {
        return Err(
            "has several keys; write each into a file of its own, and name the files comma separated",
        );
    }
    let kinds: [(Algorithm, Reader, &'static dyn VerificationAlgorithm); 3] = [
        (Algorithm::RS256, DecodingKey::from_rsa_pem, &RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::ES256, DecodingKey::from_ec_pem, &ECDSA_P256_SHA256_FIXED),
        (Algorithm::EdDSA, DecodingKey::from_ed_pem, &ED25519),
    ];
    for (algorithm, from_pem, verification) in kinds {
        if let Ok(key) = from_pem(pem) {
            let bytes = key.try_get_as_bytes().map_err(|_| UNKNOWN)?;
            let parsed = ParsedPublicKey::new(verification, bytes).map_err(|_| UNKNOWN)?;
            if algorithm == Algorithm::RS256 {
                check_size(&parsed)?;
            }
            return Ok((algorithm, key));
        }
    }
    Err(UNKNOWN)
}

type Reader = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;

const UNKNOWN: &str = "has no RSA, P-256 or Ed25519 public key in PEM";

/// Verification supports RSA keys of 2048 to 8192 bits only.
fn check_size(key: &ParsedPublicKey) -> Result<(), &'static str> {
    const HELP: &str = "has an RSA key of the wrong size; use 2048 to 8192 bits";
    let der = key.as_der().map_err(|_| HELP)?;
    let bits = PublicEncryptingKey::from_der(der.as_ref()).map_err(|_| HELP)?.key_size_bits();
    if (2_048..=8_192).contains(&bits) { Ok(()) } else { Err(HELP) }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    };
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    fn elliptic(curve: &'static EcdsaSigningAlgorithm) -> String {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        pem("PUBLIC KEY", der.as_ref())
    }

    fn rsa() -> (String, String) {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        (pem("PUBLIC KEY", public.as_ref()), pem("PRIVATE KEY", private.as_ref()))
    }

    #[test]
    fn a_public_key_is_read_with_its_algorithm() {
        let edwards = Ed25519KeyPair::generate().unwrap();
        let edwards: PublicKeyX509Der<'_> = edwards.public_key().as_der().unwrap();
        for (key, algorithm) in [
            (rsa().0, Algorithm::RS256),
            (elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING), Algorithm::ES256),
            (pem("PUBLIC KEY", edwards.as_ref()), Algorithm::EdDSA),
        ] {
            assert_eq!(read(key.as_bytes()).map(|(algorithm, _)| algorithm), Ok(algorithm), "{key}");
        }
    }

    #[test]
    fn a_key_that_could_verify_no_token_is_refused() {
        const RSA_1024: &str = include_str!("../../testdata/rsa-1024.pem");
        let (public, private) = rsa();
        for (key, reason) in [
            (private.clone(), "private key"),
            (private.replace("PRIVATE KEY", "RSA PRIVATE KEY"), "private key"),
            (RSA_1024.to_owned(), "wrong size"),
            (elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING), "no RSA, P-256 or Ed25519"),
            (format!("{public}{public}"), "several keys"),
            ("garbage".into(), "no RSA, P-256 or Ed25519"),
            (String::new(), "no RSA, P-256 or Ed25519"),
        ] {
            let refusal = read(key.as_bytes()).map(|(algorithm, _)| algorithm).unwrap_err();
            assert!(refusal.contains(reason), "{key}: {refusal}");
        }
    }
}
