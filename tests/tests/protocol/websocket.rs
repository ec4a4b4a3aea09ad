//! A websocket, frame by frame.

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use serde_json::Value;
use tests::gateway::TestGateway;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::packet::{OPEN, PING, PONG};
use crate::{in_time, json_after};

/// An open websocket.
pub(crate) struct Websocket(WebSocketStream<TcpStream>);

impl Websocket {
    /// Asks for one with a query.
    ///
    /// # Errors
    /// The status with which it is refused.
    pub(crate) async fn request(gateway: &TestGateway, query: &str) -> Result<Self, StatusCode> {
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let url = format!("ws://{}/socket.io/?{query}", gateway.address());
        match client_async(url, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(StatusCode::from_u16(answer.status().as_u16()).unwrap()),
            Err(error) => panic!("the websocket is neither opened nor refused: {error}"),
        }
    }

    /// A session that begins with it.
    pub(crate) async fn open(gateway: &TestGateway) -> Self {
        Self::open_with(gateway, "EIO=4&transport=websocket").await.0
    }

    /// A session that begins with it, with more in the query, and what the server said of it.
    pub(crate) async fn open_with(gateway: &TestGateway, query: &str) -> (Self, Value) {
        let Ok(mut socket) = Self::request(gateway, query).await else { panic!("{query} is refused") };
        let opened = json_after(OPEN, &socket.frame().await.unwrap());
        (socket, opened)
    }

    /// Sends a text frame. A connection that is closed already shows when it is read.
    pub(crate) async fn send(&mut self, packet: &str) {
        let _ = self.0.send(Message::text(packet)).await;
    }

    /// Sends a binary frame.
    pub(crate) async fn send_binary(&mut self, data: &[u8]) {
        let _ = self.0.send(Message::binary(data.to_vec())).await;
    }

    /// The next text frame as it comes; `None` once the connection has ended, in whatever way.
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

    /// The next packet besides pings, which are answered.
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

    /// Goes on to the packet that contains a text.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            let Some(packet) = self.next().await else { panic!("closed before {text}") };
            if packet.contains(text) {
                return packet;
            }
        }
    }

    /// Reads until the connection ends, answering pings; gives the packets that came before.
    pub(crate) async fn until_closed(&mut self) -> Vec<String> {
        let mut packets = Vec::new();
        while let Some(packet) = self.next().await {
            packets.push(packet);
        }
        packets
    }
}
