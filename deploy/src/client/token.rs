//! Tokens as the front end's sign-in issues them, for trials and tests.

use std::time::Duration;

use anyhow::Context as _;
use common::subject::ChurchId;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use time::OffsetDateTime;

/// Signs a token of a user in a church with HS256. It is valid for `expires_in` from now.
///
/// # Errors
/// The church id is malformed.
pub fn mint(secret: &str, church: &str, user: &str, expires_in: Duration) -> anyhow::Result<String> {
    mint_until(secret, church, user, i64::try_from(expires_in.as_secs()).unwrap_or(i64::MAX))
}

/// [`mint`], for so many seconds from now. A negative number gives a token that has expired.
///
/// # Errors
/// The church id is malformed.
pub fn mint_until(secret: &str, church: &str, user: &str, seconds: i64) -> anyhow::Result<String> {
    let church: ChurchId = church.parse()?;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let exp = now.saturating_add(seconds);
    let claims = json!({"userId": user, "churchId": church, "iat": now, "exp": exp});
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).context("can't sign the token")
}
