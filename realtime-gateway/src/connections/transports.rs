//! Which connections carry a session, and how to close a session so that the browser comes back.
//!
//! A session may begin with polling and upgrade to a websocket, whose request names the session. The Socket.IO library
//! keeps the first request for as long as a session lives, and with it the session's [`Transport`]. A connection that
//! carries polls is never cut to close a session: behind a proxy it carries the polls of other sessions, too.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use socketioxide::extract::SocketRef;
use socketioxide::socket::Sid;
use tokio::time::sleep;
use tower::ServiceExt as _;

use crate::connections::connection::Connection;
use crate::connections::traffic::{Traffic, TrafficLimits};

/// The sessions that began with polling, and the way to close any session.
#[derive(Clone, Default)]
pub(crate) struct Transports(Arc<Inner>);

#[derive(Default)]
struct Inner {
    polling: Mutex<HashMap<Sid, Weak<Transport>>>,
    sessions: OnceLock<Router>,
}

/// The transport of one session. It is dropped with the session.
pub(crate) struct Transport {
    /// The token of the first request, until a socket is let in with it.
    pub(crate) token: Mutex<Option<String>>,
    /// The address that its sockets are counted by.
    pub(crate) address: IpAddr,
    /// What it sends and is sent.
    pub(crate) traffic: Arc<Traffic>,
    state: Mutex<State>,
    /// Where it is registered, if it began with polling.
    registered: OnceLock<(Sid, Transports)>,
}

#[derive(Default)]
struct State {
    /// How many of its sockets were let in.
    sockets: u32,
    /// A websocket of it was cut because its peer did not read.
    stalled: bool,
    websockets: Vec<Connection>,
}

impl Transport {
    /// The transport of a session that is about to be opened.
    pub(crate) fn new(token: Option<String>, address: IpAddr, limits: TrafficLimits) -> Arc<Self> {
        Arc::new(Self {
            token: Mutex::new(token),
            address,
            traffic: Arc::new(Traffic::new(limits)),
            state: Mutex::default(),
            registered: OnceLock::new(),
        })
    }

    /// The transport of a socket's session.
    pub(crate) fn of(socket: &SocketRef) -> Option<&Arc<Self>> {
        socket.req_parts().extensions.get()
    }

    /// Notes that a socket was let in, so its connections are authenticated.
    pub(crate) fn authenticate(&self) {
        let mut state = self.state();
        state.sockets += 1;
        state.websockets.iter().for_each(Connection::authenticate);
    }

    /// Makes a connection the session's websocket until that is closed.
    pub(crate) fn use_websocket(self: &Arc<Self>, websocket: &Connection) {
        websocket.become_websocket(self.traffic.clone());
        let mut state = self.state();
        state.websockets.push(websocket.clone());
        if state.sockets > 0 {
            websocket.authenticate();
        }
        let (transport, closed) = (Arc::downgrade(self), websocket.clone());
        websocket.on_close(move || {
            if let Some(transport) = transport.upgrade() {
                transport.drop_websocket(&closed);
            }
        });
    }

    fn drop_websocket(&self, closed: &Connection) {
        let mut state = self.state();
        state.websockets.retain(|websocket| !websocket.is(closed));
        state.stalled |= closed.stalled();
    }

    /// Whether a websocket of it was cut because its peer did not read. It may be closed already or about to close.
    pub(crate) fn stalled(&self) -> bool {
        let state = self.state();
        state.stalled || state.websockets.iter().any(Connection::stalled)
    }

    fn cut_websockets(&self) {
        self.state().websockets.iter().for_each(Connection::cut);
    }

    fn sockets(&self) -> u32 {
        self.state().sockets
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        if let Some((sid, transports)) = self.registered.get() {
            transports.polling().remove(sid);
        }
    }
}

impl Transports {
    /// Sets the service that holds the sessions.
    pub(crate) fn set_service(&self, sessions: Router) {
        // It is set once, at the start.
        let _ = self.0.sessions.set(sessions);
    }

    /// Registers a session that begins with polling.
    pub(crate) fn register(&self, sid: Sid, transport: &Arc<Transport>) {
        // A session is opened once.
        let _ = transport.registered.set((sid, self.clone()));
        self.polling().insert(sid, Arc::downgrade(transport));
    }

    /// The session with this id, if it began with polling.
    pub(crate) fn find(&self, sid: Sid) -> Option<Arc<Transport>> {
        self.polling().get(&sid).and_then(Weak::upgrade)
    }

    /// Closes the transport of a session. The stock client then connects again by itself, which it would not do after a
    /// Socket.IO disconnect packet.
    pub(crate) fn close(&self, transport: &Arc<Transport>) {
        transport.cut_websockets();
        if let Some((sid, _)) = transport.registered.get() {
            tokio::spawn(self.clone().close_polling(*sid, transport.clone()));
        }
    }

    /// Closes it after a while, unless another socket of it is let in. Most clients that leave the namespace close
    /// their connection themselves; the others would stay for ever.
    pub(crate) fn close_if_unused(&self, transport: &Arc<Transport>, after: Duration) {
        let (transports, sockets, transport) = (self.clone(), transport.sockets(), Arc::downgrade(transport));
        tokio::spawn(async move {
            sleep(after).await;
            if let Some(transport) = transport.upgrade().filter(|transport| transport.sockets() == sockets) {
                transports.close(&transport);
            }
        });
    }

    /// Posts the packet with which a client closes a polling session. A session that upgraded to a websocket just now
    /// refuses the packet, but then its websocket is known.
    async fn close_polling(self, sid: Sid, transport: Arc<Transport>) {
        let Some(sessions) = self.0.sessions.get() else { return };
        let uri = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let Ok(request) = Request::post(uri).body(Body::from("1")) else { return };
        let answer = sessions.clone().oneshot(request).await;
        if answer.is_ok_and(|answer| answer.status() != StatusCode::OK) {
            transport.cut_websockets();
        }
    }

    fn polling(&self) -> MutexGuard<'_, HashMap<Sid, Weak<Transport>>> {
        self.0.polling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::connections::credit::CreditLimit;

    #[test]
    fn a_session_is_found_by_its_id_until_it_ends() {
        let limits = TrafficLimits { credit: CreditLimit { packets: 1, bytes: 1 }, message: NonZeroU32::MIN };
        let (transports, sid) = (Transports::default(), "abcdefghijklmnop".parse().unwrap());
        let transport = Transport::new(None, IpAddr::from([127, 0, 0, 1]), limits);
        assert!(transports.find(sid).is_none());
        transports.register(sid, &transport);
        assert!(transports.find(sid).is_some_and(|found| Arc::ptr_eq(&found, &transport)));
        drop(transport);
        assert!(transports.find(sid).is_none() && transports.polling().is_empty());
    }
}
