//! A Socket.IO client over a bare websocket (Engine.IO 4), for any Socket.IO server. It connects, answers pings and
//! returns events. The stock client needs a hundred times as much CPU, and thousands of clients must fit on the machine
//! that they measure.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::tcp;

/// Path and query that open a websocket.
const PATH: &str = "/socket.io/?EIO=4&transport=websocket";
/// Read buffer of each connection; events are smaller than a kilobyte.
const READ_BUFFER: usize = 4096;

// First characters of Engine.IO and Socket.IO packets.
const OPEN: &str = "0";
const PING: &str = "2";
const PONG: &str = "3";
const UPGRADE: &str = "5";
const PROBE: &str = "probe";
const CONNECT: &str = "40";
const DISCONNECT: &str = "41";
const EVENT: &str = "42";
const CONNECT_ERROR: &str = "44";

/// The reason of a Socket.IO disconnect, after which the stock client does not reconnect.
const DISMISSED: &str = "the server disconnected the socket for good";

/// A connected socket.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    traffic: Traffic,
}

/// Traffic of a connection, without frame headers.
#[derive(Debug, Default, Clone, Copy)]
pub struct Traffic {
    /// Bytes of all received packets.
    pub received: u64,
    /// Bytes of all sent packets.
    pub sent: u64,
    /// Received and answered pings.
    pub pings: u64,
}

/// A received event. Its text is searched and not parsed, because parsing thousands per second would cost as much as
/// sending them.
#[derive(Debug)]
pub struct Event(Utf8Bytes);

impl Event {
    /// The event's name; empty if it has none.
    pub fn name(&self) -> &str {
        self.0.split('"').nth(1).unwrap_or_default()
    }

    /// A field of the arguments with a text that contains no quotes, such as an id.
    pub fn field(&self, name: &str) -> Option<&str> {
        let quoted = self.value(name)?.strip_prefix('"')?;
        Some(&quoted[..quoted.find('"')?])
    }

    /// Whether a field of the arguments is `false`.
    pub fn denies(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value.starts_with("false"))
    }

    /// Parses the first argument.
    ///
    /// # Errors
    /// If it has none, or one of another form.
    pub fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0[EVENT.len()..]).map(|(_, argument): (IgnoredAny, T)| argument)
    }

    /// The text after a field's name.
    fn value(&self, name: &str) -> Option<&str> {
        self.0.match_indices(name).find_map(|(at, _)| {
            let (before, value) = (&self.0[..at], &self.0[at + name.len()..]);
            value.strip_prefix("\":").filter(|_| before.ends_with('"'))
        })
    }
}

impl Client {
    /// Connects to the main namespace with this `auth`.
    ///
    /// # Errors
    /// If no server listens, it refuses the client (the error says why), or it is no Socket.IO server.
    pub async fn connect(address: SocketAddr, auth: &Value) -> anyhow::Result<Self> {
        let mut client = Self::open(address).await?;
        client.send(format!("{CONNECT}{auth}")).await?;
        loop {
            let text = client.text().await?.context("closed before it was connected")?;
            if let Some(why) = text.strip_prefix(CONNECT_ERROR) {
                bail!("refused: {why}");
            }
            if text.starts_with(CONNECT) {
                return Ok(client);
            }
        }
    }

