//! A socket's subscription to the events of its church.

use crate::events::{DEGRADED, Degradation, Degraded};
use crate::rooms::subscriber::{Subscriber, Unsent};
use crate::tokens::Term;

/// A socket's subscription to the events of its church.
pub(crate) struct Subscription {
    /// The socket.
    pub(crate) subscriber: Subscriber,
    /// It gets each event as the stream brings it. Not while it catches up.
    pub(crate) live: bool,
    /// How long it may stay.
    pub(crate) term: Term,
    /// It got its first packet. No other packet may come before that.
    pub(crate) welcomed: bool,
    /// It was told that events may be late.
    knows_degraded: bool,
}

impl Subscription {
    /// A subscription that gets nothing yet.
    pub(super) fn new(subscriber: Subscriber, term: Term) -> Self {
        Self { subscriber, live: false, term, welcomed: false, knows_degraded: false }
    }

    /// Sends the first packet, or the same packet again when the stream is another one.
    ///
    /// # Errors
    /// Why it was not sent.
    pub(super) fn welcome(&mut self, cursor: &str, recovered: bool) -> Result<(), Unsent> {
        self.subscriber.welcome(cursor, recovered)?;
        self.welcomed = true;
        Ok(())
    }

    /// Tells the client that events may be late, or that this has ended, unless it knows. If its queue is full, the
    /// next call tells it.
    pub(super) fn tell_degraded(&mut self, degradation: Option<&Degradation>) {
        if !self.welcomed || self.knows_degraded == degradation.is_some() {
            return;
        }
        match self.subscriber.emit(DEGRADED, &Degraded::of(degradation)) {
            Ok(()) => self.knows_degraded = degradation.is_some(),
            Err(Unsent::Full) => {}
            Err(Unsent::Gone) => self.mark_gone(),
        }
    }

    /// Notes that the socket has disconnected. Its handler removes the subscription; if that was missed, the clock of
    /// the tokens does.
    pub(crate) fn mark_gone(&mut self) {
        self.live = false;
        self.term.end();
    }
}
