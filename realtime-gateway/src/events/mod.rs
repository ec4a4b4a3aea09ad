//! From a stored message to the packets that browsers get.

pub(crate) mod decode;
mod degraded;
mod event;
pub(crate) mod packets;

pub(crate) use decode::DecodeError;
pub(crate) use degraded::{Cause, DEGRADED, Degradation, Degraded};
pub(crate) use event::{Event, News};
pub(crate) use packets::{Delivery, Packet, Packets};
