//! Minimal HTTP/1.1: prepared requests go out over a kept connection, and only status and length of the answer are
//! read. A full client would cost more than the service that answers.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::tcp;

/// Largest head of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// A kept connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The parts of an answer that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Bytes on the wire, head and body.
    pub bytes: usize,
}

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    /// If no server listens there.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = tcp::connect(address).await?;
        Ok(Self { stream, buffer: Vec::with_capacity(1024) })
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// If the connection broke, or the answer is not HTTP.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if self.buffer.len() > MAX_HEAD {
                bail!("the head of the answer does not end");
            }
            self.read_more().await?;
        };
        let (status, length) = read_head(&self.buffer[..head])?;
        let bytes = head + length;
        while self.buffer.len() < bytes {
            self.read_more().await?;
        }
        Ok(Answer { status, bytes })
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection was closed before the answer was complete");
        }
        Ok(())
    }
}

/// Status and length of the body.
fn read_head(head: &[u8]) -> anyhow::Result<(u16, usize)> {
    let head = std::str::from_utf8(head).context("the head of the answer is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|word| word.parse().ok());
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Some(0), |(_, value)| value.trim().parse().ok());
    status.zip(length).context("the answer is not HTTP")
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The socket address of a base URL such as `http://127.0.0.1:8081`.
///
/// # Errors
/// If the URL has no address and port.
pub fn address_of(base_url: &str) -> anyhow::Result<SocketAddr> {
    let address = base_url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    address.parse().with_context(|| format!("{base_url} has no address and port"))
}

/// A GET request with a Bearer token.
pub fn get(address: SocketAddr, path: &str, token: &str) -> Bytes {
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n").into()
}

/// A POST request with a JSON body.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_read_case_insensitively() {
        let head = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-LENGTH: 42\r\n\r\n";
        assert_eq!(read_head(head).unwrap(), (503, 42));
        assert_eq!(read_head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), (204, 0));
        assert!(read_head(b"hello\r\n\r\n").is_err());
    }
}
