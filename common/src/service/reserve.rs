//! Keeps one file descriptor in reserve, so that operators can ask what is wrong when the process has run out of them.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::warn;

use crate::throttle::Throttle;

/// Pause after an error of a listener.
const PAUSE: Duration = Duration::from_millis(100);
/// Running out of file descriptors repeats the error.
static ERRORS: Throttle = Throttle::once_a_minute();
/// A file that always exists and costs nothing.
#[cfg(unix)]
const NOTHING: &str = "/dev/null";
#[cfg(not(unix))]
const NOTHING: &str = "NUL";

/// Waits a moment after a listener's error, and logs it once a minute.
pub(crate) async fn pause_after(error: &std::io::Error) {
    if let Some(held_back) = ERRORS.opens("") {
        warn!(%error, held_back, "can't accept connections; trying again");
    }
    sleep(PAUSE).await;
}

/// A listener with one file descriptor in reserve.
pub(crate) struct ReservedListener {
    inner: TcpListener,
    reserve: Reserve,
}

/// An accepted connection.
pub(crate) struct Accepted {
    /// The connection.
    pub(crate) stream: TcpStream,
    /// It took the reserve: serve it briefly, and drop this right after the stream.
    pub(crate) last: Option<Taken>,
}

/// Reserves a file descriptor again when dropped.
pub(crate) struct Taken(Reserve);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fill();
    }
}

#[derive(Clone)]
struct Reserve(Arc<Mutex<Option<File>>>);

impl Reserve {
    /// Opens the file unless it is open.
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
    /// Reserves a file descriptor beside the listener.
    pub(crate) fn new(inner: TcpListener) -> Self {
        Self { inner, reserve: Reserve(Arc::default()) }
    }

    /// The next connection. Tries again after errors.
    pub(crate) async fn accept(&self) -> Accepted {
        loop {
            self.reserve.fill();
            match self.inner.accept().await {
                Ok((stream, _)) => return Accepted { stream, last: None },
                Err(error) => {
                    if let Some((stream, _)) = self.accept_with_reserve() {
                        return Accepted { stream, last: Some(Taken(self.reserve.clone())) };
                    }
                    pause_after(&error).await;
                }
            }
        }
    }

    /// Gives the reserved descriptor to the waiting connection, in one step, before other code takes it.
    fn accept_with_reserve(&self) -> Option<(TcpStream, SocketAddr)> {
        let mut file = self.reserve.file();
        drop(file.take()?);
        self.inner.accept().now_or_never()?.ok()
    }
}
