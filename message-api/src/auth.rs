//! The caller of a request: the verified claims of its bearer token.

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use common::claims::{Claims, TokenError, bearer};
use common::revocation::is_revoked;

use crate::app::App;
use crate::error::ApiError;

/// The caller. A request reads and writes only the data of its caller's church.
pub(crate) struct Caller(pub Claims);

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let header = parts.headers.get(header::AUTHORIZATION).ok_or(TokenError::Missing)?;
        let text = header.to_str().map_err(|_| TokenError::Invalid)?.trim();
        // A signed-out front end sends "Bearer" without a token.
        let is_bare = text.is_empty() || text.eq_ignore_ascii_case("bearer");
        let token = bearer(text).ok_or(if is_bare { TokenError::Missing } else { TokenError::Invalid })?;
        let claims = app.verifier.verify(token)?;
        let revoked = app.store.revoked_until(&claims.church_id, &claims.person()).await?;
        if is_revoked(claims.issued_at, revoked) { Err(TokenError::Revoked.into()) } else { Ok(Self(claims)) }
    }
}

/// # Errors
/// 403: the caller's role may not send.
pub(crate) fn check_may_send(app: &App, caller: &Claims) -> Result<(), ApiError> {
    if app.send_roles.allow(caller) { Ok(()) } else { Err(ApiError::RoleNotAllowed) }
}

/// # Errors
/// 403: the caller is not the message's author, and the caller's role may not send.
pub(crate) fn check_may_change(app: &App, caller: &Claims, author: &str) -> Result<(), ApiError> {
    if caller.user_id == author { Ok(()) } else { check_may_send(app, caller) }
}
