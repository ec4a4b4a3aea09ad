//! TCP connections, and which of them carry a session.

pub(crate) mod connection;
pub(crate) mod credit;
pub(crate) mod frames;
pub(crate) mod limits;
pub(crate) mod listener;
pub(crate) mod traffic;
pub(crate) mod transports;
