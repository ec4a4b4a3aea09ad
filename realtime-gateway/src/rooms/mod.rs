//! The churches and their sockets.

pub(crate) mod hub;
pub(crate) mod room;
pub(crate) mod subscriber;
