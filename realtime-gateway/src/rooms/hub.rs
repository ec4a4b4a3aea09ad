//! The churches and their sockets: what comes from the stream goes out here, in order, and nothing twice.
//!
//! One lock covers the memory and the sockets, so that a socket takes its place between two events and never in the
//! middle of one. Nothing waits while the lock is held: handing a packet to a socket only puts it into a queue.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::claims::{Claims, TokenError};
use common::status::MessageStatus;
use common::subject::{self, ChurchId, Topic};
use socketioxide::socket::Socket;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::connections::limits::{Refusal, SeatLimits};
use crate::connections::transports::{Carrier, Transports};
use crate::events::decode::Foreign;
use crate::events::packets::Packets;
use crate::feed::health::Lapse;
use crate::memory::followed::{Followed, Progress, Proof};
use crate::memory::history::Page;
use crate::memory::recent::{Event, Memory};
use crate::metrics::{Counters, Reason};
use crate::rooms::room::{Headcount, Room, Seat, is_full};
use crate::rooms::subscriber::{Member, Unsent};
use crate::session::clock::{RefreshError, Term};
use crate::stream::cursor::{Fingerprint, Place};
use crate::stream::reader::Stored;
use crate::tokens::revocations::Revocations;

/// At most so many events are sent in one go where many are there at once, so that they fit into a socket's queue.
pub(crate) const STRIDE: usize = 32;

/// Between two strides the sockets' writers get their turn.
pub(crate) const PACE: Duration = Duration::from_millis(2);

/// All of it, shared by the tasks of a gateway.
pub(crate) struct Hub {
    state: Mutex<State>,
    last: watch::Sender<u64>,
    seats: SeatLimits,
    laggards: mpsc::UnboundedSender<Laggard>,
    transports: Transports,
    counters: Counters,
}

/// A socket whose queue was full: nothing is lost yet, and it goes on at its own pace.
pub(crate) struct Laggard {
    /// The socket.
    pub(crate) member: Member,
    /// How far it is.
    pub(crate) progress: Progress,
}

#[derive(Default)]
struct State {
    stream: Option<Followed>,
    lapse: Option<Lapse>,
    rooms: HashMap<ChurchId, Room>,
    of_address: Headcount<IpAddr>,
}

impl State {
    fn has_seat_from(&self, address: IpAddr, limits: &SeatLimits) -> Result<(), Refusal> {
        if is_full(self.of_address.of(&address), limits.address) { Err(Refusal::Address) } else { Ok(()) }
    }

    /// Takes a seat away, and the room with its last one. Says whether there was one.
    fn vacate(&mut self, church: &ChurchId, leave: impl FnOnce(&mut Room) -> Option<Seat>) -> bool {
        let Some(room) = self.rooms.get_mut(church) else { return false };
        let Some(seat) = leave(room) else { return false };
        if room.is_empty() {
            self.rooms.remove(church);
        }
        self.of_address.remove(&seat.member.address);
        true
    }
}

/// What comes next for a socket that catches up.
pub(crate) enum Next {
    /// These events, and then ask again.
    Events(Vec<Arc<Event>>),
    /// It is below the church's floor: what comes next has to be read from the stream, up to this sequence.
    Older(u64),
    /// Nothing: it gets events as they come from now on.
    Live,
    /// The place it had counts no more.
    Lost,
}

impl Hub {
    /// A hub without sockets that has no place in the stream yet, and where it reports those who lag behind.
    pub(crate) fn new(
        seats: SeatLimits,
        transports: Transports,
        counters: Counters,
    ) -> (Self, mpsc::UnboundedReceiver<Laggard>) {
        // Not more than one for each socket: who lags behind gets nothing here until it has caught up.
        let (laggards, lagging) = mpsc::unbounded_channel();
        let (state, last) = (Mutex::default(), watch::Sender::new(0));
        (Self { state, last, seats, laggards, transports, counters }, lagging)
    }

    /// Whether the gateway knows where it is in the stream.
    pub(crate) fn has_place(&self) -> bool {
        self.state().stream.is_some()
    }

    /// The newest place in the stream.
    pub(crate) fn head(&self) -> Option<Place> {
        self.state().stream.as_ref().and_then(Followed::head)
    }

