//! How a socket connects and disconnects.

use std::sync::{Arc, PoisonError};

use common::claims::{Claims, TokenError};
use serde::Deserialize;
use serde_json::Value;
use socketioxide::extract::{Extension, SocketRef, State, TryData};
use socketioxide::socket::DisconnectReason;
use socketioxide::{SocketIo, TransportType};
use tracing::debug;

use crate::connections::Transport;
use crate::gateway::Gateway;
use crate::metrics::{self, Reason};
use crate::rooms::{Client, CloseReason, Subscriber};
use crate::session::refresh;
use crate::session::resume::resume;
use crate::session::stale::is_connected;
use crate::tokens::Term;

/// What a client sends when it connects. Any field may be missing or of another type than expected.
#[derive(Deserialize, Default)]
pub(super) struct Auth {
    token: Option<Value>,
    cursor: Option<Value>,
}

/// A refused token, in the words that clients know.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The token is not good.
    #[error("Authentication error: {0}")]
    Token(#[from] TokenError),
    /// The session tried too many tokens, and its transport is being closed.
    #[error("too many attempts")]
    TooMany,
}

/// Lets a socket in if its token is good.
///
/// # Errors
/// Why the token is refused: the text of the client's `connect_error`.
pub(super) async fn authenticate(
    socket: SocketRef,
    TryData(auth): TryData<Auth>,
    State(gateway): State<Arc<Gateway>>,
) -> Result<(), Refused> {
    let Some(transport) = Transport::of(&socket) else { return Err(TokenError::Missing.into()) };
    if transport.traffic.allow_token().is_err() {
        gateway.counters.auth_failures.get_or_create(&Reason { reason: "too_many" }).inc();
        gateway.transports.close(transport);
        return Err(Refused::TooMany);
    }
    match verify(&gateway, transport, auth.unwrap_or_default().token) {
        Ok(claims) => {
            socket.extensions.insert(claims);
            Ok(())
        }
        Err(error) => {
            gateway.counters.auth_failures.get_or_create(&Reason { reason: error.into() }).inc();
            Err(error.into())
        }
    }
}

/// Verifies the token of this packet, or else that of the first request.
fn verify(gateway: &Gateway, transport: &Transport, token: Option<Value>) -> Result<Claims, TokenError> {
    let token = match token {
        None | Some(Value::Null) => None,
        Some(Value::String(token)) if token.is_empty() => None,
        Some(Value::String(token)) => Some(token),
        Some(_) => return Err(TokenError::Invalid),
    };
    let mut of_request = transport.token.lock().unwrap_or_else(PoisonError::into_inner);
    let claims = gateway.verify(token.as_ref().or(of_request.as_ref()).map_or("", String::as_str))?;
    // The transport lives as long as the session and needs the token no more.
    *of_request = None;
    Ok(claims)
}

/// Subscribes a socket that was let in, and brings it to the live events.
pub(super) async fn on_connect(
    socket: SocketRef,
    io: SocketIo,
    TryData(auth): TryData<Auth>,
    Extension(claims): Extension<Claims>,
    State(gateway): State<Arc<Gateway>>,
) {
    let transport_name = match socket.transport_type() {
        TransportType::Websocket => "websocket",
        TransportType::Polling => "polling",
    };
    gateway.counters.connections.get_or_create(&metrics::Transport { transport: transport_name }).inc();
    debug!(church.id = %claims.church_id, socket.id = %socket.id, transport = transport_name, "connected");
    // Without it the socket would not have been let in.
    let Some(transport) = Transport::of(&socket).cloned() else { return };
    let client = Arc::new(Client::new(&claims, transport.address, transport.traffic.credit.clone()));
    socket.extensions.remove::<Claims>();
    socket.extensions.insert(client.clone());
    socket.on_disconnect(on_disconnect);
    socket.on("auth:refresh", refresh::refresh);
    socket.on_fallback(on_unknown);
    transport.authenticate();
    let subscriber = Subscriber { socket, client };
    if let Err(refusal) = gateway.hub.join(&subscriber, Term::of(&claims)) {
        gateway.counters.refusals.get_or_create(&Reason { reason: refusal.into() }).inc();
        return gateway.hub.close(&subscriber, CloseReason::Refused(refusal));
    }
    // A socket that disconnected before the handler was set is not reported any more.
    if !is_connected(&io, &subscriber.socket) {
        return gateway.hub.remove(&subscriber, Some(CloseReason::Gone));
    }
    // The token may have been revoked after it was checked and before the socket was in its room.
    if gateway.revocations.covers(&claims.church_id, &claims.person(), claims.issued_at) {
        return gateway.hub.remove(&subscriber, Some(CloseReason::TokenRevoked));
    }
    let resuming = resume(&gateway, &subscriber, cursor(auth.unwrap_or_default()));
    if subscriber.client.gone.run_until_cancelled(resuming).await.is_none() {
        // It may have disconnected before it joined.
        gateway.hub.remove(&subscriber, None);
    }
}

/// Counts events of clients. The gateway expects none but `auth:refresh`.
async fn on_unknown(State(gateway): State<Arc<Gateway>>) {
    gateway.counters.unknown_events.inc();
}

/// The client's cursor. A value that is no text can't be a cursor, but shows that the client wants to resume.
fn cursor(auth: Auth) -> Option<String> {
    match auth.cursor? {
        Value::Null => None,
        Value::String(cursor) => Some(cursor),
        _ => Some(String::new()),
    }
}

async fn on_disconnect(
    socket: SocketRef,
    why: DisconnectReason,
    Extension(client): Extension<Arc<Client>>,
    State(gateway): State<Arc<Gateway>>,
) {
    let transport = Transport::of(&socket);
    let stalled = transport.is_some_and(|transport| transport.stalled());
    let reason = if stalled { "stalled" } else { disconnect_label(why) };
    gateway.counters.disconnects.get_or_create(&Reason { reason }).inc();
    debug!(church.id = %client.church, socket.id = %socket.id, reason, "disconnected");
    client.gone.cancel();
    if let Some(transport) = transport.filter(|_| why == DisconnectReason::ClientNSDisconnect) {
        gateway.transports.close_if_unused(transport, gateway.connect_timeout);
    }
    gateway.hub.remove(&Subscriber { socket, client }, None);
}

fn disconnect_label(why: DisconnectReason) -> &'static str {
    match why {
        DisconnectReason::TransportClose => "transport_close",
        DisconnectReason::MultipleHttpPollingError => "multiple_polls",
        DisconnectReason::PacketParsingError => "bad_packet",
        DisconnectReason::TransportError => "transport_error",
        DisconnectReason::HeartbeatTimeout => "heartbeat",
        DisconnectReason::ClientNSDisconnect => "client",
        DisconnectReason::ServerNSDisconnect => "server",
        DisconnectReason::ClosingServer => "stopping",
    }
}
