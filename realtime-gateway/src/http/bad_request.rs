//! Requests that are refused for good, with the codes of the reference implementation.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    /// The path is unknown.
    #[error("Not found")]
    Path,
    /// The transport is neither polling nor websocket.
    #[error("Transport unknown")]
    Transport,
    /// The session is unknown.
    #[error("Session ID unknown")]
    Session,
    /// A session is opened by GET, and polled by GET and POST.
    #[error("Bad handshake method")]
    Method,
    /// A parameter comes twice, JSONP is asked for, or a websocket handshake is incomplete.
    #[error("Bad request")]
    Malformed,
    /// The Engine.IO version is not 4.
    #[error("Unsupported protocol version")]
    Version,
}

impl BadRequest {
    fn code(self) -> u8 {
        match self {
            Self::Transport => 0,
            Self::Session => 1,
            Self::Method => 2,
            Self::Path | Self::Malformed => 3,
            Self::Version => 5,
        }
    }
}

impl IntoResponse for BadRequest {
    fn into_response(self) -> Response {
        let status = if self == Self::Path { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
        (status, Json(json!({"code": self.code(), "message": self.to_string()}))).into_response()
    }
}