    /// The sequence that was handed on last; changes wake those who wait on the receiver.
    pub(crate) fn last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// What stands at a sequence, if that is remembered.
    pub(crate) fn fingerprint(&self, sequence: u64) -> Option<Fingerprint> {
        self.state().stream.as_ref()?.memory.fingerprint(sequence)
    }

    /// Begins with another stream, or at another place: every client is told that it may miss
    /// something.
    pub(crate) fn take_place(&self, created: u64, memory: Memory) {
        let mut state = self.state();
        let State { stream, rooms, .. } = &mut *state;
        let generation = stream.as_ref().map_or(0, |stream| stream.generation + 1);
        let stream = stream.insert(Followed { created, generation, memory });
        self.last.send_replace(stream.memory.last());
        self.measure(stream);
        let Some(head) = stream.head() else { return };
        for (church, room) in rooms {
            let cursor = head.cursor(church);
            for seat in room.seats().filter(|seat| seat.live) {
                let outcome = seat.welcome(&cursor, false);
                self.settle(seat, outcome);
            }
        }
    }

    /// Tells every socket whether events may be late, as far as it was not told yet, and so each that
    /// comes later.
    pub(crate) fn tell(&self, lapse: Option<&Lapse>) {
        let mut state = self.state();
        let State { lapse: known, rooms, .. } = &mut *state;
        if known.as_ref() != lapse {
            *known = lapse.cloned();
        }
        rooms.values_mut().flat_map(Room::seats).for_each(|seat| seat.tell(lapse));
    }

    /// Takes the next message of the stream and sends its event to the church.
    pub(crate) fn publish(&self, stored: &Stored) {
        let mut state = self.state();
        let State { stream: Some(stream), rooms, .. } = &mut *state else { return };
        let mut emitted = None;
        match stream.memory.take(stream.created, stored) {
            Ok(event) => {
                self.counters.events.inc();
                let age = OffsetDateTime::now_utc() - event.at;
                self.counters.event_age.observe(age.as_seconds_f64().max(0.0));
                emitted = Some(event.clone());
                for seat in rooms.get_mut(&event.church).into_iter().flat_map(Room::seats) {
                    self.send_to_seat(seat, &event, stream);
                }
            }
            Err(Foreign::Internal) => {}
            Err(error) => self.foreign(stored, &error),
        }
        self.measure(stream);
        self.last.send_replace(stored.sequence);
        drop(state);
        if let Some(event) = emitted {
            tell(&event, stored);
        }
    }

    fn foreign(&self, stored: &Stored, error: &Foreign) {
        self.counters.foreign.inc();
        warn!(sequence = stored.sequence, subject = stored.subject, %error, "a message in the stream is no event");
    }

    /// Sends an event in its turn. A full queue loses nothing: the rest is sent when there is room.
    fn send_to_seat(&self, seat: &mut Seat, event: &Event, stream: &Followed) {
        if !seat.live {
            return;
        }
        let (sent, outcome) = seat.member.send(&event.packets, 0);
        self.counters.deliveries.inc_by(sent as u64);
        match outcome {
            Ok(()) => {}
            Err(Unsent::Full) => {
                seat.live = false;
                self.counters.laggards.inc();
                debug!(church.id = %seat.member.church, socket.id = %seat.member.socket.id, "lags behind");
                let progress = stream.progress(event.sequence - 1, sent);
                // Nobody listens any more when the gateway ends.
                let _ = self.laggards.send(Laggard { member: seat.member.clone(), progress });
            }
            Err(Unsent::Gone) => seat.gone(),
        }
    }

    /// Whether a church has a socket here.
    pub(crate) fn has_sockets(&self, church: &ChurchId) -> bool {
        self.state().rooms.contains_key(church)
    }

    /// Sends an event that is not in its turn to the church's live sockets, and says how many of its sockets did not get
    /// it: those have other things waiting.
    pub(crate) fn replay(&self, church: &ChurchId, packets: &Packets) -> u64 {
        let mut state = self.state();
        let mut skipped = 0;
        for seat in state.rooms.get_mut(church).into_iter().flat_map(Room::seats) {
            if !seat.live {
                skipped += 1;
                continue;
            }
            let (sent, outcome) = seat.member.replay(packets);
            self.counters.deliveries.inc_by(sent as u64);
            match outcome {
                Ok(()) => {}
                Err(Unsent::Full) => skipped += 1,
                Err(Unsent::Gone) => seat.gone(),
            }
        }
        skipped
    }

