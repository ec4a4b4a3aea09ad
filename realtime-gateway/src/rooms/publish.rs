//! Where events go out: to all live sockets of their church.

use common::status::MessageStatus;
use common::subject::{self, ChurchId, Topic};
use common::trace_context;
use time::OffsetDateTime;
use tracing::{debug, info, warn};

use crate::events::decode::Prepared;
use crate::events::{DecodeError, Degradation, Event, News, Packets};
use crate::memory::{Progress, Recent};
use crate::rooms::emissions::Emission;
use crate::rooms::hub::{Hub, SlowConsumer, State};
use crate::rooms::room::Room;
use crate::rooms::subscriber::{Subscriber, Unsent};
use crate::rooms::subscription::Subscription;
use crate::stream::Stored;

impl Hub {
    /// Takes the next message of the stream and sends its event to the church.
    pub(crate) fn publish(&self, stored: &Stored) {
        let mut state = self.state();
        let State { recent: Some(recent), rooms, emissions, .. } = &mut *state else { return };
        let Prepared { event, error, .. } = recent.take(stored);
        if let Some(event) = &event {
            self.count(event);
            let mut sockets = 0;
            for subscription in rooms.get_mut(&event.church).into_iter().flat_map(Room::subscriptions) {
                sockets += u32::from(self.send_live(subscription, event, recent));
            }
            let (sequence, church, at) = (event.sequence, event.church.clone(), OffsetDateTime::now_utc());
            emissions.note(Emission { sequence, church, sockets, at });
        }
        self.measure(recent);
        self.last.send_replace(stored.sequence);
        drop(state);
        match (error, event) {
            (Some(error), _) => self.note_foreign(stored, &error),
            (None, Some(event)) => log_emitted(&event, stored),
            (None, None) => {}
        }
    }

    fn count(&self, event: &Event) {
        let Some(at) = event.at() else { return };
        let age = OffsetDateTime::now_utc() - at;
        self.counters.events.inc();
        self.counters.event_age.observe(age.as_seconds_f64().max(0.0));
    }

    /// Returns whether the socket got all packets. One that has no room for all gets the rest when it has.
    fn send_live(&self, subscription: &mut Subscription, event: &Event, recent: &Recent) -> bool {
        if !subscription.live {
            return false;
        }
        let (sent, outcome) = subscription.subscriber.send(event, 0);
        self.counters.deliveries.inc_by(sent as u64);
        match outcome {
            Ok(()) => {}
            Err(Unsent::Full) => self.fall_behind(subscription, recent.progress(event.sequence - 1, sent)),
            Err(Unsent::Gone) => subscription.mark_gone(),
        }
        outcome.is_ok()
    }

    /// Takes a slow consumer from the live events. It catches up at its own pace.
    fn fall_behind(&self, subscription: &mut Subscription, progress: Progress) {
        subscription.live = false;
        self.counters.slow_consumers.inc();
        let subscriber = subscription.subscriber.clone();
        let Subscriber { client, socket } = &subscriber;
        debug!(church.id = %client.church, socket.id = %socket.id, "a slow consumer falls behind");
        // The receiver is gone only when the gateway stops.
        let _ = self.slow_consumers.send(SlowConsumer { subscriber, progress });
    }

    fn note_foreign(&self, stored: &Stored, error: &DecodeError) {
        self.counters.foreign.inc();
        if let Some(held_back) = self.throttle.opens("foreign") {
            let (sequence, subject) = (stored.sequence, &stored.subject);
            warn!(
                sequence, subject, %error, held_back,
                "can't read a message in the stream; its church's clients are told to load anew"
            );
        }
    }

    /// Begins at a position in another stream, or behind a gap: each live client is told that it may have missed
    /// events.
    pub(crate) fn begin_at(&self, mut recent: Recent) {
        let mut state = self.state();
        let State { recent: known, rooms, emissions, .. } = &mut *state;
        let before = known.take();
        recent.generation = before.as_ref().map_or(0, |before| before.generation + 1);
        let recent = known.insert(recent);
        self.last.send_replace(recent.last());
        emissions.begin_after(recent.last());
        self.measure(recent);
        let (Some(before), Some(head)) = (before, recent.head()) else { return };
        for (church, room) in rooms {
            let cursor = head.cursor(church);
            for subscription in room.subscriptions().filter(|subscription| subscription.live) {
                match subscription.welcome(&cursor, false) {
                    Ok(()) => {}
                    // Its progress is void by now: unless its queue has room in time, it is closed as slow.
                    Err(Unsent::Full) => self.fall_behind(subscription, before.progress(before.last(), 0)),
                    Err(Unsent::Gone) => subscription.mark_gone(),
                }
            }
        }
    }

