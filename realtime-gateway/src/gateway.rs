//! What the parts of one gateway share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use common::broker::Link;
use common::claims::{self, Claims, TokenError, TokenVerifier};
use common::subject::ChurchId;
use socketioxide::extract::SocketRef;
use socketioxide::socket::Socket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connections::connection::Connection;
use crate::connections::limits::{Admission, Refusal};
use crate::connections::traffic::TrafficLimits;
use crate::connections::transports::{Carrier, Transports};
use crate::feed::health::Standing;
use crate::memory::history::History;
use crate::metrics::Counters;
use crate::rooms::hub::Hub;
use crate::rooms::subscriber::Member;
use crate::tokens::revocations::Revocations;

/// One running gateway.
pub(crate) struct Gateway {
    /// Checks tokens.
    pub(crate) verifier: TokenVerifier,
    /// Tokens that were taken back.
    pub(crate) revocations: Arc<Revocations>,
    /// What is decided before a session exists.
    pub(crate) admission: Admission,
    /// The churches and their sockets.
    pub(crate) hub: Arc<Hub>,
    /// What is older than the hub's memory.
    pub(crate) history: History,
    /// Whether the stream answers, and everything was handed on.
    pub(crate) standing: Arc<Standing>,
    /// The connection to the broker, as it is now.
    pub(crate) link: watch::Receiver<Link>,
    /// Which connections carry which session.
    pub(crate) transports: Transports,
    /// What each session may say and be sent.
    pub(crate) traffic: TrafficLimits,
    /// How long a client may take nothing of what it is sent.
    pub(crate) stall: Duration,
    /// How long a client may take from its connection to its token.
    pub(crate) connect_timeout: Duration,
    /// What is counted.
    pub(crate) counters: Counters,
    /// Cancelled when the gateway has to stop.
    pub(crate) shutdown: CancellationToken,
}

impl Gateway {
    /// The claims of a token that holds and was not taken back. Some clients put `Bearer` before it wherever they send it.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        self.revocations.verify(&self.verifier, claims::bearer(token).unwrap_or(token))
    }

    /// Whether a new session may be opened now.
    ///
    /// # Errors
    /// Why not yet; it is always something temporary.
    pub(crate) fn may_open(
        &self,
        connection: &Connection,
        address: IpAddr,
        token: Option<&str>,
    ) -> Result<(), Refusal> {
        if self.shutdown.is_cancelled() {
            return Err(Refusal::Stopping);
        }
        if !self.hub.has_place() {
            return Err(Refusal::NoPlace);
        }
        self.hub.has_seat_from(address)?;
        self.admission.check(connection.open(), address)?;
        // Last, because a signature takes time to check. A bad token is told of later, in the words that clients know.
        let claims = token.and_then(|token| self.verify(token).ok());
        claims.map_or(Ok(()), |claims| self.hub.has_seat_for(&claims))
    }

    /// Closes the transport of a socket's session.
    pub(crate) fn close(&self, socket: &SocketRef) {
        if let Some(carrier) = Carrier::of(socket) {
            self.transports.close(carrier);
        }
    }

    /// Takes a socket's seat away. Doing it twice does no harm, not doing it would keep the seat for ever.
    pub(crate) fn depart(&self, church: &ChurchId, socket: &Socket) {
        self.hub.leave(church, socket);
    }

    /// Closes a socket that has just come.
    pub(crate) fn turn_away(&self, member: &Member, reason: &'static str) {
        self.hub.close(member, reason);
        self.depart(&member.church, &member.socket);
    }

    /// Clears up after a socket that has gone before anybody listened to that. Its connection may still be there. One
    /// that has no seat any more was cleared up after, and its connection may carry the client's next socket.
    pub(crate) fn clear_up(&self, member: &Member) {
        if self.hub.leave(&member.church, &member.socket) {
            self.close(&member.socket);
        }
    }
}
