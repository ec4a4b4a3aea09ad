//! How sockets come into their room and leave it.

use std::net::IpAddr;

use common::claims::{Claims, TokenError};
use common::subject::ChurchId;

use crate::connections::{Refusal, Transport};
use crate::metrics::Reason;
use crate::rooms::close_reason::CloseReason;
use crate::rooms::hub::{Hub, State};
use crate::rooms::room::{Room, is_full};
use crate::rooms::subscriber::Subscriber;
use crate::rooms::subscription::Subscription;
use crate::tokens::{RefreshError, Revocations, Term};

impl Hub {
    /// Whether one more socket may come from an address.
    ///
    /// # Errors
    /// The address is at its limit.
    pub(crate) fn check_address(&self, address: IpAddr) -> Result<(), Refusal> {
        self.check_address_in(&self.state(), address)
    }

    fn check_address_in(&self, state: &State, address: IpAddr) -> Result<(), Refusal> {
        let sockets = state.of_address.of(&address);
        if is_full(sockets, self.limits.address) { Err(Refusal::Address) } else { Ok(()) }
    }

    /// Whether one more socket may come with these claims.
    ///
    /// # Errors
    /// The church or the user is at its limit.
    pub(crate) fn check_claims(&self, claims: &Claims) -> Result<(), Refusal> {
        let state = self.state();
        let room = state.rooms.get(&claims.church_id);
        room.map_or(Ok(()), |room| room.check_limits(&claims.user_id, &self.limits))
    }

    /// Subscribes a socket to its church. It gets nothing yet.
    ///
    /// # Errors
    /// Its church, user or address is at its limit.
    pub(crate) fn join(&self, subscriber: &Subscriber, term: Term) -> Result<(), Refusal> {
        let mut state = self.state();
        let (church, address) = (&subscriber.client.church, subscriber.client.address);
        // A client may leave and join again over one session before the leaving is handled.
        self.take_out(&mut state, church, |room| room.take_session(subscriber.socket.id));
        self.check_address_in(&state, address)?;
        // A new room refuses nobody, so none is left behind empty.
        state.rooms.entry(church.clone()).or_default().subscribe(subscriber, term, &self.limits)?;
        state.of_address.add(address);
        self.counters.sockets.inc();
        self.counters.rooms.set(state.rooms.len() as i64);
        Ok(())
    }

    /// Takes a socket out of its room, and closes its transport if a reason is given. If the socket was out already,
    /// its transport stays open: it may carry the client's next socket.
    pub(crate) fn remove(&self, subscriber: &Subscriber, close: Option<CloseReason>) {
        let church = &subscriber.client.church;
        let was_in = self.take_out(&mut self.state(), church, |room| room.take_socket(&subscriber.socket));
        if let Some(reason) = close.filter(|_| was_in) {
            self.close(subscriber, reason);
        }
    }

    /// Takes a subscription away, and the room with its last one. Returns whether there was one.
    fn take_out(
        &self,
        state: &mut State,
        church: &ChurchId,
        take: impl FnOnce(&mut Room) -> Option<Subscription>,
    ) -> bool {
        let Some(room) = state.rooms.get_mut(church) else { return false };
        let Some(subscription) = take(room) else { return false };
        if room.is_empty() {
            state.rooms.remove(church);
        }
        state.of_address.remove(&subscription.subscriber.client.address);
        self.counters.sockets.dec();
        self.counters.rooms.set(state.rooms.len() as i64);
        true
    }

    /// Closes a socket's transport, so that its client comes back and resumes. The socket leaves its room when it has
    /// disconnected.
    pub(crate) fn close(&self, subscriber: &Subscriber, reason: CloseReason) {
        // A socket that has gone may have been closed, and counted, before.
        if reason != CloseReason::Gone {
            self.counters.closes.get_or_create(&Reason { reason: reason.into() }).inc();
        }
        if let Some(transport) = Transport::of(&subscriber.socket) {
            self.transports.close(transport);
        }
    }

    /// Extends a socket's stay to the expiry of a newer token. Returns that expiry in Unix seconds. It checks under the
    /// lock whether the token is revoked, so that no revocation comes between.
    ///
    /// # Errors
    /// Why the token does not replace the one in use.
    pub(crate) fn extend(
        &self,
        subscriber: &Subscriber,
        fresh: &Claims,
        revocations: &Revocations,
    ) -> Result<i64, RefreshError> {
        if fresh.church_id != subscriber.client.church || *fresh.user_id != *subscriber.client.user {
            return Err(RefreshError::AnotherUser);
        }
        let mut state = self.state();
        let term = &mut state.subscription(subscriber).ok_or(RefreshError::TooLate)?.term;
        if term.claim != fresh.claim {
            return Err(RefreshError::AnotherUser);
        }
        if revocations.covers(&fresh.church_id, &fresh.person(), fresh.issued_at) {
            return Err(TokenError::Revoked.into());
        }
        term.extend(fresh)
    }

    /// Calls a function with every subscription. No event is sent meanwhile.
    pub(crate) fn for_each(&self, act: impl FnMut(&mut Subscription)) {
        self.state().rooms.values_mut().flat_map(Room::subscriptions).for_each(act);
    }

    /// All sockets.
    pub(crate) fn subscribers(&self) -> Vec<Subscriber> {
        self.state().rooms.values().flat_map(Room::subscribers).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::test_hub::hub;
    use crate::rooms::test_sockets::{subscriber, two_of_one_session};

    #[tokio::test]
    async fn a_socket_is_taken_out_once_and_only_then_its_transport_is_closed() {
        let (_io, [earlier, later]) = two_of_one_session().await;
        let ((earlier, term), (later, fresh)) = (subscriber(&earlier), subscriber(&later));
        let (hub, _) = hub();
        hub.join(&earlier, term).unwrap();
        hub.join(&later, fresh).unwrap();
        let sockets = || (hub.counters.sockets.get(), hub.counters.rooms.get());
        let closes = || hub.counters.closes.get_or_create(&Reason { reason: "slow" }).get();
        assert_eq!(sockets(), (1, 1), "they are of one session");
        hub.remove(&earlier, Some(CloseReason::Slow));
        assert_eq!((sockets(), closes()), ((1, 1), 0));
        hub.remove(&later, Some(CloseReason::Slow));
        hub.remove(&later, Some(CloseReason::Slow));
        assert_eq!((sockets(), closes()), ((0, 0), 1));
        assert_eq!(hub.state().of_address.of(&later.client.address), 0);
    }
}
