//! The churches and their sockets: what comes from the stream goes out here, in order, and nothing twice.
//!
//! One lock covers the memory and the sockets, so that a socket takes its place between two events and never in the
//! middle of one. Nothing waits while the lock is held: handing a packet to a socket only puts it into a queue.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::event::timestamp;
use common::subject::ChurchId;
use serde::Serialize;
use socketioxide::extract::SocketRef;
use socketioxide::socket::Sid;
use socketioxide::{SendError, SocketError};
use time::OffsetDateTime;
use tracing::warn;

use crate::cursor::{Fingerprint, Place};
use crate::intake;
use crate::memory::Memory;
use crate::metrics::{Counters, Reason};
use crate::packets::{Packet, Packets};
use crate::stream::Stored;
use crate::transports::Transports;

/// A connected socket and whose it is.
#[derive(Clone)]
pub(crate) struct Member {
    /// The socket.
    pub(crate) socket: SocketRef,
    /// The church of its token.
    pub(crate) church: ChurchId,
    /// The user of its token, unique inside the church only.
    pub(crate) user: String,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is in the socket's queue.
    Queued,
    /// The socket's queue is full.
    Full,
    /// The socket is not there any more.
    Gone,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connected<'a> {
    status: &'static str,
    user_id: &'a str,
    church_id: &'a ChurchId,
    socket_id: Sid,
    timestamp: String,
    cursor: &'a str,
    recovered: bool,
}

impl Member {
    /// Tells the client where it is: `recovered` says whether it misses nothing.
    pub(crate) fn welcome(&self, cursor: &str, recovered: bool) -> Sent {
        let body = Connected {
            status: "connected",
            user_id: &self.user,
            church_id: &self.church,
            socket_id: self.socket.id,
            timestamp: timestamp::to_text(OffsetDateTime::now_utc()),
            cursor,
            recovered,
        };
        self.emit("connected", &body)
    }

    /// Hands one packet to the socket.
    pub(crate) fn send(&self, packet: &Packet) -> Sent {
        self.emit(packet.name, &packet.body)
    }

    fn emit(&self, name: &str, body: &impl Serialize) -> Sent {
        match self.socket.emit(name, body) {
            Ok(()) => Sent::Queued,
            Err(SendError::Socket(SocketError::InternalChannelFull)) => Sent::Full,
            Err(_) => Sent::Gone,
        }
    }
}

/// All of it, shared by the tasks of a gateway.
pub(crate) struct Hub {
    state: Mutex<State>,
    transports: Transports,
    counters: Counters,
}

#[derive(Default)]
struct State {
    stream: Option<Stream>,
    rooms: HashMap<ChurchId, HashMap<Sid, Seat>>,
}

struct Stream {
    created: u64,
    memory: Memory,
}

struct Seat {
    member: Member,
    /// Whether it gets events as they come. After a packet was dropped for a socket, it gets nothing more.
    live: bool,
}

impl Stream {
    fn place(&self, sequence: u64) -> Option<Place> {
        let fingerprint = self.memory.fingerprint(sequence)?;
        Some(Place { created: self.created, sequence, fingerprint })
    }

    fn head(&self) -> Option<Place> {
        self.place(self.memory.last())
    }
}

impl Hub {
    /// A hub without sockets that has no place in the stream yet.
    pub(crate) fn new(transports: Transports, counters: Counters) -> Self {
        Self { state: Mutex::new(State::default()), transports, counters }
    }

    /// Whether the gateway knows where it is in the stream.
    pub(crate) fn has_place(&self) -> bool {
        self.state().stream.is_some()
    }

    /// The newest place in the stream.
    pub(crate) fn head(&self) -> Option<Place> {
        self.state().stream.as_ref().and_then(Stream::head)
    }

    /// What stands at a sequence, if that is remembered.
    pub(crate) fn fingerprint(&self, sequence: u64) -> Option<Fingerprint> {
        self.state().stream.as_ref()?.memory.fingerprint(sequence)
    }

