//! `auth:refresh`: a client replaces its token without a new connection.

use std::sync::Arc;

use common::claims::TokenError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use socketioxide::extract::{AckSender, Extension, SocketRef, State, TryData};

use crate::gateway::Gateway;
use crate::metrics::Reason;
use crate::rooms::{Client, Subscriber};
use crate::tokens::RefreshError;

/// What a client sends to replace its token.
#[derive(Deserialize)]
pub(super) struct Refresh {
    token: Option<Value>,
}

/// The acknowledgement: `{ok: true, exp}` or `{ok: false, error}`.
#[derive(Debug, Serialize)]
struct Refreshed {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Answers `auth:refresh`.
pub(super) async fn refresh(
    socket: SocketRef,
    TryData(request): TryData<Refresh>,
    ack: AckSender,
    Extension(client): Extension<Arc<Client>>,
    State(gateway): State<Arc<Gateway>>,
) {
    let answer = match replace(&gateway, &Subscriber { socket, client }, request.ok()) {
        Ok(exp) => Refreshed { ok: true, exp: Some(exp), error: None },
        Err(error) => {
            gateway.counters.auth_failures.get_or_create(&Reason { reason: (&error).into() }).inc();
            Refreshed { ok: false, exp: None, error: Some(error.to_string()) }
        }
    };
    // A socket that can't take the answer is about to be closed.
    let _ = ack.send(&answer);
}

/// Replaces the token of a socket. Returns the new expiry in Unix seconds.
fn replace(
    gateway: &Gateway,
    subscriber: &Subscriber,
    request: Option<Refresh>,
) -> Result<i64, RefreshError> {
    subscriber.client.refreshes.check().map_err(|_| RefreshError::TooSoon)?;
    let token = match request.and_then(|request| request.token) {
        None | Some(Value::Null) => return Err(TokenError::Missing.into()),
        Some(Value::String(token)) => token,
        Some(_) => return Err(TokenError::Invalid.into()),
    };
    gateway.hub.extend(subscriber, &gateway.verify(&token)?, &gateway.revocations)
}
