//! `Idempotency-Key`: makes it safe to repeat a send. A digest of the body tells a repetition from another request.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderMap;
use common::store::IdempotencyKey;

use crate::error::Problem;

const HEADER: &str = "Idempotency-Key";
/// Longest key, in characters.
const MAX_LEN: usize = 255;

/// The request's key, if it has one.
///
/// # Errors
/// The header is given more than once, or is not a valid key.
pub(crate) fn key(headers: &HeaderMap, body: &[u8]) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    let is_key = (1..=MAX_LEN).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b));
    if !is_key || values.next().is_some() {
        return Err(Problem::new(HEADER, format!("give it once, with 1 to {MAX_LEN} printable characters")));
    }
    Ok(Some(IdempotencyKey { key: key.to_owned(), body_digest: digest(&SHA256, body).as_ref().to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(keys: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(HEADER, key.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_key_is_printable_and_bounded() {
        assert_eq!(key(&headers(&[]), b""), Ok(None));
        assert_eq!(key(&headers(&["a b-c"]), b"").unwrap().unwrap().key, "a b-c");
        for wrong in [&[""][..], &["a", "b"], &["a\tb"], &["x".repeat(256).as_str()]] {
            assert!(key(&headers(wrong), b"").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_digest_depends_on_every_byte_of_the_body() {
        let digest = |body: &[u8]| key(&headers(&["k"]), body).unwrap().unwrap().body_digest;
        assert_eq!(digest(b"{}"), digest(b"{}"));
        assert_ne!(digest(b"{}"), digest(b"{ }"));
        assert_eq!(digest(b"").len(), 32);
    }
}
