//! A websocket, frame by frame.

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use serde_json::Value;
use tests::gateway::TestGateway;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::packet::{OPEN, PING, PONG, in_time, json_after};

/// An open websocket.
pub(crate) struct Websocket(WebSocketStream<TcpStream>);

impl Websocket {
    /// Requests a websocket with this query.
    ///
    /// # Errors
    /// Returns the status of the refusal.
    pub(crate) async fn request(gateway: &TestGateway, query: &str) -> Result<Self, StatusCode> {
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let url = format!("ws://{}/socket.io/?{query}", gateway.address());
        match client_async(url, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(StatusCode::from_u16(answer.status().as_u16()).unwrap()),
            Err(error) => panic!("the websocket is neither opened nor refused: {error}"),
        }
    }

    /// Opens a session over a websocket.
    pub(crate) async fn open(gateway: &TestGateway) -> Self {
        Self::open_with(gateway, "EIO=4&transport=websocket").await.0
    }

    /// Opens a session over a websocket with this query. Also returns the server's opening packet.
    pub(crate) async fn open_with(gateway: &TestGateway, query: &str) -> (Self, Value) {
        let Ok(mut socket) = Self::request(gateway, query).await else { panic!("{query} is refused") };
        let opened = json_after(OPEN, &socket.frame().await.unwrap());
        (socket, opened)
    }

    /// Sends a text frame. Errors are ignored: reading shows whether the connection is closed.
    pub(crate) async fn send(&mut self, packet: &str) {
        let _ = self.0.send(Message::text(packet)).await;
    }

    /// Sends a binary frame.
    pub(crate) async fn send_binary(&mut self, data: &[u8]) {
        let _ = self.0.send(Message::binary(data.to_vec())).await;
    }

    /// The next text frame; `None` once the connection has ended, in any way.
    pub(crate) async fn frame(&mut self) -> Option<String> {
        let frame = async {
            loop {
                match self.0.next().await? {
                    Ok(Message::Text(text)) => return Some(text.to_string()),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        in_time("a frame, or the end of the connection", frame).await
    }

    /// The next packet that is no ping. Answers pings. `None` once the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let next = async {
            loop {
                match self.frame().await {
                    Some(packet) if packet == PING => self.send(PONG).await,
                    next => return next,
                }
            }
        };
        in_time("a packet, or the end of the connection", next).await
    }

    /// Reads on until a packet that contains this text.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            let Some(packet) = self.next().await else { panic!("closed before {text}") };
            if packet.contains(text) {
                return packet;
            }
        }
    }

    /// Reads until the connection ends and answers pings. Returns the packets received before.
    pub(crate) async fn until_closed(&mut self) -> Vec<String> {
        let mut packets = Vec::new();
        while let Some(packet) = self.next().await {
            packets.push(packet);
        }
        packets
    }
}
