//! Group commit: webhooks that arrive during a commit form the next one.
//!
//! A request reserves a [`Slot`] of its body's length before the body is read, so that the queue bounds memory. It is
//! refused if the queue has no room for it, or if the database would not record it in time ([`pace`]). One task commits;
//! if it is idle, it commits a webhook at once. A webhook whose request ended before its commit began is left out, and
//! Telnyx sends it again. A webhook whose message is locked by another transaction is tried again in the next commits,
//! and parked while there is still time to answer it.

use std::sync::Arc;
use std::time::Duration;

use common::store::{Batch, Outcome, Recording, Store, StoreError, Webhook};
use common::throttle::Throttle;
use common::trace_context;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::pace::{Pace, Waiting};
use crate::metrics::{InQueue, IngestMetrics};
use crate::settings::QueueOptions;

mod pace;

/// Bytes of memory that a request takes besides its body: connection, task, and the parsed webhook.
pub const OVERHEAD: usize = 4 * 1024;
/// A webhook of this age waits for its message's lock once more, for 200 ms. Then it is parked and left to the sweep:
/// at 800 ms there is still time to answer it.
const PARK_AFTER: Duration = Duration::from_millis(600);
/// Longest wait before webhooks of locked messages are tried again.
const LOCKED_RETRY: Duration = Duration::from_millis(50);

/// Limits a log line that each commit repeats.
static REPEATS: Throttle = Throttle::once_a_minute();

/// Why a webhook was not recorded, as far as is known. Telnyx sends it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum CommitError {
    /// The queue has no room, or the webhook would not be recorded in time.
    #[error("too many webhooks are waiting")]
    QueueFull,
    /// The database is away, or refuses the batch.
    #[error("the database can't record webhooks at the moment")]
    DatabaseUnavailable,
    /// It concerns a message that a newer version wrote.
    #[error("a newer version wrote the webhook's message; finish the upgrade")]
    Unreadable,
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
}

/// A queued webhook, and where to send its outcome.
struct Queued {
    webhook: Webhook,
    answer: oneshot::Sender<Result<Outcome, CommitError>>,
    _waiting: Waiting,
    _place: Place,
}

/// The queue before the next commit.
#[derive(Clone)]
pub struct Queue {
    queued: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    pace: Pace,
    metrics: IngestMetrics,
}

/// Room in the queue. Dropping it frees it.
pub struct Slot {
    permit: mpsc::OwnedPermit<Queued>,
    place: Place,
    pace: Pace,
}

/// What a request takes of the queue's memory.
struct Place {
    bytes: OwnedSemaphorePermit,
    _counted: InQueue,
}

/// Takes webhooks from the queue and commits them.
pub struct Committer {
    waiting: mpsc::Receiver<Queued>,
    /// Webhooks of locked messages, oldest first. They go into the next batch.
    locked: Vec<Queued>,
    batch_limit: usize,
    pace: Pace,
    store: Store,
    metrics: IngestMetrics,
    failing: bool,
}

/// A queue and its committer, which starts with [`Committer::run`].
pub fn queue(options: QueueOptions, store: Store, metrics: IngestMetrics) -> (Queue, Committer) {
    let bytes = options.ingest_queue_bytes as usize;
    // No request takes less than its overhead, so the bytes are the limit and never the count.
    let (queued, waiting) = mpsc::channel(bytes / OVERHEAD);
    let batch_limit = options.ingest_batch.get();
    let pace = Pace::new(batch_limit);
    let bytes = Arc::new(Semaphore::new(bytes));
    let queue = Queue { queued, bytes, pace: pace.clone(), metrics: metrics.clone() };
    (queue, Committer { waiting, locked: Vec::new(), batch_limit, pace, store, metrics, failing: false })
}

impl Queue {
    /// Reserves room for a body of this length, without waiting.
    ///
    /// # Errors
    /// The queue is full, or the service is stopping.
    pub fn reserve(&self, length: usize) -> Result<Slot, CommitError> {
        let permit = self.queued.clone().try_reserve_owned().map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommitError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => CommitError::Stopping,
        })?;
        let taken = u32::try_from(length.saturating_add(OVERHEAD)).unwrap_or(u32::MAX);
        let bytes = self.bytes.clone().try_acquire_many_owned(taken).ok().filter(|_| self.pace.has_time());
        let place = Place { bytes: bytes.ok_or(CommitError::QueueFull)?, _counted: self.metrics.in_queue() };
        Ok(Slot { permit, place, pace: self.pace.clone() })
    }
}

impl Slot {
    /// Waits for the webhook's commit. Dropping the future stops waiting.
    ///
    /// # Errors
    /// It was not recorded.
    pub async fn commit(mut self, webhook: Webhook) -> Result<Outcome, CommitError> {
        // Others came while the body was read.
        let waiting = self.pace.wait().ok_or(CommitError::QueueFull)?;
        self.place.shrink_to(webhook.body.len());
        let (answer, outcome) = oneshot::channel();
        self.permit.send(Queued { webhook, answer, _waiting: waiting, _place: self.place });
        outcome.await.unwrap_or(Err(CommitError::Stopping))
    }
}

