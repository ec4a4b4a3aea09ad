//! A Socket.IO client over a bare websocket (Engine.IO 4), for any Socket.IO server: it connects, answers pings and
//! gives out events. The stock client needs a hundred times as much CPU, and thousands of these must fit beside what
//! they measure.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Where a Socket.IO server is asked to open a websocket.
const PATH: &str = "/socket.io/?EIO=4&transport=websocket";
/// Of each connection; events are below a kilobyte.
const READ_BUFFER: usize = 4096;

// What Engine.IO and Socket.IO packets begin with.
const OPEN: &str = "0";
const PING: &str = "2";
const PONG: &str = "3";
const CONNECT: &str = "40";
const DISCONNECT: &str = "41";
const EVENT: &str = "42";
const CONNECT_ERROR: &str = "44";

/// A connected socket.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    received: u64,
}

/// An event and its first argument.
#[derive(Debug)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its first argument, as it came; `null` if it has none.
    pub body: Box<RawValue>,
}

impl Event {
    /// Reads the argument.
    ///
    /// # Errors
    /// It has another form.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.body.get())
    }
}

impl Client {
    /// Connects to the main namespace with what the stock client calls `auth`.
    ///
    /// # Errors
    /// Nobody listens, the server refuses (says why), or speaks something else.
    pub async fn connect(address: SocketAddr, auth: &Value) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("can't connect to {address}"))?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).write_buffer_size(0);
        let (socket, _) =
            client_async_with_config(format!("ws://{address}{PATH}"), stream, Some(config)).await?;
        let mut client = Self { socket, received: 0 };
        let open = client.text().await?.context("closed at once")?;
        anyhow::ensure!(open.starts_with(OPEN), "not an Engine.IO server: {open}");
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

    /// The next event; `None` once the connection has ended. Cancelling this loses nothing.
    ///
    /// # Errors
    /// The connection broke, or an event can't be read.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        while let Some(text) = self.text().await? {
            if let Some(arguments) = text.strip_prefix(EVENT) {
                return parse(arguments).map(Some);
            }
            if text.starts_with(DISCONNECT) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Sends an event with one argument.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn emit(&mut self, name: &str, argument: &Value) -> anyhow::Result<()> {
        self.send(format!("{EVENT}{}", serde_json::json!([name, argument]))).await
    }

    /// Bytes of all packets that came, without the frames' heads.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next packet besides pings, which are answered.
    async fn text(&mut self) -> anyhow::Result<Option<Utf8Bytes>> {
        while let Some(message) = self.socket.next().await {
            match message? {
                Message::Text(text) => {
                    self.received += text.len() as u64;
                    if text.as_str() != PING {
                        return Ok(Some(text));
                    }
                    self.send(PONG.to_owned()).await?;
                }
                Message::Close(_) => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }

    async fn send(&mut self, packet: String) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::text(packet)).await?)
    }
}

/// Reads `["name",argument,…]`, or the same after an acknowledgement's number.
fn parse(arguments: &str) -> anyhow::Result<Event> {
    let list = arguments.trim_start_matches(|c: char| c.is_ascii_digit());
    let mut list: Vec<Box<RawValue>> = serde_json::from_str(list).context("an event is no list")?;
    anyhow::ensure!(!list.is_empty(), "an event has no name");
    let body = if list.len() > 1 { list.swap_remove(1) } else { RawValue::NULL.to_owned() };
    Ok(Event { name: serde_json::from_str(list[0].get()).context("an event's name is no text")?, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_with_and_without_an_argument_and_a_number() {
        let event = parse(r#"["message:sent",{"version":7},1]"#).unwrap();
        assert_eq!((event.name.as_str(), event.body.get()), ("message:sent", r#"{"version":7}"#));
        assert_eq!(parse(r#"12["ping"]"#).unwrap().body.get(), "null");
        assert!(parse("[]").is_err());
    }
}
