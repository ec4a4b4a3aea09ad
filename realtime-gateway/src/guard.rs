//! Connections that can be ended from inside.
//!
//! The Socket.IO library can neither end a connection whose peer has stopped reading (its writer waits for ever) nor
//! close a transport on request (it only knows a packet after which browsers do not come back). So the listener's
//! connections do both: a write that makes no progress for a while fails, and a handle cancels reads and writes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long a connection may take to its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Connections beyond the limit that are still answered, with 503.
const TO_SAY_NO: usize = 32;

/// The handle of one TCP connection.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Shared>);

struct Shared {
    peer: SocketAddr,
    open: Arc<AtomicUsize>,
    used: AtomicBool,
    cut: CancellationToken,
    stalled: AtomicBool,
    at_end: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Connection {
    fn new(peer: SocketAddr, open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Shared {
            peer,
            open,
            used: AtomicBool::new(false),
            cut: CancellationToken::new(),
            stalled: AtomicBool::new(false),
            at_end: Mutex::new(None),
        }))
    }

    /// The other end: a browser, or the proxy before it.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// How many connections the listener has open.
    pub(crate) fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Notes that a whole request came. A connection without one is ended after a while.
    pub(crate) fn used(&self) {
        self.0.used.store(true, Ordering::Relaxed);
    }

    async fn end_if_unused(self) {
        sleep(FIRST_REQUEST).await;
        if !self.0.used.load(Ordering::Relaxed) {
            self.cut();
        }
    }

    /// Ends the connection now; what was not written yet is lost.
    pub(crate) fn cut(&self) {
        self.0.cut.cancel();
    }

    /// Does this once the connection is closed, in place of what was to be done before.
    pub(crate) fn at_end(&self, act: impl FnOnce() + Send + 'static) {
        *self.0.at_end.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
    }

    /// Whether it was ended because a write made no progress.
    pub(crate) fn stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }

    /// Whether two handles are of one connection.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Connected<IncomingStream<'_, GuardedListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, GuardedListener>) -> Self {
        stream.io().connection.clone()
    }
}

/// A listener whose connections are guarded and send small frames at once (TCP_NODELAY).
pub(crate) struct GuardedListener {
    inner: TcpListener,
    stall: Duration,
    most: usize,
    open: Arc<AtomicUsize>,
}

impl GuardedListener {
    /// Ends connections on which a write makes no progress for `stall`. A connection beyond `most` and the few that
    /// are needed to say no is closed unheard.
    pub(crate) fn new(inner: TcpListener, stall: Duration, most: usize) -> Self {
        Self { inner, stall, most: most.saturating_add(TO_SAY_NO), open: Arc::default() }
    }
}

impl Listener for GuardedListener {
    type Io = GuardedIo;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (GuardedIo, SocketAddr) {
        loop {
            // The trait's accept survives errors such as too many open files; the type's own does not.
            let (stream, peer) = Listener::accept(&mut self.inner).await;
            if self.open.load(Ordering::Relaxed) >= self.most {
                continue;
            }
            // A stream that is closed already refuses; it is found out at the first read.
            let _ = stream.set_nodelay(true);
            let connection = Connection::new(peer, self.open.clone());
            tokio::spawn(connection.clone().end_if_unused());
            return (GuardedIo::new(stream, connection, self.stall), peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// One guarded connection.
pub(crate) struct GuardedIo {
    inner: TcpStream,
    connection: Connection,
    // Reader and writer are different tasks once the connection is a websocket, and each has to be woken.
    cut_reader: Pin<Box<WaitForCancellationFutureOwned>>,
    cut_writer: Pin<Box<WaitForCancellationFutureOwned>>,
    stall: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl GuardedIo {
    fn new(inner: TcpStream, connection: Connection, stall: Duration) -> Self {
        let cut = || Box::pin(connection.0.cut.clone().cancelled_owned());
        let (cut_reader, cut_writer) = (cut(), cut());
        Self { inner, connection, cut_reader, cut_writer, stall, deadline: None }
    }

    /// Watches over a write that did `outcome`: done resets the clock, pending starts it.
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
        self.connection.0.stalled.store(true, Ordering::Relaxed);
        self.connection.cut();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }

    fn is_cut(&self) -> bool {
        self.connection.0.cut.is_cancelled()
    }
}

impl Drop for GuardedIo {
    fn drop(&mut self) {
        self.connection.0.open.fetch_sub(1, Ordering::Relaxed);
        let act = self.connection.0.at_end.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(act) = act {
            act();
        }
    }
}

fn was_cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "closed by the gateway")
}

impl AsyncRead for GuardedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut_reader.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(was_cut()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_cut() {
            return Poll::Ready(Err(was_cut()));
        }
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut() {
            return Poll::Ready(Err(was_cut()));
        }
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
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

    async fn pair(stall: Duration, most: usize) -> (GuardedListener, GuardedIo, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = GuardedListener::new(listener, stall, most);
        let peer = TcpStream::connect(address).await.unwrap();
        let (io, _) = listener.accept().await;
        (listener, io, peer)
    }

    async fn write_until_it_fails(io: &mut GuardedIo) -> io::Error {
        let bytes = [0; 64 * 1024];
        loop {
            if let Err(error) = io.write_all(&bytes).await {
                return error;
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_ended() {
        let (_listener, mut io, _peer) = pair(Duration::from_millis(50), 10).await;
        let error = timeout(LONG, write_until_it_fails(&mut io)).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(io.connection.stalled());
        assert!(io.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn a_cut_wakes_the_reader_and_the_writer_in_whichever_task_they_are() {
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
    async fn the_end_of_a_connection_is_told_and_counted() {
        let (_listener, io, _peer) = pair(LONG, 10).await;
        let connection = io.connection.clone();
        let (told, hears) = tokio::sync::oneshot::channel();
        connection.at_end(move || told.send(()).unwrap_or_default());
        assert_eq!(connection.open(), 1);
        drop(io);
        timeout(LONG, hears).await.unwrap().unwrap();
        assert_eq!(connection.open(), 0);
    }

    #[tokio::test]
    async fn beyond_the_limit_and_the_room_to_say_no_a_connection_is_closed_unheard() {
        let (mut listener, first, _peer) = pair(LONG, 1).await;
        let address = listener.local_addr().unwrap();
        let mut kept = vec![first];
        let mut peers = Vec::new();
        for _ in 0..TO_SAY_NO {
            peers.push(TcpStream::connect(address).await.unwrap());
            kept.push(listener.accept().await.0);
        }
        let mut unheard = TcpStream::connect(address).await.unwrap();
        let accepting = tokio::spawn(async move { listener.accept().await });
        assert_eq!(timeout(LONG, unheard.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
        kept.pop();
        let heard = TcpStream::connect(address).await.unwrap();
        let (io, peer) = timeout(LONG, accepting).await.unwrap().unwrap();
        assert_eq!((heard.local_addr().unwrap(), io.connection.peer()), (peer, peer));
    }
}
