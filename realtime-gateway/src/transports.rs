//! Which connections carry a session now, and how a session is closed so that the browser comes back.
//!
//! A session may begin with polling and go on over a websocket, whose request names the session. What the Socket.IO
//! library keeps of a session is its first request, so the connections of upgrades are noted here. A connection that
//! carries polls is shared by many sessions where there is a proxy, and is never cut for one of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use socketioxide::TransportType;
use socketioxide::extract::SocketRef;
use socketioxide::socket::Sid;
use tower::ServiceExt as _;

use crate::connection::Connection;
use crate::server::Opening;

/// The connections of upgraded sessions, and the way to close any session.
#[derive(Clone, Default)]
pub(crate) struct Transports(Arc<Inner>);

#[derive(Default)]
struct Inner {
    carriers: Mutex<HashMap<Sid, Carriers>>,
    sessions: OnceLock<Router>,
}

/// What carries a session that began with polling.
#[derive(Default)]
struct Carriers {
    /// Its socket was let in, and its leaving will be told.
    attended: bool,
    /// A connection of it was ended because its peer did not read.
    stalled: bool,
    upgrades: Vec<Connection>,
}

impl Carriers {
    /// A connection may be gone already, or be about to go.
    fn have_stalled(&self) -> bool {
        self.stalled || self.upgrades.iter().any(Connection::stalled)
    }
}

impl Transports {
    /// Says which service holds the sessions.
    pub(crate) fn serve(&self, sessions: Router) {
        // It is said once, at the start.
        let _ = self.0.sessions.set(sessions);
    }

    /// Notes that a session's socket was let in: its connections are no strangers any more.
    pub(crate) fn attended(&self, socket: &SocketRef) {
        if let Some(connection) = websocket_of(socket) {
            return connection.known();
        }
        let mut carriers = self.carriers();
        let carriers = carriers.entry(socket.id).or_default();
        carriers.attended = true;
        carriers.upgrades.iter().for_each(Connection::known);
    }

    /// Notes that a session's socket has left.
    pub(crate) fn departed(&self, sid: Sid) {
        self.carriers().remove(&sid);
    }

    /// Notes that a connection carries a session from now on, until the connection ends.
    pub(crate) fn upgraded(&self, sid: Sid, connection: &Connection) {
        let mut carriers = self.carriers();
        let carriers = carriers.entry(sid).or_default();
        carriers.upgrades.push(connection.clone());
        if carriers.attended {
            connection.known();
        }
        let (transports, ended) = (self.clone(), connection.clone());
        connection.at_end(move || transports.ended(sid, &ended));
    }

    fn ended(&self, sid: Sid, ended: &Connection) {
        let mut all = self.carriers();
        let Some(carriers) = all.get_mut(&sid) else { return };
        carriers.upgrades.retain(|connection| !connection.is(ended));
        carriers.stalled |= ended.stalled();
        // How it ended is asked when the socket leaves, which normally comes later.
        if carriers.upgrades.is_empty() && !carriers.attended {
            all.remove(&sid);
        }
    }

    /// Closes the transport of a session, whichever it has now. The stock client then connects again by itself,
    /// which it would not do after a Socket.IO disconnect packet.
    pub(crate) fn close(&self, socket: &SocketRef) {
        if let Some(connection) = websocket_of(socket) {
            return connection.cut();
        }
        self.cut_upgrades(socket.id);
        if socket.transport_type() == TransportType::Polling {
            tokio::spawn(self.clone().end_polling(socket.id));
        }
    }

    /// Whether the session's connection was ended because its peer did not read.
    pub(crate) fn stalled(&self, socket: &SocketRef) -> bool {
        match websocket_of(socket) {
            Some(connection) => connection.stalled(),
            None => self.carriers().get(&socket.id).is_some_and(Carriers::have_stalled),
        }
    }

    fn cut_upgrades(&self, sid: Sid) {
        let carriers = self.carriers();
        carriers.get(&sid).into_iter().flat_map(|carriers| &carriers.upgrades).for_each(Connection::cut);
    }

    /// Hands a polling session the packet with which a client would close it. A session that became a websocket in
    /// this moment refuses the packet, and its connection is known then.
    async fn end_polling(self, sid: Sid) {
        let Some(sessions) = self.0.sessions.get() else { return };
        let uri = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let Ok(request) = Request::post(uri).body(Body::from("1")) else { return };
        let answer = sessions.clone().oneshot(request).await;
        if answer.is_ok_and(|answer| answer.status() != StatusCode::OK) {
            self.cut_upgrades(sid);
        }
    }

    fn carriers(&self) -> MutexGuard<'_, HashMap<Sid, Carriers>> {
        self.0.carriers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection of a session that is a websocket from the start.
fn websocket_of(socket: &SocketRef) -> Option<&Connection> {
    socket.req_parts().extensions.get::<Opening>()?.websocket.as_ref()
}
