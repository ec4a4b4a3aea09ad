//! A session on HTTP long-polling, request by request.

use reqwest::{Body, Client, Response, StatusCode};
use serde_json::Value;
use tests::gateway::TestGateway;

use crate::packet::{OPEN, PING, PONG, in_time, json_after};

/// Separates the packets of one body.
const SEPARATOR: char = '\u{1e}';

/// An open session.
pub(crate) struct Polling {
    http: Client,
    url: String,
    /// The packet with which the server opened the session.
    pub(crate) opened: Value,
    /// Packets that were received and not yet returned.
    waiting: Vec<String>,
}

/// The URL of the Socket.IO endpoint with this query.
pub(crate) fn url(gateway: &TestGateway, query: &str) -> String {
    format!("http://{}/socket.io/?{query}", gateway.address())
}

impl Polling {
    /// Opens a connection.
    pub(crate) async fn open(gateway: &TestGateway) -> Self {
        Self::open_with(gateway, "EIO=4&transport=polling").await
    }

    /// Opens a session with this query.
    pub(crate) async fn open_with(gateway: &TestGateway, query: &str) -> Self {
        let answer = gateway.http().get(url(gateway, query)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let opened = json_after(OPEN, &answer.text().await.unwrap());
        let sid = opened["sid"].as_str().unwrap();
        let url = url(gateway, &format!("EIO=4&transport=polling&sid={sid}"));
        Self { http: gateway.http().clone(), url, opened, waiting: Vec::new() }
    }

    /// The session's id.
    pub(crate) fn sid(&self) -> &str {
        self.opened["sid"].as_str().unwrap()
    }

    /// Polls once. Returns status and body.
    pub(crate) async fn poll(&self) -> (StatusCode, String) {
        read(self.http.get(&self.url).send().await.unwrap()).await
    }

    /// Posts a body unchanged. Returns status and body of the answer.
    pub(crate) async fn post(&self, body: impl Into<Body>) -> (StatusCode, String) {
        read(self.http.post(&self.url).body(body).send().await.unwrap()).await
    }

    /// Posts packets and fails unless they are accepted.
    pub(crate) async fn send(&self, packets: &[&str]) {
        let answer = self.post(packets.join(&SEPARATOR.to_string())).await;
        assert_eq!(answer, (StatusCode::OK, "ok".into()));
    }

    /// Polls once and fails unless the answer is 200. Returns the packets.
    pub(crate) async fn packets(&self) -> Vec<String> {
        let (status, body) = self.poll().await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body.split(SEPARATOR).map(str::to_owned).collect()
    }

    /// The next packet, pings included. It may have arrived together with an earlier one.
    pub(crate) async fn frame(&mut self) -> String {
        if self.waiting.is_empty() {
            self.waiting = self.packets().await;
        }
        self.waiting.remove(0)
    }

    /// Polls until the next packet that is no ping. Answers pings.
    pub(crate) async fn next(&mut self) -> String {
        let next = async {
            loop {
                let packet = self.frame().await;
                if packet != PING {
                    return packet;
                }
                self.send(&[PONG]).await;
            }
        };
        in_time("a packet", next).await
    }

    /// Reads on until a packet that contains this text.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            let packet = self.next().await;
            if packet.contains(text) {
                return packet;
            }
        }
    }

    /// Receives and answers the ping that begins each session. After that no packet waits.
    pub(crate) async fn past_first_ping(&self) {
        assert_eq!(self.packets().await, [PING]);
        self.send(&[PONG]).await;
    }

    /// Polls until the session no longer exists. Returns the packets received before.
    pub(crate) async fn until_closed(&self) -> Vec<String> {
        let mut packets = Vec::new();
        let closed = async {
            loop {
                let (status, body) = self.poll().await;
                match status {
                    StatusCode::OK => packets.extend(body.split(SEPARATOR).map(str::to_owned)),
                    _ => return assert_eq!(status, StatusCode::BAD_REQUEST, "{body}"),
                }
            }
        };
        in_time("the end of the session", closed).await;
        packets
    }
}

async fn read(answer: Response) -> (StatusCode, String) {
    (answer.status(), answer.text().await.unwrap())
}