    /// A socket that has lost a packet gets nothing more and has to come back.
    fn settle(&self, seat: &mut Seat, outcome: Result<(), Unsent>) {
        match outcome {
            Ok(()) => {}
            Err(Unsent::Full) => {
                seat.live = false;
                self.close(&seat.member, "slow");
            }
            Err(Unsent::Gone) => seat.gone(),
        }
    }

    /// Closes a socket's transport, so that its client comes back and resumes.
    pub(crate) fn close(&self, member: &Member, reason: &'static str) {
        self.counters.closes.get_or_create(&Reason { reason }).inc();
        if let Some(carrier) = Carrier::of(&member.socket) {
            self.transports.close(carrier);
        }
    }

    /// Whether one more socket may come from an address.
    ///
    /// # Errors
    /// It has all its sockets.
    pub(crate) fn has_seat_from(&self, address: IpAddr) -> Result<(), Refusal> {
        self.state().has_seat_from(address, &self.seats)
    }

    /// Whether one more socket of a user may come.
    ///
    /// # Errors
    /// Its church has all its sockets, or it has.
    pub(crate) fn has_seat_for(&self, claims: &Claims) -> Result<(), Refusal> {
        let state = self.state();
        let room = state.rooms.get(&claims.church_id);
        room.map_or(Ok(()), |room| room.has_seat(&claims.user_id, &self.seats))
    }

    /// Gives a socket its seat. It gets nothing yet.
    ///
    /// # Errors
    /// Its church, user or address has all its sockets.
    pub(crate) fn sit(&self, member: &Member, term: Term) -> Result<(), Refusal> {
        let mut state = self.state();
        // A client may say goodbye and come again over the same session, quicker than its leaving is heard of.
        if state.vacate(&member.church, |room| room.clear(member.socket.id)) {
            self.counters.sockets.dec();
        }
        state.has_seat_from(member.address, &self.seats)?;
        let State { rooms, of_address, .. } = &mut *state;
        match rooms.get_mut(&member.church) {
            Some(room) => room.sit(member, term, &self.seats)?,
            None => {
                let mut room = Room::default();
                room.sit(member, term, &self.seats)?;
                rooms.insert(member.church.clone(), room);
            }
        }
        of_address.add(member.address);
        self.counters.sockets.inc();
        self.counters.rooms.set(rooms.len() as i64);
        Ok(())
    }

    /// Begins at the head of the stream: the client is told that it may have missed something.
    ///
    /// # Errors
    /// Why it was not told. If it is too slow even for that, it is closed.
    pub(crate) fn begin_at_head(&self, member: &Member) -> Result<(), Unsent> {
        let mut state = self.state();
        let State { stream: Some(stream), rooms, lapse, .. } = &mut *state else { return Err(Unsent::Gone) };
        let (Some(head), Some(seat)) = (stream.head(), seat(rooms, member)) else { return Err(Unsent::Gone) };
        let outcome = seat.welcome(&head.cursor(&member.church), false);
        seat.live = true;
        seat.tell(lapse.as_ref());
        self.settle(seat, outcome);
        outcome
    }

    /// Tells a client that it will miss nothing after its own cursor.
    ///
    /// # Errors
    /// Why it was not told.
    pub(crate) fn begin_at_cursor(&self, member: &Member, cursor: &str) -> Result<(), Unsent> {
        let mut state = self.state();
        let State { rooms, lapse, .. } = &mut *state;
        let seat = seat(rooms, member).ok_or(Unsent::Gone)?;
        seat.welcome(cursor, true)?;
        seat.tell(lapse.as_ref());
        Ok(())
    }

    /// Whether what came after a place can be told to the church without a hole.
    pub(crate) fn prove(&self, church: &ChurchId, place: &Place) -> Proof {
        self.state().stream.as_ref().map_or(Proof::Refuted, |stream| stream.prove(church, place))
    }

    /// Keeps what a page of history told of a church, so that the stream need not be asked again.
    pub(crate) fn learn(&self, church: &ChurchId, progress: &Progress, page: &Page) {
        let mut state = self.state();
        let stream = state.stream.as_mut().filter(|stream| stream.generation == progress.generation);
        if let (Some(stream), (after, Some(fingerprint))) = (stream, page.last) {
            stream.memory.learn_quiet(church, after, fingerprint, page.reach);
        }
    }

