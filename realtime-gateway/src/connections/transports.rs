//! What carries a session now, and how a session is closed so that the browser comes back.
//!
//! A session may begin with polling and go on over a websocket, whose request names the session. The Socket.IO library
//! keeps the first request for as long as a session lives, and with it the session's carrier. A connection that carries
//! polls is shared by many sessions where there is a proxy, and is never cut for one of them.

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
    polled: Mutex<HashMap<Sid, Weak<Carrier>>>,
    sessions: OnceLock<Router>,
}

/// What carries one session. It is dropped with it.
pub(crate) struct Carrier {
    /// The token of the first request, until it has let the socket in.
    pub(crate) token: Mutex<Option<String>>,
    /// Where the browser is, as far as sockets are counted by it.
    pub(crate) address: IpAddr,
    /// What it says and is sent.
    pub(crate) traffic: Arc<Traffic>,
    state: Mutex<State>,
    /// Its name and where it is found by it, if it began with polling.
    polled: OnceLock<(Sid, Transports)>,
}

#[derive(Default)]
struct State {
    /// How often a socket of it was let in.
    visits: u32,
    /// A websocket of it was ended because its peer did not read.
    stalled: bool,
    websockets: Vec<Connection>,
}

impl Carrier {
    /// Of a session that is about to be opened.
    pub(crate) fn new(token: Option<String>, address: IpAddr, limits: TrafficLimits) -> Arc<Self> {
        Arc::new(Self {
            token: Mutex::new(token),
            address,
            traffic: Arc::new(Traffic::new(limits)),
            state: Mutex::default(),
            polled: OnceLock::new(),
        })
    }

    /// The carrier of a socket's session.
    pub(crate) fn of(socket: &SocketRef) -> Option<&Arc<Self>> {
        socket.req_parts().extensions.get()
    }

    /// Notes that a socket was let in: the session's connections are no strangers any more.
    pub(crate) fn attended(&self) {
        let mut state = self.state();
        state.visits += 1;
        state.websockets.iter().for_each(Connection::known);
    }

    /// Goes on over a websocket, until that ends.
    pub(crate) fn go_over(self: &Arc<Self>, websocket: &Connection) {
        websocket.carry(self.traffic.clone());
        let mut state = self.state();
        state.websockets.push(websocket.clone());
        if state.visits > 0 {
            websocket.known();
        }
        let (carrier, ended) = (Arc::downgrade(self), websocket.clone());
        websocket.at_end(move || {
            if let Some(carrier) = carrier.upgrade() {
                carrier.ended(&ended);
            }
        });
    }

    fn ended(&self, ended: &Connection) {
        let mut state = self.state();
        state.websockets.retain(|websocket| !websocket.is(ended));
        state.stalled |= ended.stalled();
    }

    /// Whether a websocket of it was ended because its peer did not read. It may be gone already, or be about to go.
    pub(crate) fn stalled(&self) -> bool {
        let state = self.state();
        state.stalled || state.websockets.iter().any(Connection::stalled)
    }

    fn cut_websockets(&self) {
        self.state().websockets.iter().for_each(Connection::cut);
    }

    fn visits(&self) -> u32 {
        self.state().visits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if let Some((sid, transports)) = self.polled.get() {
            transports.polled().remove(sid);
        }
    }
}

impl Transports {
    /// Says which service holds the sessions.
    pub(crate) fn serve(&self, sessions: Router) {
        // It is said once, at the start.
        let _ = self.0.sessions.set(sessions);
    }

    /// Notes the name of a session that begins with polling.
    pub(crate) fn opened(&self, sid: Sid, carrier: &Arc<Carrier>) {
        // A session is opened once.
        let _ = carrier.polled.set((sid, self.clone()));
        self.polled().insert(sid, Arc::downgrade(carrier));
    }

    /// The session of this name, if it began with polling.
    pub(crate) fn find(&self, sid: Sid) -> Option<Arc<Carrier>> {
        self.polled().get(&sid).and_then(Weak::upgrade)
    }

    /// Closes the transport of a session, whichever it has now. The stock client then connects again by itself,
    /// which it would not do after a Socket.IO disconnect packet.
    pub(crate) fn close(&self, carrier: &Arc<Carrier>) {
        carrier.cut_websockets();
        if let Some((sid, _)) = carrier.polled.get() {
            tokio::spawn(self.clone().end_polling(*sid, carrier.clone()));
        }
    }

    /// Closes it after a while, unless a socket of it is let in again: a client that said goodbye normally closes its
    /// connection, too, and one that does not would stay for ever.
    pub(crate) fn close_if_unused(&self, carrier: &Arc<Carrier>, after: Duration) {
        let (transports, visits, carrier) = (self.clone(), carrier.visits(), Arc::downgrade(carrier));
        tokio::spawn(async move {
            sleep(after).await;
            if let Some(carrier) = carrier.upgrade().filter(|carrier| carrier.visits() == visits) {
                transports.close(&carrier);
            }
        });
    }

    /// Hands a polling session the packet with which a client would close it. A session that became a websocket in
    /// this moment refuses the packet, and its connection is known then.
    async fn end_polling(self, sid: Sid, carrier: Arc<Carrier>) {
        let Some(sessions) = self.0.sessions.get() else { return };
        let uri = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let Ok(request) = Request::post(uri).body(Body::from("1")) else { return };
        let answer = sessions.clone().oneshot(request).await;
        if answer.is_ok_and(|answer| answer.status() != StatusCode::OK) {
            carrier.cut_websockets();
        }
    }

    fn polled(&self) -> MutexGuard<'_, HashMap<Sid, Weak<Carrier>>> {
        self.0.polled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::connections::credit::CreditLimit;

    #[test]
    fn a_session_is_found_by_its_name_until_it_ends() {
        let limits = TrafficLimits { credit: CreditLimit { packets: 1, bytes: 1 }, message: NonZeroU32::MIN };
        let (transports, sid) = (Transports::default(), "abcdefghijklmnop".parse().unwrap());
        let carrier = Carrier::new(None, IpAddr::from([127, 0, 0, 1]), limits);
        assert!(transports.find(sid).is_none());
        transports.opened(sid, &carrier);
        assert!(transports.find(sid).is_some_and(|found| Arc::ptr_eq(&found, &carrier)));
        drop(carrier);
        assert!(transports.find(sid).is_none() && transports.polled().is_empty());
    }
}
