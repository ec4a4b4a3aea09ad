//! The churches and their sockets. `publish` sends events, `join` lets sockets in and out, `go_live` serves sockets
//! that are not live yet.
//!
//! One lock covers memory and subscriptions, so a socket goes live between two events and never in the middle of one.
//! Nothing waits while the lock is held: sending a packet only puts it into a queue.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::subject::ChurchId;
use common::throttle::Throttle;
use tokio::sync::{mpsc, watch};

use crate::connections::{SocketLimits, Transports};
use crate::events::Degradation;
use crate::memory::{Progress, Recent};
use crate::metrics::Counters;
use crate::rooms::emissions::Emissions;
use crate::rooms::room::{Headcount, Room};
use crate::rooms::subscriber::Subscriber;
use crate::rooms::subscription::Subscription;
use crate::stream::{Fingerprint, Position};

/// The churches and their sockets, shared by all tasks of a gateway.
pub(crate) struct Hub {
    state: Mutex<State>,
    pub(super) last: watch::Sender<u64>,
    pub(super) limits: SocketLimits,
    pub(super) slow_consumers: mpsc::UnboundedSender<SlowConsumer>,
    pub(super) transports: Transports,
    pub(super) counters: Counters,
    pub(super) throttle: Throttle,
}

/// A socket whose queue was full. It has lost nothing and catches up at its own pace.
pub(crate) struct SlowConsumer {
    /// The socket.
    pub(crate) subscriber: Subscriber,
    /// How far it has come.
    pub(crate) progress: Progress,
}

/// What the lock covers.
#[derive(Default)]
pub(super) struct State {
    /// `None` until the gateway has its position in the stream.
    pub(super) recent: Option<Recent>,
    pub(super) degradation: Option<Degradation>,
    pub(super) rooms: HashMap<ChurchId, Room>,
    pub(super) of_address: Headcount<IpAddr>,
    pub(super) emissions: Emissions,
}

impl State {
    /// The subscription of this very socket.
    pub(super) fn subscription(&mut self, subscriber: &Subscriber) -> Option<&mut Subscription> {
        subscription(&mut self.rooms, subscriber)
    }
}

/// The subscription of this very socket.
pub(super) fn subscription<'a>(
    rooms: &'a mut HashMap<ChurchId, Room>,
    subscriber: &Subscriber,
) -> Option<&'a mut Subscription> {
    rooms.get_mut(&subscriber.client.church)?.subscription(&subscriber.socket)
}

impl Hub {
    /// A hub without sockets and without a position in the stream. It sends slow consumers to the receiver.
    pub(crate) fn new(
        limits: SocketLimits,
        transports: Transports,
        counters: Counters,
    ) -> (Self, mpsc::UnboundedReceiver<SlowConsumer>) {
        // Holds at most one entry per socket: a slow consumer is not live again before it has caught up.
        let (slow_consumers, receiver) = mpsc::unbounded_channel();
        let (state, last, throttle) = (Mutex::default(), watch::Sender::new(0), Throttle::once_a_minute());
        (Self { state, last, limits, slow_consumers, transports, counters, throttle }, receiver)
    }

    /// Whether the gateway has its position in the stream.
    pub(crate) fn has_position(&self) -> bool {
        self.state().recent.is_some()
    }

    /// The newest position in the stream.
    pub(crate) fn head(&self) -> Option<Position> {
        self.state().recent.as_ref().and_then(Recent::head)
    }

    /// The sequence that was published last. Changes wake those who wait on the receiver.
    pub(crate) fn last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// The fingerprint at a sequence, if it is remembered.
    pub(crate) fn fingerprint(&self, sequence: u64) -> Option<Fingerprint> {
        self.state().recent.as_ref()?.fingerprint(sequence)
    }

    /// Locks everything.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
