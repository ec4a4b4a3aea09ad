//! Tokens as the front end's sign-in would issue them, for trying things out.

use std::time::Duration;

use anyhow::Context as _;
use common::subject::ChurchId;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use time::OffsetDateTime;

/// A token of a user in a church, signed with HS256, valid for `expires_in` from now.
///
/// # Errors
/// The church id is none.
pub fn mint(secret: &str, church: &str, user: &str, expires_in: Duration) -> anyhow::Result<String> {
    let church: ChurchId = church.parse()?;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let exp = now.saturating_add_unsigned(expires_in.as_secs());
    let claims = json!({"userId": user, "churchId": church, "iat": now, "exp": exp});
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).context("can't sign the token")
}
