//! TCP connections, the sessions that they carry, and the limits of both.

mod address;
mod connection;
pub(crate) mod credit;
mod frames;
mod limits;
mod listener;
mod traffic;
mod transports;

pub(crate) use address::TrustedProxies;
pub(crate) use connection::Connection;
pub(crate) use credit::{Credit, Share};
pub(crate) use limits::{ConnectionLimits, Refusal, SocketLimits};
pub(crate) use listener::{ClientStream, Listener};
pub(crate) use traffic::TrafficLimits;
pub(crate) use transports::{Transport, Transports};
