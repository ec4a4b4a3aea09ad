//! Who calls: the verified claims of the bearer token, as a handler's argument. Without them there is no church.

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use common::claims::{Claims, TokenError, bearer};

use crate::error::ApiError;
use crate::router::App;

/// The caller, whose church is the only one that the request may touch.
pub(crate) struct Caller(pub Claims);

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let header = parts.headers.get(header::AUTHORIZATION).ok_or(TokenError::Missing)?;
        let token = header.to_str().ok().and_then(bearer).ok_or(TokenError::Invalid)?;
        Ok(Self(app.verifier.verify(token)?))
    }
}