    /// What comes next for a socket that catches up. The last few events are sent here, so that none gets between
    /// them and the live ones.
    pub(crate) fn next(&self, member: &Member, progress: &mut Progress) -> Result<Next, Unsent> {
        let mut state = self.state();
        let State { stream: Some(stream), rooms, .. } = &mut *state else { return Ok(Next::Lost) };
        if stream.generation != progress.generation {
            return Ok(Next::Lost);
        }
        let floor = stream.memory.floor(&member.church);
        if progress.sequence < floor {
            return Ok(Next::Older(floor));
        }
        let mut events = stream.memory.after(&member.church, progress.sequence);
        let next: Vec<_> = events.by_ref().take(STRIDE).cloned().collect();
        if events.next().is_some() {
            return Ok(Next::Events(next));
        }
        for event in &next {
            self.send_one(member, event, progress)?;
        }
        let seat = seat(rooms, member).ok_or(Unsent::Gone)?;
        seat.live = true;
        Ok(Next::Live)
    }

    /// Sends what is missing of one event to a socket that catches up.
    ///
    /// # Errors
    /// Why not all of it got into the queue; the progress says how far it came.
    pub(crate) fn send_one(
        &self,
        member: &Member,
        event: &Event,
        progress: &mut Progress,
    ) -> Result<(), Unsent> {
        if event.sequence <= progress.sequence {
            return Ok(());
        }
        let (sent, outcome) = member.send(&event.packets, progress.packets);
        self.counters.deliveries.inc_by(sent as u64);
        progress.packets += sent;
        outcome?;
        *progress = Progress { sequence: event.sequence, packets: 0, ..*progress };
        Ok(())
    }

    /// Forgets a socket, and says whether it had a seat.
    pub(crate) fn leave(&self, church: &ChurchId, socket: &Socket) -> bool {
        let mut state = self.state();
        let had_seat = state.vacate(church, |room| room.leave(socket));
        if had_seat {
            self.counters.sockets.dec();
            self.counters.rooms.set(state.rooms.len() as i64);
        }
        had_seat
    }

    /// Does something with every seat. Nobody gets an event meanwhile.
    pub(crate) fn each_seat(&self, act: impl FnMut(&mut Seat)) {
        self.state().rooms.values_mut().flat_map(Room::seats).for_each(act);
    }

    /// Lets a socket stay as long as a fresh token, and gives its end in Unix seconds. Whether that was taken back is
    /// looked at here, between two looks at all sockets.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn extend(
        &self,
        socket: &Socket,
        fresh: &Claims,
        revocations: &Revocations,
    ) -> Result<i64, RefreshError> {
        let mut state = self.state();
        let seat = state.rooms.get_mut(&fresh.church_id).and_then(|room| room.seat(socket));
        let seat = seat.ok_or(RefreshError::TooLate)?;
        if *seat.member.user != *fresh.user_id || seat.term.claim != fresh.claim {
            return Err(RefreshError::Another);
        }
        if revocations.cover(&fresh.church_id, &fresh.person(), fresh.issued_at) {
            return Err(TokenError::Revoked.into());
        }
        seat.term.extend(fresh)
    }

    /// Every socket that is here.
    pub(crate) fn members(&self) -> Vec<Member> {
        let state = self.state();
        state.rooms.values().flat_map(Room::members).cloned().collect()
    }

    fn measure(&self, stream: &Followed) {
        let (events, bytes) = stream.memory.size();
        self.counters.memory_events.set(events as i64);
        self.counters.memory_bytes.set(bytes as i64);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs that an event went out: a change of status for everybody, mere progress for those who look closely.
fn tell(event: &Event, stored: &Stored) {
    let (message, church, sequence) = (event.message, &event.church, event.sequence);
    let status = event.status.as_str();
    let accepted = matches!(subject::parse(&stored.subject), Some((_, Topic::Sent)));
    if accepted || event.status != MessageStatus::Pending {
        info!(message.id = %message, church.id = %church, sequence, status, "emitted");
    } else {
        debug!(message.id = %message, church.id = %church, sequence, status, "emitted");
    }
}

fn seat<'a>(rooms: &'a mut HashMap<ChurchId, Room>, member: &Member) -> Option<&'a mut Seat> {
    rooms.get_mut(&member.church)?.seat(&member.socket)
}
