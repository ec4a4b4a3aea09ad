//! From a stored message to the packets that browsers get.

pub(crate) mod decode;
pub(crate) mod packets;