    /// Tells all clients, and each that comes later, that events may be late; with `None`, that this has ended. Clients
    /// that know are not told again.
    pub(crate) fn tell_degraded(&self, degradation: Option<&Degradation>) {
        let mut state = self.state();
        let State { degradation: known, rooms, .. } = &mut *state;
        if known.as_ref() != degradation {
            *known = degradation.cloned();
        }
        rooms.values_mut().flat_map(Room::subscriptions).for_each(|one| one.tell_degraded(degradation));
    }

    /// Whether a church has a socket here.
    pub(crate) fn has_sockets(&self, church: &ChurchId) -> bool {
        self.state().rooms.contains_key(church)
    }

    /// Sends a replayed event to a church's live sockets. Returns how many sockets did not get it, because they have
    /// other packets waiting.
    pub(crate) fn replay(&self, church: &ChurchId, packets: &Packets) -> u64 {
        let mut state = self.state();
        let mut skipped = 0;
        for subscription in state.rooms.get_mut(church).into_iter().flat_map(Room::subscriptions) {
            if !subscription.live {
                skipped += 1;
                continue;
            }
            let (sent, outcome) = subscription.subscriber.replay(packets);
            self.counters.deliveries.inc_by(sent as u64);
            match outcome {
                Ok(()) => {}
                Err(Unsent::Full) => skipped += 1,
                Err(Unsent::Gone) => subscription.mark_gone(),
            }
        }
        skipped
    }

    fn measure(&self, recent: &Recent) {
        let (events, bytes) = recent.size();
        self.counters.memory_events.set(events as i64);
        self.counters.memory_bytes.set(bytes as i64);
    }
}

/// Logs a change of status at `info`, and mere progress at `debug`.
fn log_emitted(event: &Event, stored: &Stored) {
    let (church, sequence) = (&event.church, event.sequence);
    let _traced = trace_context::span(stored.trace.as_ref()).entered();
    if let News::Inbound { id, .. } = event.news {
        info!(inbound.id = %id, church.id = %church, sequence, "emitted");
    }
    let Some((message, status)) = event.message() else { return };
    let word = status.as_str();
    let accepted = matches!(subject::parse(&stored.subject), Some((_, Topic::Sent)));
    if accepted || status != MessageStatus::Pending {
        info!(message.id = %message, church.id = %church, sequence, status = word, "emitted");
    } else {
        debug!(message.id = %message, church.id = %church, sequence, status = word, "emitted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::Share;
    use crate::memory::RecentLimits;
    use crate::rooms::go_live::Next;
    use crate::rooms::test_hub::hub;
    use crate::rooms::test_sockets::{subscriber, two_of_one_session};

    fn empty_stream(created: u64) -> Recent {
        Recent::new(RecentLimits { events: 1, bytes: 1, church_events: 1 }, created, 0, None)
    }

    #[tokio::test]
    async fn a_live_socket_without_room_hears_of_another_stream_when_it_catches_up() {
        let (_io, [_, socket]) = two_of_one_session().await;
        let (subscriber, term) = subscriber(&socket);
        let (hub, mut slow_consumers) = hub();
        hub.begin_at(empty_stream(1));
        hub.join(&subscriber, term).unwrap();
        hub.begin_at_head(&subscriber).unwrap();
        while subscriber.client.credit.take(1, Share::Whole).is_ok() {}
        hub.begin_at(empty_stream(2));
        let SlowConsumer { subscriber, mut progress } = slow_consumers.try_recv().unwrap();
        assert!(matches!(hub.next(&subscriber, &mut progress), Ok(Next::Lost)));
        assert_eq!(hub.begin_at_head(&subscriber), Err(Unsent::Full));
        hub.begin_at(empty_stream(3));
        assert!(slow_consumers.try_recv().is_err(), "it is not live any more");
    }
}
