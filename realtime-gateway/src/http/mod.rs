//! The HTTP edge.

pub(crate) mod opening;
pub(crate) mod server;
pub(crate) mod websocket;
