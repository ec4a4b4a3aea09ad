//! The name of an error, for a program.

use axum::http::StatusCode;
use serde::Serialize;
use strum::{EnumIter, EnumMessage, IntoStaticStr};
use utoipa::ToSchema;

/// The name of an error, for a program. Each answer of the document says which it may have, and what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, EnumIter, EnumMessage, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Code {
    /// The body is not JSON, or incomplete.
    BodyMalformed,
    /// There is no bearer token.
    TokenMissing,
    /// The token is not valid.
    TokenInvalid,
    /// The token has expired: get a new one and try again.
    TokenExpired,
    /// The token was revoked: sign in again.
    TokenRevoked,
    /// The token names no church.
    ChurchMissing,
    /// The token's church id has another form than allowed.
    ChurchMalformed,
    /// The token's role is not among those that may send.
    RoleNotAllowed,
    /// The caller's church has no such message.
    MessageNotFound,
    /// The path is not known.
    RouteNotFound,
    /// The path does not support the method.
    MethodNotAllowed,
    /// The body is too large.
    BodyTooLarge,
    /// Fields or parameters are missing or wrong; `details` names them.
    Invalid,
    /// The message has no recipient.
    NoRecipients,
    /// The target has more recipients than a message may have.
    TooManyRecipients,
    /// The product's back end does not know the target; `details` names the ids.
    UnknownTarget,
    /// Targets can't be looked up in this installation: list the recipients by phone.
    DirectoryUnavailable,
    /// The church has no number to send from.
    NoSender,
    /// Nobody is left who failed for a reason that passes with time.
    NothingToRetry,
    /// The key was used for another body.
    IdempotencyKeyReused,
    /// An error of this service.
    Internal,
    /// The product's back end is down or answers wrong. Nothing was sent.
    RecipientsUnavailable,
    /// The database is away, or the service is starting. Nothing was recorded.
    Unavailable,
    /// The request took too long. Nothing was recorded.
    TimedOut,
    /// The message may be recorded. Only a request with an `Idempotency-Key` may be repeated.
    OutcomeUnknown,
    /// The product's back end is slow. Nothing was sent.
    RecipientsTimedOut,
}

impl Code {
    /// The status of every answer with this code.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BodyMalformed => StatusCode::BAD_REQUEST,
            Self::TokenMissing
            | Self::TokenInvalid
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::ChurchMissing
            | Self::ChurchMalformed => StatusCode::UNAUTHORIZED,
            Self::RoleNotAllowed => StatusCode::FORBIDDEN,
            Self::MessageNotFound | Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid
            | Self::NoRecipients
            | Self::TooManyRecipients
            | Self::UnknownTarget
            | Self::DirectoryUnavailable
            | Self::NoSender
            | Self::NothingToRetry
            | Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::RecipientsUnavailable => StatusCode::BAD_GATEWAY,
            Self::Unavailable | Self::TimedOut | Self::OutcomeUnknown => StatusCode::SERVICE_UNAVAILABLE,
            Self::RecipientsTimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The name in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }

    /// What the error means.
    pub(crate) fn meaning(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }
}
