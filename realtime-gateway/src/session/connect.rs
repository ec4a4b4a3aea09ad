//! Who may come in, and the first words to a socket.

use std::sync::{Arc, PoisonError};

use common::claims::{Claims, TokenError};
use serde::Deserialize;
use serde_json::Value;
use socketioxide::extract::{Extension, SocketRef, State, TryData};
use socketioxide::socket::DisconnectReason;
use socketioxide::{SocketIo, TransportType};
use tracing::debug;

use crate::connections::transports::Carrier;
use crate::gateway::Gateway;
use crate::metrics::{Reason, Transport};
use crate::rooms::subscriber::Member;
use crate::session::clock::{self, Session, Term};
use crate::session::resume::resume;
use crate::session::stale::is_here;

/// What a client sends when it connects. Anything may be missing or of another form than expected.
#[derive(Deserialize, Default)]
pub(crate) struct Auth {
    token: Option<Value>,
    cursor: Option<Value>,
}

/// A refused token, in the words that clients know.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The token does not let it in.
    #[error("Authentication error: {0}")]
    Token(#[from] TokenError),
    /// The session tried too many tokens, and its transport is being closed.
    #[error("too many attempts")]
    TooMany,
}

/// Lets a socket in if its token is good.
///
/// # Errors
/// The token's trouble, as the text of the client's `connect_error`.
pub(crate) async fn authenticate(
    socket: SocketRef,
    TryData(auth): TryData<Auth>,
    State(gateway): State<Arc<Gateway>>,
) -> Result<(), Refused> {
    let Some(carrier) = Carrier::of(&socket) else { return Err(TokenError::Missing.into()) };
    if carrier.traffic.check_token().is_err() {
        gateway.counters.auth_failures.get_or_create(&Reason { reason: "too_many" }).inc();
        gateway.transports.close(carrier);
        return Err(Refused::TooMany);
    }
    let auth = auth.unwrap_or_default();
    match verify(&gateway, carrier, auth.token) {
        Ok(claims) => {
            socket.extensions.insert(claims);
            Ok(())
        }
        Err(error) => {
            gateway.counters.auth_failures.get_or_create(&Reason { reason: word_of(error) }).inc();
            Err(error.into())
        }
    }
}

fn verify(gateway: &Gateway, carrier: &Carrier, token: Option<Value>) -> Result<Claims, TokenError> {
    let token = match token {
        None | Some(Value::Null) => None,
        Some(Value::String(token)) if token.is_empty() => None,
        Some(Value::String(token)) => Some(token),
        Some(_) => return Err(TokenError::Invalid),
    };
    let mut of_request = carrier.token.lock().unwrap_or_else(PoisonError::into_inner);
    let claims = gateway.verify(token.as_ref().or(of_request.as_ref()).map_or("", String::as_str))?;
    // What is kept of the request lives as long as the session, and has no use for the token any more.
    *of_request = None;
    Ok(claims)
}

/// A refusal as the metrics call it.
pub(crate) fn word_of(error: TokenError) -> &'static str {
    match error {
        TokenError::Missing => "missing",
        TokenError::Invalid => "invalid",
        TokenError::Expired => "expired",
        TokenError::Revoked => "revoked",
        TokenError::ChurchMissing => "church_missing",
        TokenError::ChurchMalformed(_) => "church_malformed",
    }
}

/// Takes a socket in that was let in.
pub(crate) async fn attend(
    socket: SocketRef,
    io: SocketIo,
    TryData(auth): TryData<Auth>,
    Extension(claims): Extension<Claims>,
    State(gateway): State<Arc<Gateway>>,
) {
    let transport = match socket.transport_type() {
        TransportType::Websocket => "websocket",
        TransportType::Polling => "polling",
    };
    gateway.counters.connections.get_or_create(&Transport { transport }).inc();
    debug!(church.id = %claims.church_id, socket.id = %socket.id, transport, "connected");
    // Without it the socket was not let in.
    let Some(carrier) = Carrier::of(&socket).cloned() else { return };
    let (church, user) = (claims.church_id.clone(), claims.user_id.as_str().into());
    let (address, credit) = (carrier.address, carrier.traffic.credit.clone());
    let member = Member { socket, church, user, address, credit };
    member.socket.extensions.remove::<Claims>();
    let session = Arc::new(Session::new(member.church.clone()));
    member.socket.extensions.insert(session.clone());
    member.socket.on_disconnect(departed);
    member.socket.on("auth:refresh", clock::refresh);
    member.socket.on_fallback(unknown);
    carrier.attended();
    if let Err(refusal) = gateway.hub.sit(&member, Term::of(&claims)) {
        gateway.counters.refusals.get_or_create(&Reason { reason: refusal.word() }).inc();
        return gateway.turn_away(&member, refusal.word());
    }
    // It may have gone before anybody listened to that, and then nobody hears of it any more.
    if !is_here(&io, &member.socket) {
        return gateway.clear_up(&member);
    }
    // It may have been revoked after it was checked, and before it had a seat to be found in.
    if gateway.revocations.cover(&member.church, &claims.person(), claims.issued_at) {
        return gateway.turn_away(&member, "token_revoked");
    }
    let resuming = resume(&gateway, &member, cursor(auth.unwrap_or_default()));
    if session.gone.run_until_cancelled(resuming).await.is_none() {
        // It may have gone before it had its seat.
        gateway.depart(&member.church, &member.socket);
    }
}

/// The gateway only speaks. What a client says besides is not for us.
async fn unknown(State(gateway): State<Arc<Gateway>>) {
    gateway.counters.unknown_events.inc();
}

/// The client's cursor; what is no text can't be one, but says that there was something to resume.
fn cursor(auth: Auth) -> Option<String> {
    match auth.cursor? {
        Value::Null => None,
        Value::String(cursor) => Some(cursor),
        _ => Some(String::new()),
    }
}

async fn departed(
    socket: SocketRef,
    why: DisconnectReason,
    Extension(session): Extension<Arc<Session>>,
    State(gateway): State<Arc<Gateway>>,
) {
    let carrier = Carrier::of(&socket);
    let reason = if carrier.is_some_and(|carrier| carrier.stalled()) { "stalled" } else { word(why) };
    gateway.counters.disconnects.get_or_create(&Reason { reason }).inc();
    let church = &session.church;
    debug!(church.id = %church, socket.id = %socket.id, reason, "disconnected");
    session.gone.cancel();
    if let Some(carrier) = carrier.filter(|_| why == DisconnectReason::ClientNSDisconnect) {
        gateway.transports.close_if_unused(carrier, gateway.connect_timeout);
    }
    gateway.depart(church, &socket);
}

fn word(why: DisconnectReason) -> &'static str {
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
