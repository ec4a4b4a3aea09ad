//! Connections that can be ended from inside.
//!
//! The Socket.IO library can't end a connection whose peer has stopped reading: its writer waits for ever. It can't
//! close a transport on request either: it only has a packet after which browsers do not come back. The connections of
//! this listener do both: a write that makes no progress for a while fails, and a handle cancels reads and writes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::service::accept;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::connections::connection::{Connection, Totals};
use crate::connections::frames::Frames;

/// Connections beyond the limit that are still accepted, to answer 503.
const TO_REFUSE: usize = 32;
/// Bytes that the kernel buffers for a peer that reads slowly. Its default is megabytes.
const SEND_BUFFER: usize = 64 << 10;

/// A listener whose connections can be ended from inside, and send small frames at once (TCP_NODELAY).
pub(crate) struct Listener {
    inner: TcpListener,
    stall: Duration,
    most: usize,
    all: Arc<Totals>,
}

impl Listener {
    /// Cuts connections on which a write makes no progress for `stall`. Beyond `most` connections a few more are
    /// accepted to answer 503; others are closed at once. The gauge shows how many are open.
    pub(crate) fn new(inner: TcpListener, stall: Duration, most: usize, open: Gauge) -> Self {
        Self { inner, stall, most: most.saturating_add(TO_REFUSE), all: Arc::new(Totals::new(open)) }
    }

    /// Returns the next connection.
    pub(crate) async fn accept(&self) -> ClientStream {
        loop {
            let (stream, peer) = accept(&self.inner).await;
            if self.all.open() >= self.most {
                continue;
            }
            prepare(&stream);
            let connection = Connection::new(peer, self.all.clone());
            tokio::spawn(connection.clone().cut_without_request());
            return ClientStream::new(stream, connection, self.stall);
        }
    }
}

/// Sends small frames at once, and limits what the kernel buffers for a peer that does not read.
fn prepare(stream: &TcpStream) {
    // This fails on a closed stream, which the first read finds out.
    let _ = stream.set_nodelay(true);
    #[cfg(unix)]
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER);
}

/// One connection.
pub(crate) struct ClientStream {
    inner: TcpStream,
    connection: Connection,
    // On a websocket the reader and the writer are different tasks, and each has to be woken.
    cut_reader: Pin<Box<WaitForCancellationFutureOwned>>,
    cut_writer: Pin<Box<WaitForCancellationFutureOwned>>,
    stall: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    frames: Frames,
}

impl ClientStream {
    fn new(inner: TcpStream, connection: Connection, stall: Duration) -> Self {
        let (cut_reader, cut_writer) = (Box::pin(connection.until_cut()), Box::pin(connection.until_cut()));
        Self { inner, connection, cut_reader, cut_writer, stall, deadline: None, frames: Frames::default() }
    }

    /// Its handle.
    pub(crate) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Notes the packets of the session that are written now.
    fn wrote(&mut self, bytes: &[u8]) {
        if self.connection.is_websocket() {
            let connection = &self.connection;
            self.frames.pass(bytes, |packet| connection.wrote(packet));
        }
    }

    /// Runs the clock of stalled writes: a pending write starts it, progress resets it.
    fn watch<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.deadline = None;
            return outcome;
        }
        if self.cut_writer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(was_cut()));
        }
        let stall = self.stall;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(stall)));
        if deadline.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.connection.stall();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.connection.closed();
    }
}

fn was_cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "closed by the gateway")
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut_reader.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(was_cut()));
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.connection.received(buf.filled().len() - before);
        outcome
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.connection.is_cut() {
            return Poll::Ready(Err(was_cut()));
        }
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = outcome {
            self.wrote(bytes.get(..written).unwrap_or_default());
        }
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.connection.is_cut() {
            return Poll::Ready(Err(was_cut()));
        }
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(mut written)) = outcome {
            for slice in slices {
                let part = slice.get(..written.min(slice.len())).unwrap_or_default();
                written -= part.len();
                self.wrote(part);
            }
        }
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn pair(stall: Duration, most: usize) -> (Listener, ClientStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::new(listener, stall, most, Gauge::default());
        let peer = TcpStream::connect(address).await.unwrap();
        let io = listener.accept().await;
        (listener, io, peer)
    }

    async fn write_until_it_fails(io: &mut ClientStream) -> io::Error {
        let bytes = [0; 64 * 1024];
        loop {
            if let Err(error) = io.write_all(&bytes).await {
                return error;
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_cut() {
        let (_listener, mut io, _peer) = pair(Duration::from_millis(50), 10).await;
        let error = timeout(LONG, write_until_it_fails(&mut io)).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(io.connection.stalled());
        assert!(io.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn a_cut_wakes_reader_and_writer_in_their_tasks() {
        let (_listener, io, _peer) = pair(LONG, 10).await;
        let connection = io.connection.clone();
        let (mut reader, mut writer) = tokio::io::split(io);
        let reading = tokio::spawn(async move { reader.read_u8().await.map_err(|error| error.kind()) });
        let writing = tokio::spawn(async move {
            let bytes = [0; 64 * 1024];
            while writer.write_all(&bytes).await.is_ok() {}
        });
        connection.cut();
        let read = timeout(LONG, reading).await.unwrap().unwrap();
        assert_eq!(read, Err(io::ErrorKind::ConnectionAborted));
        timeout(LONG, writing).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_closed_connection_runs_its_action_and_is_counted() {
        let (_listener, io, _peer) = pair(LONG, 10).await;
        let connection = io.connection.clone();
        let (told, hears) = tokio::sync::oneshot::channel();
        connection.on_close(move || told.send(()).unwrap_or_default());
        assert_eq!(connection.open(), 1);
        drop(io);
        timeout(LONG, hears).await.unwrap().unwrap();
        assert_eq!(connection.open(), 0);
    }

    #[tokio::test]
    async fn beyond_the_limit_and_the_reserve_for_refusals_a_connection_is_closed_at_once() {
        let (listener, first, _peer) = pair(LONG, 1).await;
        let address = listener.inner.local_addr().unwrap();
        let mut kept = vec![first];
        let mut peers = Vec::new();
        for _ in 0..TO_REFUSE {
            peers.push(TcpStream::connect(address).await.unwrap());
            kept.push(listener.accept().await);
        }
        let mut unheard = TcpStream::connect(address).await.unwrap();
        let accepting = tokio::spawn(async move { listener.accept().await });
        assert_eq!(timeout(LONG, unheard.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
        kept.pop();
        let heard = TcpStream::connect(address).await.unwrap();
        let io = timeout(LONG, accepting).await.unwrap().unwrap();
        assert_eq!(heard.local_addr().unwrap(), io.connection.peer());
    }
}
