//! What the parts of one gateway share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use common::broker::Link;
use common::claims::{self, Claims, TokenError, TokenVerifier};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connections::{Connection, ConnectionLimits, Refusal, TrafficLimits, Transports, TrustedProxies};
use crate::feed::FeedHealth;
use crate::memory::History;
use crate::metrics::Counters;
use crate::rooms::Hub;
use crate::tokens::Revocations;

/// One running gateway.
pub(crate) struct Gateway {
    /// Checks tokens.
    pub(crate) verifier: TokenVerifier,
    /// Revoked tokens.
    pub(crate) revocations: Arc<Revocations>,
    /// Limits of connections and new sessions.
    pub(crate) limits: ConnectionLimits,
    /// Proxies that tell a browser's address.
    pub(crate) proxies: TrustedProxies,
    /// The churches and their sockets.
    pub(crate) hub: Arc<Hub>,
    /// Events older than the hub's memory.
    pub(crate) history: History,
    /// Whether clients get all events.
    pub(crate) health: Arc<FeedHealth>,
    /// The current state of the broker connection.
    pub(crate) link: watch::Receiver<Link>,
    /// Which connections carry which session.
    pub(crate) transports: Transports,
    /// Limits of each session's traffic.
    pub(crate) traffic: TrafficLimits,
    /// How long a client may take no packet.
    pub(crate) stall: Duration,
    /// How long a client may take from its connection to its token.
    pub(crate) connect_timeout: Duration,
    /// The metrics.
    pub(crate) counters: Counters,
    /// Cancelled when the gateway has to stop.
    pub(crate) shutdown: CancellationToken,
}

impl Gateway {
    /// The claims of a token that is good and not revoked. Some clients always write `Bearer` before it.
    ///
    /// # Errors
    /// Why the token is refused.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        self.revocations.verify(&self.verifier, claims::bearer(token).unwrap_or(token))
    }

    /// Whether a new session may be opened now.
    ///
    /// # Errors
    /// Why not yet. The reason is always temporary.
    pub(crate) fn may_open(
        &self,
        connection: &Connection,
        address: IpAddr,
        token: Option<&str>,
    ) -> Result<(), Refusal> {
        if self.shutdown.is_cancelled() {
            return Err(Refusal::Stopping);
        }
        if !self.hub.has_position() {
            return Err(Refusal::NoPosition);
        }
        self.hub.check_address(address)?;
        self.limits.check(connection.open(), address)?;
        // Last, because a signature takes time to check. A bad token is refused later, in the words that clients know.
        let claims = token.and_then(|token| self.verify(token).ok());
        claims.map_or(Ok(()), |claims| self.hub.check_claims(&claims))
    }
}
