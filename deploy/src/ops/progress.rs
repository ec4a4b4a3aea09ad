//! How far long work is, and whether it is to stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::output::Output;

/// Time between two lines about the progress.
const PAUSE: Duration = Duration::from_secs(1);

/// How far work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(super) struct Done {
    /// Things done so far.
    pub(super) done: u64,
    /// Of how many, if that is known.
    pub(super) of: Option<u64>,
    /// What they are: `events`.
    pub(super) things: &'static str,
}

/// Tells how far work is. Work that takes long looks at `stop` between its steps.
#[derive(Clone)]
pub(super) struct Progress {
    tell: Arc<dyn Fn(Done) + Send + Sync>,
    /// Cancelled when the work is to stop.
    pub(super) stop: CancellationToken,
}

impl Progress {
    /// Tells it to somebody who may stop the work.
    pub(super) fn told(tell: impl Fn(Done) + Send + Sync + 'static, stop: CancellationToken) -> Self {
        Self { tell: Arc::new(tell), stop }
    }

    /// Prints a line now and then, and never stops.
    pub(super) fn printed(output: Output, verb: &'static str) -> Self {
        let shown = Mutex::new(Instant::now());
        let print = move |Done { done, of, things }| {
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            if shown.elapsed() >= PAUSE {
                *shown = Instant::now();
                let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
                output.progress(&format!("{verb} {done}{of} {things}"));
            }
        };
        Self::told(print, CancellationToken::new())
    }

    /// Tells how far the work is.
    pub(super) fn tell(&self, done: u64, of: Option<u64>, things: &'static str) {
        (self.tell)(Done { done, of, things });
    }
}
