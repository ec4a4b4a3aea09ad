//! Serves sockets that are not live yet, up to the moment in which they go live.

use std::sync::Arc;
use std::time::Duration;

use common::subject::ChurchId;

use crate::events::Event;
use crate::memory::{Page, Progress, Proof};
use crate::rooms::hub::{Hub, State, subscription};
use crate::rooms::subscriber::{Subscriber, Unsent};
use crate::stream::Position;

/// Events that are sent at once where many are ready, so that they fit into a socket's queue.
pub(crate) const STRIDE: usize = 32;
/// Pause between two strides, in which the sockets' writers run.
pub(crate) const PACE: Duration = Duration::from_millis(2);

/// What comes next for a socket that catches up.
pub(crate) enum Next {
    /// These events; then ask again.
    Events(Vec<Arc<Event>>),
    /// Events up to this sequence, which have to be read from the stream.
    Older(u64),
    /// Nothing: the socket is live.
    Live,
    /// Its progress is void: the gateway follows another stream, or begins behind a gap.
    Lost,
}

impl Hub {
    /// Whether a church can be told everything after a position, without a hole.
    pub(crate) fn prove(&self, church: &ChurchId, position: &Position) -> Proof {
        self.state().recent.as_ref().map_or(Proof::Refuted, |recent| recent.prove(church, position))
    }

    /// Keeps what a page of history shows: in which span the church was quiet. The next client need not read it again.
    pub(crate) fn note_quiet(&self, church: &ChurchId, progress: &Progress, page: &Page) {
        let mut state = self.state();
        let recent = state.recent.as_mut().filter(|recent| recent.generation == progress.generation);
        if let (Some(recent), (after, Some(fingerprint))) = (recent, page.last) {
            recent.note_quiet(church, after, fingerprint, page.reach);
        }
    }

    /// Makes a socket live at the head of the stream, and tells its client that it may have missed events.
    ///
    /// # Errors
    /// Why it was not told. The socket is not live then.
    pub(crate) fn begin_at_head(&self, subscriber: &Subscriber) -> Result<(), Unsent> {
        let mut state = self.state();
        let State { recent, rooms, degradation, .. } = &mut *state;
        let head = recent.as_ref().and_then(|recent| recent.head()).ok_or(Unsent::Gone)?;
        let subscription = subscription(rooms, subscriber).ok_or(Unsent::Gone)?;
        subscription.welcome(&head.cursor(&subscriber.client.church), false)?;
        subscription.live = true;
        subscription.tell_degraded(degradation.as_ref());
        Ok(())
    }

    /// Tells a client that it will miss nothing after its cursor. The socket is not live yet.
    ///
    /// # Errors
    /// Why it was not told.
    pub(crate) fn begin_at_cursor(&self, subscriber: &Subscriber, cursor: &str) -> Result<(), Unsent> {
        let mut state = self.state();
        let State { rooms, degradation, .. } = &mut *state;
        let subscription = subscription(rooms, subscriber).ok_or(Unsent::Gone)?;
        subscription.welcome(cursor, true)?;
        subscription.tell_degraded(degradation.as_ref());
        Ok(())
    }

    /// What comes next for a socket that catches up. The last few events are sent here under the lock, and then the
    /// socket is live: no event can come between.
    ///
    /// # Errors
    /// Why not all of the last events got into the queue.
    pub(crate) fn next(&self, subscriber: &Subscriber, progress: &mut Progress) -> Result<Next, Unsent> {
        let mut state = self.state();
        let State { recent: Some(recent), rooms, .. } = &mut *state else { return Ok(Next::Lost) };
        if recent.generation != progress.generation {
            return Ok(Next::Lost);
        }
        let church = &subscriber.client.church;
        let floor = recent.floor(church);
        if progress.sequence < floor {
            return Ok(Next::Older(floor));
        }
        let mut events = recent.after(church, progress.sequence);
        let next: Vec<_> = events.by_ref().take(STRIDE).cloned().collect();
        if events.next().is_some() {
            return Ok(Next::Events(next));
        }
        for event in &next {
            self.send_one(subscriber, event, progress)?;
        }
        subscription(rooms, subscriber).ok_or(Unsent::Gone)?.live = true;
        Ok(Next::Live)
    }

    /// Sends the missing packets of one event to a socket that catches up.
    ///
    /// # Errors
    /// Why not all of them got into the queue; the progress tells how many did.
    pub(crate) fn send_one(
        &self,
        subscriber: &Subscriber,
        event: &Event,
        progress: &mut Progress,
    ) -> Result<(), Unsent> {
        if event.sequence <= progress.sequence {
            return Ok(());
        }
        let (sent, outcome) = subscriber.send(event, progress.packets);
        self.counters.deliveries.inc_by(sent as u64);
        progress.packets += sent;
        outcome?;
        *progress = Progress { sequence: event.sequence, packets: 0, ..*progress };
        Ok(())
    }
}