impl Place {
    /// Frees what was reserved for a longer body: the length of some is not known before they are read.
    fn shrink_to(&mut self, length: usize) {
        drop(self.bytes.split(self.bytes.num_permits().saturating_sub(length + OVERHEAD)));
    }
}

impl Committer {
    /// Commits until `closing` is cancelled and all earlier slots are answered.
    pub async fn run(mut self, closing: CancellationToken) {
        loop {
            let mut entries = std::mem::take(&mut self.locked);
            let has_ended = tokio::select! {
                has_ended = self.fill(&mut entries) => has_ended,
                () = closing.cancelled(), if !self.waiting.is_closed() => {
                    self.waiting.close();
                    false
                }
            };
            if has_ended && entries.is_empty() {
                return;
            }
            self.commit(entries).await;
        }
    }

    /// Waits for webhooks, at most [`LOCKED_RETRY`] if some wait already. Returns whether the queue has ended.
    async fn fill(&mut self, entries: &mut Vec<Queued>) -> bool {
        let limit = if entries.is_empty() { Duration::MAX } else { LOCKED_RETRY };
        let has_ended = timeout(limit, self.waiting.recv_many(entries, self.batch_limit)).await == Ok(0);
        if has_ended && !entries.is_empty() {
            tokio::time::sleep(LOCKED_RETRY).await;
        }
        has_ended
    }

    async fn commit(&mut self, mut entries: Vec<Queued>) {
        entries.retain(|entry| !entry.answer.is_closed());
        if entries.is_empty() {
            return;
        }
        let webhooks: Vec<Webhook> = entries.iter().map(|entry| entry.webhook.clone()).collect();
        match self.record(&webhooks).await {
            Ok(mut batch) => {
                let recordings = std::mem::take(&mut batch.recordings);
                for (entry, recording) in entries.into_iter().zip(recordings) {
                    self.finish(entry, recording);
                }
                if let Err(error) = self.store.apply_recorded(batch).await {
                    let told: &dyn std::error::Error = &error;
                    debug!(error = told, "just parked webhooks wait for the sweep");
                }
            }
            Err(unrecorded) => {
                for entry in entries {
                    let _ = entry.answer.send(Err(unrecorded));
                }
            }
        }
    }

    /// Answers a webhook, or keeps it for the next batch. Sending fails if the request has just ended; then the answer
    /// is not needed.
    fn finish(&mut self, entry: Queued, recording: Recording) {
        match recording {
            Recording::Recorded(outcome) => {
                self.metrics.recorded(&entry.webhook, outcome);
                let _traced = trace_context::span(entry.webhook.trace_parent.as_ref()).entered();
                debug!(
                    webhook.id = entry.webhook.event_id,
                    kind = entry.webhook.event_type,
                    outcome = <&str>::from(outcome),
                    "recorded"
                );
                let _ = entry.answer.send(Ok(outcome));
            }
            Recording::Unreadable => {
                let _ = entry.answer.send(Err(CommitError::Unreadable));
            }
            Recording::Locked => self.locked.push(entry),
        }
    }

    /// Records a batch in one commit.
    async fn record(&mut self, webhooks: &[Webhook]) -> Result<Batch, CommitError> {
        self.metrics.commit_begins(webhooks.len());
        let begun = Instant::now();
        // At most one batch waits for locks, to bound memory.
        let lock_wait = if webhooks.len() > self.batch_limit { Duration::ZERO } else { PARK_AFTER };
        let recorded = self.store.record_batch(webhooks, OffsetDateTime::now_utc() - lock_wait).await;
        let took = begun.elapsed();
        self.metrics.commit_took(took);
        match recorded {
            Ok(batch) => {
                self.pace.measured(webhooks.len(), took);
                if std::mem::take(&mut self.failing) {
                    info!("the database records webhooks again");
                }
                Ok(batch)
            }
            Err(error) => Err(self.log_failure(webhooks.len(), &error)),
        }
    }

    /// Logs the first failure in a row; readiness reports the rest.
    fn log_failure(&mut self, webhooks: usize, cause: &StoreError) -> CommitError {
        let error: &dyn std::error::Error = cause;
        if !cause.is_temporary() {
            if let Some(held_back) = REPEATS.opens("refused") {
                error!(error, webhooks, held_back, "the database refuses webhooks; answering 503");
            }
        } else if !self.failing {
            warn!(error, webhooks, "the database can't record webhooks; answering 503");
        }
        self.failing = true;
        CommitError::DatabaseUnavailable
    }
}

#[cfg(test)]
mod tests;