    /// Begins with another stream, or at another place: whoever is connected is told that it may miss something.
    pub(crate) fn take_place(&self, created: u64, memory: Memory) {
        let mut state = self.state();
        let stream = state.stream.insert(Stream { created, memory });
        let head = stream.head();
        for (church, room) in &mut state.rooms {
            let Some(cursor) = head.map(|head| head.cursor(church)) else { continue };
            for seat in room.values_mut().filter(|seat| seat.live) {
                let sent = seat.member.welcome(&cursor, false);
                self.settle(seat, sent);
            }
        }
        self.measure(&state);
    }

    /// Takes the next message of the stream and sends its event to the church.
    pub(crate) fn publish(&self, stored: &Stored) {
        let mut state = self.state();
        let State { stream: Some(stream), rooms } = &mut *state else { return };
        let (fingerprint, event) = intake::prepare(&stream.memory, stream.created, stored);
        let event = event.inspect_err(|error| self.foreign(stored, error)).ok();
        stream.memory.push(fingerprint, event.clone());
        if let Some(event) = event {
            self.counters.events.inc();
            self.counters.event_age.observe((OffsetDateTime::now_utc() - event.at).as_seconds_f64().max(0.0));
            if let Some(room) = rooms.get_mut(&event.church) {
                self.send_to_room(room, &event.packets);
            }
        }
        self.measure(&state);
    }

    fn foreign(&self, stored: &Stored, error: &intake::Foreign) {
        self.counters.foreign.inc();
        warn!(sequence = stored.sequence, subject = stored.subject, %error, "a message in the stream is no event");
    }

    /// Sends an event that is not in its turn to the church's live sockets.
    pub(crate) fn replay(&self, church: &ChurchId, packets: &Packets) {
        if let Some(room) = self.state().rooms.get_mut(church) {
            self.send_to_room(room, packets);
        }
    }

    fn send_to_room(&self, room: &mut HashMap<Sid, Seat>, packets: &Packets) {
        for seat in room.values_mut().filter(|seat| seat.live) {
            let mut sent = Sent::Queued;
            for packet in packets.of_user(&seat.member.user) {
                sent = seat.member.send(packet);
                if sent != Sent::Queued {
                    break;
                }
                self.counters.deliveries.inc();
            }
            self.settle(seat, sent);
        }
    }

    /// A socket whose queue is full has lost a packet: it gets nothing more and has to come back.
    fn settle(&self, seat: &mut Seat, sent: Sent) {
        if sent == Sent::Full {
            seat.live = false;
            self.close(&seat.member, "slow");
        }
    }

    /// Closes a socket's transport, so that its client comes back and resumes.
    pub(crate) fn close(&self, member: &Member, reason: &'static str) {
        self.counters.closes.get_or_create(&Reason { reason }).inc();
        self.transports.close(&member.socket);
    }

    /// Lets a socket in at the head of the stream.
    pub(crate) fn enter(&self, member: &Member) {
        let mut state = self.state();
        let Some(head) = state.stream.as_ref().and_then(Stream::head) else { return };
        let sent = member.welcome(&head.cursor(&member.church), false);
        let mut seat = Seat { member: member.clone(), live: sent == Sent::Queued };
        self.settle(&mut seat, sent);
        let room = state.rooms.entry(member.church.clone()).or_default();
        if room.insert(member.socket.id, seat).is_none() {
            self.counters.sockets.inc();
        }
        self.counters.rooms.set(state.rooms.len() as i64);
    }

    /// Forgets a socket.
    pub(crate) fn leave(&self, church: &ChurchId, sid: Sid) {
        let mut state = self.state();
        let Some(room) = state.rooms.get_mut(church) else { return };
        if room.remove(&sid).is_some() {
            self.counters.sockets.dec();
        }
        if room.is_empty() {
            state.rooms.remove(church);
        }
        self.counters.rooms.set(state.rooms.len() as i64);
    }

    /// Every socket that is here.
    pub(crate) fn members(&self) -> Vec<Member> {
        let state = self.state();
        state.rooms.values().flat_map(HashMap::values).map(|seat| seat.member.clone()).collect()
    }

    fn measure(&self, state: &State) {
        let (events, bytes) = state.stream.as_ref().map_or((0, 0), |stream| stream.memory.size());
        self.counters.memory_events.set(events as i64);
        self.counters.memory_bytes.set(bytes as i64);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
