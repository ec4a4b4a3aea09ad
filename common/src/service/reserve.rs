//! One file that a listener keeps for the moment in which the process has no other left: operators have to be able to
//! ask what is wrong just then.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::warn;

use crate::throttle::Throttle;

/// After an error of a listener, out of file descriptors for one.
const PAUSE: Duration = Duration::from_millis(100);
/// It lasts while files are exhausted.
static TROUBLE: Throttle = Throttle::once_a_minute();
/// A file that always exists and costs nothing.
#[cfg(unix)]
const NOTHING: &str = "/dev/null";
#[cfg(not(unix))]
const NOTHING: &str = "NUL";

/// Waits a moment after a listener's error, and tells of it once a minute.
pub(crate) async fn outlive(error: &std::io::Error) {
    if let Some(held_back) = TROUBLE.opens("") {
        warn!(%error, held_back, "no connection could be accepted; trying again");
    }
    sleep(PAUSE).await;
}

/// A listener with one file in reserve.
pub(crate) struct ReservedListener {
    inner: TcpListener,
    reserve: Reserve,
}

/// A connection that came.
pub(crate) struct Accepted {
    /// The connection.
    pub(crate) stream: TcpStream,
    /// It took the reserve: it is to be short, and to drop this right after the stream.
    pub(crate) last: Option<Taken>,
}

/// Takes its file back when dropped, so that the next connection can have it.
pub(crate) struct Taken(Reserve);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fill();
    }
}

#[derive(Clone)]
struct Reserve(Arc<Mutex<Option<File>>>);

impl Reserve {
    /// Opens the file if it is not open and can be.
    fn fill(&self) {
        let mut file = self.file();
        if file.is_none() {
            *file = File::open(NOTHING).ok();
        }
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReservedListener {
    /// Keeps a file beside the listener.
    pub(crate) fn new(inner: TcpListener) -> Self {
        Self { inner, reserve: Reserve(Arc::default()) }
    }

    /// The next connection. Errors are outlived.
    pub(crate) async fn accept(&self) -> Accepted {
        loop {
            self.reserve.fill();
            match self.inner.accept().await {
                Ok((stream, _)) => return Accepted { stream, last: None },
                Err(error) => {
                    if let Some((stream, _)) = self.accept_with_reserve() {
                        return Accepted { stream, last: Some(Taken(self.reserve.clone())) };
                    }
                    outlive(&error).await;
                }
            }
        }
    }

    /// Gives the file to the connection that waits. Both in one go, before another part of the process takes it.
    fn accept_with_reserve(&self) -> Option<(TcpStream, SocketAddr)> {
        let mut file = self.reserve.file();
        drop(file.take()?);
        self.inner.accept().now_or_never()?.ok()
    }
}
