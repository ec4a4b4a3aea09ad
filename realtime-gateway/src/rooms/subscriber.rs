//! A connected socket, whose it is, and how packets get into its queue.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use common::claims::Claims;
use common::event::timestamp;
use common::subject::ChurchId;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::extract::SocketRef;
use socketioxide::socket::{Sid, Socket};
use socketioxide::{SendError, SocketError};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::connections::{Credit, Share};
use crate::events::{Event, News, Packet, Packets};

/// Whose a socket is. The socket keeps it, too, so it must not hold the socket: neither would ever be freed.
pub(crate) struct Client {
    /// The church of its token.
    pub(crate) church: ChurchId,
    /// The user of its token, unique only inside the church.
    pub(crate) user: Arc<str>,
    /// Its address.
    pub(crate) address: IpAddr,
    /// What its session may have unwritten.
    pub(crate) credit: Arc<Credit>,
    /// Cancelled once the socket has disconnected.
    pub(crate) gone: CancellationToken,
    /// Limits attempts to replace the token.
    pub(crate) refreshes: DefaultDirectRateLimiter,
}

impl Client {
    /// The holder of a token.
    pub(crate) fn new(claims: &Claims, address: IpAddr, credit: Arc<Credit>) -> Self {
        Self {
            church: claims.church_id.clone(),
            user: claims.user_id.as_str().into(),
            address,
            credit,
            gone: CancellationToken::new(),
            refreshes: RateLimiter::direct(Quota::per_second(NonZeroU32::MIN)),
        }
    }
}

/// A connected socket and whose it is.
#[derive(Clone)]
pub(crate) struct Subscriber {
    /// The socket.
    pub(crate) socket: SocketRef,
    /// Whose it is.
    pub(crate) client: Arc<Client>,
}

/// Whether these are one socket. The session id does not tell: a client that leaves the namespace and connects again
/// over the same transport gets another socket with the same id.
pub(crate) fn is_same(one: &Socket, other: &Socket) -> bool {
    std::ptr::eq(one, other)
}

/// Bytes of an event's packet around its name and its body: `42["name",body]`.
const FRAMING: usize = 7;

/// Why a packet did not get into a socket's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The credit is used up or the queue is full: the client does not keep up.
    Full,
    /// The socket has disconnected.
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

impl Subscriber {
    /// Sends `connected`, the first packet: the client's cursor, and whether it misses nothing before that.
    ///
    /// # Errors
    /// Why the packet did not get into the queue.
    pub(crate) fn welcome(&self, cursor: &str, recovered: bool) -> Result<(), Unsent> {
        let body = Connected {
            status: "connected",
            user_id: &self.client.user,
            church_id: &self.client.church,
            socket_id: self.socket.id,
            timestamp: timestamp::to_text(OffsetDateTime::now_utc()),
            cursor,
            recovered,
        };
        self.emit("connected", &body)
    }

    /// Sends the packets of an event, beginning with number `from`. Returns how many of them got into the queue.
    ///
    /// # Errors
    /// Why the next one did not.
    pub(crate) fn send(&self, event: &Event, from: usize) -> (usize, Result<(), Unsent>) {
        match &event.news {
            News::Message { packets, .. } | News::Inbound { packets, .. } => {
                self.put_all(Share::Whole, packets.of_user(&self.client.user).skip(from))
            }
            News::Unknown { cursor } => {
                let told = self.welcome(cursor, false);
                (usize::from(told.is_ok()), told)
            }
        }
    }

    /// Sends the packets of a replayed event. Returns how many of them got into the queue. They fill no more than half
    /// of it, so that the events in order always find room.
    ///
    /// # Errors
    /// Why the next one did not.
    pub(crate) fn replay(&self, packets: &Packets) -> (usize, Result<(), Unsent>) {
        self.put_all(Share::Half, packets.of_user(&self.client.user))
    }

    fn put_all<'a>(
        &self,
        share: Share,
        packets: impl Iterator<Item = &'a Packet>,
    ) -> (usize, Result<(), Unsent>) {
        let mut sent = 0;
        for Packet { name, body } in packets {
            if let Err(unsent) = self.put(share, name, body) {
                return (sent, Err(unsent));
            }
            sent += 1;
        }
        (sent, Ok(()))
    }

    /// Puts one packet into the socket's queue.
    ///
    /// # Errors
    /// Why it did not get there.
    pub(crate) fn emit(&self, name: &str, body: &impl Serialize) -> Result<(), Unsent> {
        // Our own packets can always be written as JSON.
        let body = to_raw_value(body).map_err(|_| Unsent::Gone)?;
        self.put(Share::Whole, name, &body)
    }

    fn put(&self, share: Share, name: &str, body: &RawValue) -> Result<(), Unsent> {
        let bytes = FRAMING + name.len() + body.get().len();
        self.client.credit.take(bytes, share).map_err(|_| Unsent::Full)?;
        self.socket.emit(name, body).map_err(|error| {
            self.client.credit.give_back(1, bytes);
            match error {
                SendError::Socket(SocketError::InternalChannelFull) => Unsent::Full,
                _ => Unsent::Gone,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_first_packet_of_a_connection_is_its_golden_file() {
        let church = "grace".parse().unwrap();
        let connected = Connected {
            status: "connected",
            user_id: "u1",
            church_id: &church,
            socket_id: "AAAAAAAAAAAAAAAA".parse().unwrap(),
            timestamp: "2026-11-22T20:15:31.123Z".into(),
            cursor: "AQ",
            recovered: false,
        };
        let golden: Value = serde_json::from_str(include_str!("../../golden/connected.json")).unwrap();
        assert_eq!(golden[0]["name"], "connected");
        assert_eq!(golden[0]["body"], serde_json::to_value(&connected).unwrap());
    }
}
