//! The subscriptions of one church.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use socketioxide::socket::{Sid, Socket};

use crate::connections::{Refusal, SocketLimits};
use crate::rooms::subscriber::{Subscriber, is_same};
use crate::rooms::subscription::Subscription;
use crate::tokens::Term;

/// The subscriptions of one church.
#[derive(Default)]
pub(super) struct Room {
    subscriptions: HashMap<Sid, Subscription>,
    of_user: Headcount<Arc<str>>,
}

impl Room {
    /// Whether one more socket of a user may come.
    ///
    /// # Errors
    /// The church or the user is at its limit.
    pub(super) fn check_limits(&self, user: &str, limits: &SocketLimits) -> Result<(), Refusal> {
        if is_full(self.subscriptions.len(), limits.church) {
            return Err(Refusal::Church);
        }
        if is_full(self.of_user.of(user), limits.user) { Err(Refusal::User) } else { Ok(()) }
    }

    /// Subscribes a socket. It gets nothing yet.
    ///
    /// # Errors
    /// The church or the user is at its limit.
    pub(super) fn subscribe(
        &mut self,
        subscriber: &Subscriber,
        term: Term,
        limits: &SocketLimits,
    ) -> Result<(), Refusal> {
        self.check_limits(&subscriber.client.user, limits)?;
        self.subscriptions.insert(subscriber.socket.id, Subscription::new(subscriber.clone(), term));
        self.of_user.add(subscriber.client.user.clone());
        Ok(())
    }

    /// Takes a socket's subscription away. That of a later socket of the same session stays.
    pub(super) fn take_socket(&mut self, socket: &Socket) -> Option<Subscription> {
        self.subscription(socket)?;
        self.take_session(socket.id)
    }

    /// Takes the subscription of a session away, whichever of its sockets has it.
    pub(super) fn take_session(&mut self, sid: Sid) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(&sid)?;
        self.of_user.remove(&subscription.subscriber.client.user);
        Some(subscription)
    }

    /// The subscription of this very socket.
    pub(super) fn subscription(&mut self, socket: &Socket) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(&socket.id).filter(|one| is_same(&one.subscriber.socket, socket))
    }

    /// All subscriptions.
    pub(super) fn subscriptions(&mut self) -> impl Iterator<Item = &mut Subscription> {
        self.subscriptions.values_mut()
    }

    /// All sockets.
    pub(super) fn subscribers(&self) -> impl Iterator<Item = &Subscriber> {
        self.subscriptions.values().map(|subscription| &subscription.subscriber)
    }

    /// Whether no socket is here.
    pub(super) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }
}

/// Whether a limit is reached; 0 is no limit.
pub(super) fn is_full(sockets: usize, limit: usize) -> bool {
    limit > 0 && sockets >= limit
}

/// Counts by key. Keys with a count of zero are not kept.
pub(super) struct Headcount<K>(HashMap<K, usize>);

impl<K> Default for Headcount<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Headcount<K> {
    /// The count of a key.
    pub(super) fn of<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(key).copied().unwrap_or(0)
    }

    /// Adds one.
    pub(super) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    /// Takes one away.
    pub(super) fn remove(&mut self, key: &K) {
        let Some(count) = self.0.get_mut(key) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::test_sockets::{subscriber, two_of_one_session};

    const BOUNDLESS: SocketLimits = SocketLimits { church: 0, user: 0, address: 0 };

    #[tokio::test]
    async fn a_socket_that_leaves_late_does_not_unsubscribe_a_later_one_of_its_session() {
        let (_io, [first, second]) = two_of_one_session().await;
        assert_eq!(first.id, second.id);
        let mut room = Room::default();
        let (subscriber, term) = subscriber(&second);
        room.subscribe(&subscriber, term, &BOUNDLESS).unwrap();
        assert!(room.subscription(&first).is_none() && room.take_socket(&first).is_none());
        assert!(room.subscription(&second).is_some() && room.take_socket(&second).is_some());
        assert!(room.is_empty() && room.of_user.0.is_empty());
    }

    #[test]
    fn a_count_of_zero_is_not_kept() {
        let mut count = Headcount::default();
        ["ann", "ann", "bob"].into_iter().for_each(|user| count.add(user));
        assert_eq!((count.of(&"ann"), count.of(&"bob"), count.of(&"eve")), (2, 1, 0));
        ["ann", "bob", "ann", "eve"].iter().for_each(|user| count.remove(user));
        assert!(count.0.is_empty());
    }

    #[test]
    fn a_limit_of_zero_is_never_reached() {
        assert!(!is_full(1_000_000, 0));
        assert_eq!((is_full(1, 2), is_full(2, 2)), (false, true));
    }
}
