//! One event of a church, decoded and encoded again for browsers.

use common::status::MessageStatus;
use common::subject::ChurchId;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::events::packets::Packets;

/// One event, ready to be sent.
pub(crate) struct Event {
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    /// The only church that may see it.
    pub(crate) church: ChurchId,
    /// What it tells.
    pub(crate) news: News,
}

/// What an event tells.
pub(crate) enum News {
    /// A change of a message.
    Message {
        /// The message.
        id: Uuid,
        /// Its status after the change.
        status: MessageStatus,
        /// When the change was recorded.
        at: OffsetDateTime,
        /// For browsers.
        packets: Packets,
    },
    /// A text that came in.
    Inbound {
        /// The text.
        id: Uuid,
        /// When it was recorded.
        at: OffsetDateTime,
        /// For browsers.
        packets: Packets,
    },
    /// Something that this version can't read, probably from a newer one. Clients are told that they may miss something.
    Unknown {
        /// The position behind it.
        cursor: String,
    },
}

impl Event {
    /// The message and its status, if it is about one.
    pub(crate) fn message(&self) -> Option<(Uuid, MessageStatus)> {
        match self.news {
            News::Message { id, status, .. } => Some((id, status)),
            News::Inbound { .. } | News::Unknown { .. } => None,
        }
    }

    /// When it was recorded, if that is known.
    pub(crate) fn at(&self) -> Option<OffsetDateTime> {
        match self.news {
            News::Message { at, .. } | News::Inbound { at, .. } => Some(at),
            News::Unknown { .. } => None,
        }
    }

    /// Bytes of all packets.
    pub(crate) fn size(&self) -> usize {
        match &self.news {
            News::Message { packets, .. } | News::Inbound { packets, .. } => packets.size(),
            News::Unknown { cursor } => cursor.len(),
        }
    }
}
