//! The packets of Engine.IO and Socket.IO: their first characters, and how the tests read them.

use std::time::Duration;

use serde_json::Value;

pub(crate) const OPEN: &str = "0";
pub(crate) const CLOSE: &str = "1";
pub(crate) const PING: &str = "2";
pub(crate) const PONG: &str = "3";
pub(crate) const UPGRADE: &str = "5";
pub(crate) const NOOP: &str = "6";
// Socket.IO's packets are the content of Engine.IO's messages.
pub(crate) const CONNECT: &str = "40";
pub(crate) const DISCONNECT: &str = "41";
pub(crate) const EVENT: &str = "42";
pub(crate) const CONNECT_ERROR: &str = "44";

/// Longest wait for anything, far above what anything takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits for a result, at most for [`LIMIT`].
pub(crate) async fn in_time<T>(what: &str, wanted: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, wanted).await.unwrap_or_else(|_| panic!("waited a minute for {what}"))
}

/// The name and the first argument of an event's packet.
pub(crate) fn event(packet: &str) -> (String, Value) {
    let arguments = packet.strip_prefix(EVENT).unwrap_or_else(|| panic!("no event: {packet}"));
    serde_json::from_str(arguments).unwrap()
}

/// The JSON after a packet's beginning.
pub(crate) fn json_after(beginning: &str, packet: &str) -> Value {
    let text = packet.strip_prefix(beginning).unwrap_or_else(|| panic!("not {beginning}…: {packet}"));
    serde_json::from_str(text).unwrap()
}
