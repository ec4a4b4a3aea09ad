//! The sockets of one church.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use socketioxide::socket::Sid;

use crate::admission::{Refusal, SeatLimits};
use crate::member::{Member, Unsent};
use crate::session::Term;
use crate::standing::{DEGRADED, Degraded, Lapse};

/// A socket's place in its room.
pub(crate) struct Seat {
    /// Whose it is.
    pub(crate) member: Member,
    /// Whether it gets events as they come. Not while it catches up; never again after a packet was dropped.
    pub(crate) live: bool,
    /// How long it may stay.
    pub(crate) term: Term,
    /// Whether it got its first packet, before which nothing else may come.
    pub(crate) welcomed: bool,
    /// Whether it was told that events may be late.
    in_lapse: bool,
}

impl Seat {
    fn new(member: Member, term: Term) -> Self {
        Self { member, live: false, term, welcomed: false, in_lapse: false }
    }

    /// Tells the client where it is: `recovered` says that it misses nothing.
    ///
    /// # Errors
    /// Why it was not told.
    pub(crate) fn welcome(&mut self, cursor: &str, recovered: bool) -> Result<(), Unsent> {
        self.member.welcome(cursor, recovered)?;
        self.welcomed = true;
        Ok(())
    }

    /// Tells the client that events may be late, or are not any more, if it does not know yet. If its queue is full it is
    /// told a little later.
    pub(crate) fn tell(&mut self, lapse: Option<&Lapse>) {
        if !self.welcomed || self.in_lapse == lapse.is_some() {
            return;
        }
        match self.member.emit(DEGRADED, &Degraded::of(lapse)) {
            Ok(()) => self.in_lapse = lapse.is_some(),
            Err(Unsent::Full) => {}
            Err(Unsent::Gone) => self.gone(),
        }
    }

    /// Its socket is not there any more. That is told soon; if it was missed, the seat is left over and taken away.
    pub(crate) fn gone(&mut self) {
        self.live = false;
        self.term.end();
    }
}

/// A church's sockets.
#[derive(Default)]
pub(crate) struct Room {
    seats: HashMap<Sid, Seat>,
    of_user: Headcount<Arc<str>>,
}

impl Room {
    /// Whether one more socket of a user may come.
    ///
    /// # Errors
    /// The church or the user has all its sockets.
    pub(crate) fn has_seat(&self, user: &str, limits: &SeatLimits) -> Result<(), Refusal> {
        if is_full(self.seats.len(), limits.church) {
            return Err(Refusal::Church);
        }
        if is_full(self.of_user.of(user), limits.user) { Err(Refusal::User) } else { Ok(()) }
    }

    /// Gives a socket its seat, in which it gets nothing yet.
    ///
    /// # Errors
    /// The church or the user has all its sockets.
    pub(crate) fn sit(&mut self, member: &Member, term: Term, limits: &SeatLimits) -> Result<(), Refusal> {
        self.has_seat(&member.user, limits)?;
        self.seats.insert(member.socket.id, Seat::new(member.clone(), term));
        self.of_user.add(member.user.clone());
        Ok(())
    }

    /// Takes a socket's seat away.
    pub(crate) fn leave(&mut self, sid: Sid) -> Option<Seat> {
        let seat = self.seats.remove(&sid)?;
        self.of_user.remove(&seat.member.user);
        Some(seat)
    }

    /// The seat of a socket.
    pub(crate) fn seat(&mut self, sid: Sid) -> Option<&mut Seat> {
        self.seats.get_mut(&sid)
    }

    /// All seats.
    pub(crate) fn seats(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.seats.values_mut()
    }

    /// All sockets.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.seats.values().map(|seat| &seat.member)
    }

    /// Whether nobody is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }
}

/// Whether a limit is reached; 0 is no limit.
pub(crate) fn is_full(sockets: usize, limit: usize) -> bool {
    limit > 0 && sockets >= limit
}

/// How many there are of each.
pub(crate) struct Headcount<K>(HashMap<K, usize>);

impl<K> Default for Headcount<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Headcount<K> {
    /// How many of this one.
    pub(crate) fn of<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(key).copied().unwrap_or(0)
    }

    /// One more.
    pub(crate) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    /// One less.
    pub(crate) fn remove(&mut self, key: &K) {
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

    #[test]
    fn whoever_has_left_leaves_no_trace() {
        let mut count = Headcount::default();
        ["ann", "ann", "bob"].into_iter().for_each(|user| count.add(user));
        assert_eq!((count.of(&"ann"), count.of(&"bob"), count.of(&"eve")), (2, 1, 0));
        ["ann", "bob", "ann", "eve"].iter().for_each(|user| count.remove(user));
        assert!(count.0.is_empty());
    }

    #[test]
    fn no_limit_is_never_reached() {
        assert!(!is_full(1_000_000, 0));
        assert_eq!((is_full(1, 2), is_full(2, 2)), (false, true));
    }
}
