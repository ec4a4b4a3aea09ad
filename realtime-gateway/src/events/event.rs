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
    /// The message that it is about.
    pub(crate) message: Uuid,
    /// The status of that message after it.
    pub(crate) status: MessageStatus,
    /// When it was recorded.
    pub(crate) at: OffsetDateTime,
    /// The packets for browsers.
    pub(crate) packets: Packets,
}
