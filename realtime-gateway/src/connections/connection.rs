//! The handle of one TCP connection: counts what it sends, and ends it from inside.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::connections::frames::Written;
use crate::connections::traffic::Traffic;

/// How long a connection may take to send its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Bytes that all unauthenticated connections together may have sent and the gateway not consumed. Beyond that, the
/// larger senders are cut.
const ANONYMOUS_TOTAL_BYTES: usize = 64 << 20;
/// Bytes that each of them may always have sent.
const ANONYMOUS_BYTES: usize = 16 << 10;

/// The handle of one TCP connection.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Shared>);

struct Shared {
    peer: SocketAddr,
    all: Arc<Totals>,
    has_request: AtomicBool,
    authenticated: AtomicBool,
    /// Bytes that it sent before it was authenticated and that are not consumed yet.
    unconsumed: AtomicUsize,
    /// The traffic of the session whose websocket this is.
    traffic: OnceLock<Arc<Traffic>>,
    cut: CancellationToken,
    stalled: AtomicBool,
    on_close: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// Sums over all connections of a listener.
#[derive(Default)]
pub(crate) struct Totals {
    open: Gauge,
    anonymous_unconsumed: AtomicUsize,
}

impl Totals {
    /// Counts the open connections in this gauge.
    pub(crate) fn new(open: Gauge) -> Self {
        Self { open, ..Self::default() }
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        usize::try_from(self.open.get()).unwrap_or(0)
    }
}

impl Connection {
    /// Counts one more connection.
    pub(crate) fn new(peer: SocketAddr, all: Arc<Totals>) -> Self {
        all.open.inc();
        Self(Arc::new(Shared {
            peer,
            all,
            has_request: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
            unconsumed: AtomicUsize::new(0),
            traffic: OnceLock::new(),
            cut: CancellationToken::new(),
            stalled: AtomicBool::new(false),
            on_close: Mutex::new(None),
        }))
    }

    /// The other end: a browser, or the proxy before it.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// How many connections the listener has open.
    pub(crate) fn open(&self) -> usize {
        self.0.all.open()
    }

    /// Notes that the session it carries has shown a good token.
    pub(crate) fn authenticate(&self) {
        self.0.authenticated.store(true, Ordering::Relaxed);
        self.consumed();
    }

    /// Notes that the gateway has consumed all that it sent.
    pub(crate) fn consumed(&self) {
        let sent = self.0.unconsumed.swap(0, Ordering::Relaxed);
        self.0.all.anonymous_unconsumed.fetch_sub(sent, Ordering::Relaxed);
    }

    /// Makes it the websocket of a session, for good.
    pub(crate) fn become_websocket(&self, traffic: Arc<Traffic>) {
        let _ = self.0.traffic.set(traffic);
    }

    /// Whether it is a websocket.
    pub(crate) fn is_websocket(&self) -> bool {
        self.0.traffic.get().is_some()
    }

    /// Notes a packet that is written to the websocket. Cuts a websocket that exceeds a limit.
    pub(crate) fn wrote(&self, packet: Written) {
        if self.0.traffic.get().is_some_and(|traffic| traffic.wrote(packet).is_err()) {
            self.cut();
        }
    }

    /// Counts bytes that the other end sends. Cuts a connection that exceeds a limit.
    pub(crate) fn received(&self, bytes: usize) {
        if self.0.traffic.get().is_some_and(|traffic| traffic.receive(bytes).is_err()) {
            self.cut();
        }
        self.count_anonymous(bytes);
    }

    /// An unauthenticated client may send a large message before the token in it can be read.
    fn count_anonymous(&self, bytes: usize) {
        if bytes == 0 || self.0.authenticated.load(Ordering::Relaxed) {
            return;
        }
        let sent = self.0.unconsumed.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.0.all.anonymous_unconsumed.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > ANONYMOUS_TOTAL_BYTES && sent > ANONYMOUS_BYTES {
            self.cut();
        }
    }

    /// Notes that a request came.
    pub(crate) fn got_request(&self) {
        self.0.has_request.store(true, Ordering::Relaxed);
    }

    /// Cuts it unless a request comes in time.
    pub(crate) async fn cut_without_request(self) {
        sleep(FIRST_REQUEST).await;
        if !self.0.has_request.load(Ordering::Relaxed) {
            self.cut();
        }
    }

    /// Ends the connection now. Unwritten bytes are lost.
    pub(crate) fn cut(&self) {
        self.0.cut.cancel();
    }

    /// Returns once it is cut.
    pub(crate) fn until_cut(&self) -> WaitForCancellationFutureOwned {
        self.0.cut.clone().cancelled_owned()
    }

    /// Whether it is cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.cut.is_cancelled()
    }

    /// Cuts it because a write made no progress.
    pub(crate) fn stall(&self) {
        self.0.stalled.store(true, Ordering::Relaxed);
        self.cut();
    }

    /// Notes that it is closed.
    pub(crate) fn closed(&self) {
        self.consumed();
        self.0.all.open.dec();
        let act = self.0.on_close.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(act) = act {
            act();
        }
    }

    /// Sets the action to run once the connection is closed.
    pub(crate) fn on_close(&self, act: impl FnOnce() + Send + 'static) {
        *self.0.on_close.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
    }

    /// Whether it was cut because a write made no progress.
    pub(crate) fn stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }

    /// Whether both handles are of one connection.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(all: &Arc<Totals>) -> Connection {
        Connection::new(SocketAddr::from(([127, 0, 0, 1], 1)), all.clone())
    }

    #[test]
    fn unauthenticated_connections_can_not_fill_memory_and_authenticated_ones_are_not_counted() {
        let all = Arc::<Totals>::default();
        let (crowd, small, large, known) =
            (connection(&all), connection(&all), connection(&all), connection(&all));
        known.authenticate();
        crowd.received(ANONYMOUS_TOTAL_BYTES);
        small.received(ANONYMOUS_BYTES);
        large.received(ANONYMOUS_BYTES + 1);
        known.received(ANONYMOUS_TOTAL_BYTES);
        assert_eq!([&crowd, &small, &large, &known].map(Connection::is_cut), [false, false, true, false]);
        crowd.consumed();
        let late = connection(&all);
        late.received(ANONYMOUS_TOTAL_BYTES / 2);
        assert!(!late.is_cut());
        [crowd, small, large, known, late].iter().for_each(Connection::closed);
        assert_eq!((all.open(), all.anonymous_unconsumed.load(Ordering::Relaxed)), (0, 0));
    }
}