    /// Sends a connect packet, then several disconnect and connect packets without waiting for any answer, and closes.
    ///
    /// # Errors
    /// If no server listens, or it is no Engine.IO server.
    pub async fn hurry(address: SocketAddr, auth: &Value, disconnects: usize) -> anyhow::Result<()> {
        let mut client = Self::open(address).await?;
        let connect = || format!("{CONNECT}{auth}");
        let disconnects = std::iter::repeat_n(DISCONNECT.to_owned(), disconnects);
        for packet in std::iter::once(connect()).chain(disconnects).chain([connect()]) {
            if client.send(packet).await.is_err() {
                // The server has already closed it.
                break;
            }
        }
        Ok(())
    }

    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let mut client = Self::over_websocket(address, PATH).await?;
        let open = client.text().await?.context("closed at once")?;
        anyhow::ensure!(open.starts_with(OPEN), "not an Engine.IO server: {open}");
        Ok(client)
    }

    async fn over_websocket(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let stream = tcp::connect(address).await?;
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).write_buffer_size(0);
        let (socket, _) =
            client_async_with_config(format!("ws://{address}{path}"), stream, Some(config)).await?;
        Ok(Self { socket, traffic: Traffic::default() })
    }

    /// The next event; `None` once the connection has ended. Cancel-safe.
    ///
    /// # Errors
    /// If the connection broke, or the server disconnected the socket.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        while let Some(text) = self.text().await? {
            if text.starts_with(EVENT) {
                return Ok(Some(Event(text)));
            }
            anyhow::ensure!(!text.starts_with(DISCONNECT), "{DISMISSED}");
        }
        Ok(None)
    }

    /// Sends an event with one argument.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn emit(&mut self, name: &str, argument: &Value) -> anyhow::Result<()> {
        self.send(format!("{EVENT}{}", serde_json::json!([name, argument]))).await
    }

    /// Disconnects as a closed page does: with a close packet in each layer.
    ///
    /// # Errors
    /// If the connection broke before.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        self.send(DISCONNECT.to_owned()).await?;
        Ok(self.socket.close(None).await?)
    }

    /// The traffic so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// The next packet that is no ping. Answers pings. `None` once the connection has ended.
    async fn text(&mut self) -> anyhow::Result<Option<Utf8Bytes>> {
        while let Some(message) = self.socket.next().await {
            match message? {
                Message::Text(text) => {
                    self.traffic.received += text.len() as u64;
                    if text.as_str() != PING {
                        return Ok(Some(text));
                    }
                    self.traffic.pings += 1;
                    self.send(PONG.to_owned()).await?;
                }
                Message::Close(_) => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }

    async fn send(&mut self, packet: String) -> anyhow::Result<()> {
        self.traffic.sent += packet.len() as u64;
        Ok(self.socket.send(Message::text(packet)).await?)
    }
}

/// The raw packets of one websocket, for sessions that do what no client does.
#[derive(Debug)]
pub struct Packets(Client);

impl Packets {
    /// Opens a session.
    ///
    /// # Errors
    /// If no server listens, or it is no Engine.IO server.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Client::open(address).await.map(Self)
    }

    /// Upgrades a polling session.
    ///
    /// # Errors
    /// If the server refuses the upgrade.
    pub async fn upgrade(address: SocketAddr, sid: &str) -> anyhow::Result<Self> {
        let mut client = Client::over_websocket(address, &format!("{PATH}&sid={sid}")).await?;
        client.send(format!("{PING}{PROBE}")).await?;
        let answer = client.text().await?.context("closed while it was probed")?;
        anyhow::ensure!(answer == format!("{PONG}{PROBE}"), "not the answer to a probe: {answer}");
        client.send(UPGRADE.to_owned()).await?;
        Ok(Self(client))
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn say(&mut self, packet: &str) -> anyhow::Result<()> {
        self.0.send(packet.to_owned()).await
    }

    /// The next packet that is no ping; `None` once the connection has ended.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn next(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.0.text().await?.map(|text| text.as_str().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        Event(text.to_owned().into())
    }

    #[test]
    fn an_events_name_and_fields_are_found_with_and_without_an_ack_id() {
        let update = event(r#"42["message:sent",{"eventId":"e","id":"m","is":false,"version":7},1]"#);
        assert_eq!((update.name(), update.field("id")), ("message:sent", Some("m")));
        assert_eq!((update.field("version"), update.field("other")), (None, None));
        assert_eq!((update.denies("is"), update.denies("id")), (true, false));
        assert_eq!((event(r#"4212["ping"]"#).name(), event("42[]").name()), ("ping", ""));
    }
}
