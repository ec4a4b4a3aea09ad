//! The handle of one TCP connection: what is known of it, and the way to end it from inside.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::connections::frames::Written;
use crate::connections::traffic::Traffic;

/// How long a connection may take to its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// What all connections together may have sent that nobody has taken yet and whose senders are not known: beyond, the
/// larger ones are cut.
const STRANGERS_BYTES: usize = 64 << 20;
/// What any of them may have sent, however much the others have.
const STRANGER_BYTES: usize = 16 << 10;

/// The handle of one TCP connection.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Shared>);

struct Shared {
    peer: SocketAddr,
    all: Arc<Totals>,
    used: AtomicBool,
    known: AtomicBool,
    /// Bytes that a stranger has sent and that are not taken yet.
    sent: AtomicUsize,
    /// Of the session whose websocket it is.
    traffic: OnceLock<Arc<Traffic>>,
    cut: CancellationToken,
    stalled: AtomicBool,
    at_end: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// Of all connections of a listener.
#[derive(Default)]
pub(crate) struct Totals {
    open: AtomicUsize,
    sent_by_strangers: AtomicUsize,
}

impl Totals {
    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Connection {
    /// One more of the listener's connections.
    pub(crate) fn new(peer: SocketAddr, all: Arc<Totals>) -> Self {
        all.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Shared {
            peer,
            all,
            used: AtomicBool::new(false),
            known: AtomicBool::new(false),
            sent: AtomicUsize::new(0),
            traffic: OnceLock::new(),
            cut: CancellationToken::new(),
            stalled: AtomicBool::new(false),
            at_end: Mutex::new(None),
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

    /// Notes that it carries a session whose token is good.
    pub(crate) fn known(&self) {
        self.0.known.store(true, Ordering::Relaxed);
        self.taken();
    }

    /// Notes that what it has sent so far was taken.
    pub(crate) fn taken(&self) {
        let sent = self.0.sent.swap(0, Ordering::Relaxed);
        self.0.all.sent_by_strangers.fetch_sub(sent, Ordering::Relaxed);
    }

    /// Makes it the websocket of a session. It never is another's.
    pub(crate) fn carry(&self, traffic: Arc<Traffic>) {
        let _ = self.0.traffic.set(traffic);
    }

    /// Whether it is a websocket, and what it writes is to be told.
    pub(crate) fn is_websocket(&self) -> bool {
        self.0.traffic.get().is_some()
    }

    /// Notes a packet that is written to the websocket, and cuts one that was refused too often.
    pub(crate) fn wrote(&self, packet: Written) {
        if self.0.traffic.get().is_some_and(|traffic| traffic.wrote(packet).is_err()) {
            self.cut();
        }
    }

    /// Counts what the other end sends, and cuts a websocket on which it is too much.
    pub(crate) fn hears(&self, bytes: usize) {
        if self.0.traffic.get().is_some_and(|traffic| traffic.hear(bytes).is_err()) {
            self.cut();
        }
        self.stranger_sends(bytes);
    }

    /// A large message may come before the token in it can be read.
    fn stranger_sends(&self, bytes: usize) {
        if bytes == 0 || self.0.known.load(Ordering::Relaxed) {
            return;
        }
        let sent = self.0.sent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.0.all.sent_by_strangers.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > STRANGERS_BYTES && sent > STRANGER_BYTES {
            self.cut();
        }
    }

    /// Notes that a whole request came. A connection without one is ended after a while.
    pub(crate) fn used(&self) {
        self.0.used.store(true, Ordering::Relaxed);
    }

    /// Ends it if no request has come in time.
    pub(crate) async fn end_if_unused(self) {
        sleep(FIRST_REQUEST).await;
        if !self.0.used.load(Ordering::Relaxed) {
            self.cut();
        }
    }

    /// Ends the connection now; what was not written yet is lost.
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

    /// Ends it because a write made no progress.
    pub(crate) fn stall(&self) {
        self.0.stalled.store(true, Ordering::Relaxed);
        self.cut();
    }

    /// Notes that it is closed.
    pub(crate) fn closed(&self) {
        self.taken();
        self.0.all.open.fetch_sub(1, Ordering::Relaxed);
        let act = self.0.at_end.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(act) = act {
            act();
        }
    }

    /// Does this once the connection is closed, in place of what was to be done before.
    pub(crate) fn at_end(&self, act: impl FnOnce() + Send + 'static) {
        *self.0.at_end.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
    }

    /// Whether it was ended because a write made no progress.
    pub(crate) fn stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }

    /// Whether two handles are of one connection.
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
    fn strangers_can_not_fill_the_memory_and_those_who_are_known_are_not_counted() {
        let all = Arc::<Totals>::default();
        let (crowd, small, large, known) =
            (connection(&all), connection(&all), connection(&all), connection(&all));
        known.known();
        crowd.hears(STRANGERS_BYTES);
        small.hears(STRANGER_BYTES);
        large.hears(STRANGER_BYTES + 1);
        known.hears(STRANGERS_BYTES);
        assert_eq!([&crowd, &small, &large, &known].map(Connection::is_cut), [false, false, true, false]);
        crowd.taken();
        let late = connection(&all);
        late.hears(STRANGERS_BYTES / 2);
        assert!(!late.is_cut());
        [crowd, small, large, known, late].iter().for_each(Connection::closed);
        assert_eq!((all.open(), all.sent_by_strangers.load(Ordering::Relaxed)), (0, 0));
    }
}
