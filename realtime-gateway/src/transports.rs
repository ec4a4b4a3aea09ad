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

use crate::guard::Connection;
use crate::server::Opening;

/// The connections of upgraded sessions, and the way to close any session.
#[derive(Clone, Default)]
pub(crate) struct Transports(Arc<Inner>);

#[derive(Default)]
struct Inner {
    upgrades: Mutex<HashMap<Sid, Vec<Connection>>>,
    sessions: OnceLock<Router>,
}

impl Transports {
    /// Says which service holds the sessions.
    pub(crate) fn serve(&self, sessions: Router) {
        // It is said once, at the start.
        let _ = self.0.sessions.set(sessions);
    }

    /// Notes that a connection carries a session from now on, until the connection ends.
    pub(crate) fn upgraded(&self, sid: Sid, connection: &Connection) {
        self.upgrades().entry(sid).or_default().push(connection.clone());
        let (transports, ended) = (self.clone(), connection.clone());
        connection.at_end(move || transports.forget(sid, &ended));
    }

    fn forget(&self, sid: Sid, ended: &Connection) {
        let mut upgrades = self.upgrades();
        let Some(connections) = upgrades.get_mut(&sid) else { return };
        connections.retain(|connection| !connection.is(ended));
        if connections.is_empty() {
            upgrades.remove(&sid);
        }
    }

    /// Closes the transport of a session, whichever it has now. The stock client then connects again by itself,
    /// which it would not do after a Socket.IO disconnect packet.
    pub(crate) fn close(&self, socket: &SocketRef) {
        if let Some(opening) = socket.req_parts().extensions.get::<Opening>() {
            opening.websocket.iter().for_each(Connection::cut);
        }
        self.cut_upgrades(socket.id);
        if socket.transport_type() == TransportType::Polling {
            tokio::spawn(self.clone().end_polling(socket.id));
        }
    }

    /// Whether the session's connection was ended because its peer did not read.
    pub(crate) fn stalled(&self, socket: &SocketRef) -> bool {
        let opening = socket.req_parts().extensions.get::<Opening>();
        opening.and_then(|opening| opening.websocket.as_ref()).is_some_and(Connection::stalled)
            || self.upgrades().get(&socket.id).is_some_and(|all| all.iter().any(Connection::stalled))
    }

    fn cut_upgrades(&self, sid: Sid) {
        self.upgrades().get(&sid).into_iter().flatten().for_each(Connection::cut);
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

    fn upgrades(&self) -> MutexGuard<'_, HashMap<Sid, Vec<Connection>>> {
        self.0.upgrades.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
