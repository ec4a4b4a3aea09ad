//! Who calls: the verified claims of the bearer token, as a handler's argument. Without them there is no church.

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use common::claims::{Claims, TokenError, bearer};
use common::revocation::is_revoked;

use crate::app::App;
use crate::error::ApiError;

/// The caller, whose church is the only one that the request may touch.
pub(crate) struct Caller(pub Claims);

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let header = parts.headers.get(header::AUTHORIZATION).ok_or(TokenError::Missing)?;
        let text = header.to_str().map_err(|_| TokenError::Invalid)?.trim();
        // "Bearer" and nothing behind it is how a signed-out front end asks.
        let is_bare = text.is_empty() || text.eq_ignore_ascii_case("bearer");
        let token = bearer(text).ok_or(if is_bare { TokenError::Missing } else { TokenError::Invalid })?;
        let claims = app.verifier.verify(token)?;
        let revoked = app.store.revoked_until(&claims.church_id, &claims.person()).await?;
        if is_revoked(claims.issued_at, revoked) { Err(TokenError::Revoked.into()) } else { Ok(Self(claims)) }
    }
}
