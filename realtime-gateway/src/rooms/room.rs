//! The sockets of one church.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use socketioxide::socket::{Sid, Socket};

use crate::connections::limits::{Refusal, SeatLimits};
use crate::feed::health::{DEGRADED, Degraded, Lapse};
use crate::rooms::subscriber::{Member, Unsent, is_same};
use crate::session::clock::Term;

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

    /// Takes a socket's seat away. The seat of a later socket of the same session stays.
    pub(crate) fn leave(&mut self, socket: &Socket) -> Option<Seat> {
        self.seat(socket)?;
        self.clear(socket.id)
    }

    /// Takes the seat of a session away, whichever of its sockets has it.
    pub(crate) fn clear(&mut self, sid: Sid) -> Option<Seat> {
        let seat = self.seats.remove(&sid)?;
        self.of_user.remove(&seat.member.user);
        Some(seat)
    }

    /// The seat of this very socket.
    pub(crate) fn seat(&mut self, socket: &Socket) -> Option<&mut Seat> {
        self.seats.get_mut(&socket.id).filter(|seat| is_same(&seat.member.socket, socket))
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
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use common::claims::{Claims, IdClaim};
    use socketioxide::SocketIo;
    use socketioxide::extract::SocketRef;
    use tokio::sync::mpsc;
    use tower::ServiceExt as _;

    use super::*;
    use crate::connections::credit::{Credit, CreditLimit};

    const BOUNDLESS: SeatLimits = SeatLimits { church: 0, user: 0, address: 0 };

    /// Two sockets of one session: a client connects, leaves the namespace and connects again.
    async fn two_of_one_session() -> [SocketRef; 2] {
        let (service, io) = SocketIo::new_svc();
        let (came, mut coming) = mpsc::unbounded_channel();
        io.ns("/", async move |socket: SocketRef| came.send(socket).unwrap());
        let ask = async |method: &str, session: &str, packet: &'static str| {
            let uri = format!("/socket.io/?EIO=4&transport=polling{session}");
            let request = Request::builder().method(method).uri(uri).body(Body::from(packet)).unwrap();
            let answer = service.clone().oneshot(request).await.unwrap();
            to_bytes(Body::new(answer.into_body()), usize::MAX).await.unwrap()
        };
        let opened = ask("GET", "", "").await;
        let opened: serde_json::Value = serde_json::from_slice(opened.strip_prefix(b"0").unwrap()).unwrap();
        let session = format!("&sid={}", opened["sid"].as_str().unwrap());
        ask("POST", &session, "40").await;
        let first = coming.recv().await.unwrap();
        ask("POST", &session, "41").await;
        ask("POST", &session, "40").await;
        [first, coming.recv().await.unwrap()]
    }

    fn member(socket: &SocketRef) -> (Member, Term) {
        let church_id: common::subject::ChurchId = "grace".parse().unwrap();
        let credit = Arc::new(Credit::new(CreditLimit { packets: 8, bytes: 1_000 }));
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let (socket, church, user) = (socket.clone(), church_id.clone(), "ann".into());
        let member = Member { socket, church, user, address, credit };
        let user_id = "ann".into();
        let claims =
            Claims { user_id, claim: IdClaim::UserId, church_id, expires_at: 1_000, issued_at: None };
        (member, Term::of(&claims))
    }

    #[tokio::test]
    async fn a_socket_that_leaves_late_takes_no_seat_from_a_later_one_of_its_session() {
        let [first, second] = two_of_one_session().await;
        assert_eq!(first.id, second.id);
        let mut room = Room::default();
        let (member, term) = member(&second);
        room.sit(&member, term, &BOUNDLESS).unwrap();
        assert!(room.seat(&first).is_none() && room.leave(&first).is_none());
        assert!(room.seat(&second).is_some() && room.leave(&second).is_some());
        assert!(room.is_empty() && room.of_user.0.is_empty());
    }

    #[test]
    fn a_count_that_fell_to_zero_is_not_kept() {
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
