//! A client's life in order: `connect`, `resume` with `catch_up`, `refresh`, and the end by `clock` or `stale`.

pub(crate) mod catch_up;
pub(crate) mod clock;
mod connect;
mod refresh;
mod resume;
pub(crate) mod stale;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use socketioxide::handler::ConnectHandler as _;
use socketioxide::{ParserConfig, SocketIo};

use crate::gateway::Gateway;
use crate::settings::Settings;

/// The largest answer to a poll, as the library is told. It keeps packets back that do not fit and loses them when the
/// session upgrades, so all must fit: the credit bounds them. Clients read this as a 32-bit number.
const POLL_BYTES: u64 = i32::MAX as u64;
/// Binary attachments that a client may send with a packet. No client has a reason to; they are ignored like the
/// packet.
const ATTACHMENTS: usize = 8;

/// The Socket.IO service and its handle.
pub(crate) fn service(settings: &Settings, gateway: Arc<Gateway>) -> (Router, SocketIo) {
    let (limits, patience, connect_timeout) = (&settings.limits, &settings.patience, gateway.connect_timeout);
    let max_message = limits.max_message as usize;
    let parser =
        ParserConfig::common().max_incoming_binaries(ATTACHMENTS).max_incoming_binary_buf_size(max_message);
    let (service, io) = SocketIo::builder()
        .with_state(gateway)
        .with_parser(parser)
        .ping_interval(Duration::from_millis(patience.ping_interval))
        .ping_timeout(Duration::from_millis(patience.ping_timeout))
        .connect_timeout(connect_timeout)
        .upgrade_timeout(connect_timeout)
        .max_buffer_size(limits.socket_buffer as usize)
        .max_payload(POLL_BYTES)
        .ws_max_message_size(max_message)
        .ws_max_frame_size(max_message)
        .ws_read_buffer_size(512)
        .build_svc();
    io.ns("/", connect::on_connect.with(connect::authenticate));
    (Router::new().fallback_service(service), io)
}
