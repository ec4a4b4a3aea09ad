//! Group commit: webhooks that arrive while one commit is under way form the next one.
//!
//! A request takes its [`Place`] before its body is read, so that the queue also bounds what is in memory. One task
//! commits; an idle committer takes a webhook at once. A webhook whose requester gave up waiting before its commit
//! began is left out, and Telnyx sends it again. One whose message is locked by another transaction waits for the next
//! commits, and is parked while there is still time to answer it.

use std::time::Duration;

use common::store::{Batch, Outcome, Recording, Store, StoreError, Webhook};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::metrics::{InQueue, IngestMetrics};
use crate::settings::QueueOptions;

/// A webhook of this age waits once more for its message to be unlocked, 200 ms, and is then parked and left to the sweep:
/// at the age of 800 ms there is still time to answer it.
const PARK_AFTER: Duration = Duration::from_millis(600);
/// How soon webhooks of locked messages are tried again if no others come.
const LOCKED_RETRY: Duration = Duration::from_millis(50);

/// Why a webhook was not recorded, as far as is known. Telnyx has to send it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unrecorded {
    /// As many wait as may.
    #[error("too many webhooks are waiting")]
    QueueFull,
    /// The database is away or refuses.
    #[error("the database does not take webhooks at the moment")]
    Unavailable,
    /// It concerns what a newer version wrote.
    #[error("this version can't read what the webhook concerns; the upgrade has to come to its end")]
    Unreadable,
    /// The service is about to end.
    #[error("the service is stopping")]
    Stopping,
}

/// A webhook, and who waits for its outcome.
struct Entry {
    webhook: Webhook,
    answer: oneshot::Sender<Result<Outcome, Unrecorded>>,
    _counted: InQueue,
}

/// Where requests wait for the next commit.
#[derive(Clone)]
pub struct Queue {
    places: mpsc::Sender<Entry>,
    metrics: IngestMetrics,
}

/// A place in the queue; free again when dropped.
pub struct Place {
    permit: mpsc::OwnedPermit<Entry>,
    counted: InQueue,
}

/// Takes webhooks out of the queue and commits them.
pub struct Committer {
    waiting: mpsc::Receiver<Entry>,
    /// Webhooks of locked messages, oldest first. They belong into the next batch.
    locked: Vec<Entry>,
    batch_limit: usize,
    store: Store,
    metrics: IngestMetrics,
    failing: bool,
}

/// A queue and its committer, which does nothing until [`Committer::run`].
pub fn queue(options: QueueOptions, store: Store, metrics: IngestMetrics) -> (Queue, Committer) {
    let (places, waiting) = mpsc::channel(options.ingest_queue.get());
    let queue = Queue { places, metrics: metrics.clone() };
    let batch_limit = options.ingest_batch.get();
    (queue, Committer { waiting, locked: Vec::new(), batch_limit, store, metrics, failing: false })
}

impl Queue {
    /// Takes a place, without waiting.
    ///
    /// # Errors
    /// The queue is full, or the service is stopping.
    pub fn take_place(&self) -> Result<Place, Unrecorded> {
        let permit = self.places.clone().try_reserve_owned().map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unrecorded::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Unrecorded::Stopping,
        })?;
        Ok(Place { permit, counted: self.metrics.in_queue() })
    }
}

impl Place {
    /// Waits for the webhook's commit; to stop waiting, drop the future.
    ///
    /// # Errors
    /// It was not recorded.
    pub async fn commit(self, webhook: Webhook) -> Result<Outcome, Unrecorded> {
        let (answer, outcome) = oneshot::channel();
        self.permit.send(Entry { webhook, answer, _counted: self.counted });
        outcome.await.unwrap_or(Err(Unrecorded::Stopping))
    }
}

impl Committer {
    /// Commits until `closing` is cancelled and all that took a place before is answered.
    pub async fn run(mut self, closing: CancellationToken) {
        loop {
            let mut entries = std::mem::take(&mut self.locked);
            let is_over = tokio::select! {
                is_over = self.fill(&mut entries) => is_over,
                () = closing.cancelled(), if !self.waiting.is_closed() => {
                    self.waiting.close();
                    false
                }
            };
            if is_over && entries.is_empty() {
                return;
            }
            self.commit(entries).await;
        }
    }

    /// Waits for webhooks, not for long if some wait already. Returns whether none will come any more.
    async fn fill(&mut self, entries: &mut Vec<Entry>) -> bool {
        let limit = if entries.is_empty() { Duration::MAX } else { LOCKED_RETRY };
        let is_over = timeout(limit, self.waiting.recv_many(entries, self.batch_limit)).await == Ok(0);
        if is_over && !entries.is_empty() {
            tokio::time::sleep(LOCKED_RETRY).await;
        }
        is_over
    }

    async fn commit(&mut self, mut entries: Vec<Entry>) {
        entries.retain(|entry| !entry.answer.is_closed());
        if entries.is_empty() {
            return;
        }
        let webhooks: Vec<Webhook> = entries.iter().map(|entry| entry.webhook.clone()).collect();
        match self.record(&webhooks).await {
            Ok(mut batch) => {
                let recordings = std::mem::take(&mut batch.recordings);
                for (entry, recording) in entries.into_iter().zip(recordings) {
                    self.conclude(entry, recording);
                }
                if let Err(error) = self.store.claim_recorded(batch).await {
                    let told: &dyn std::error::Error = &error;
                    debug!(error = told, "webhooks that were just parked wait for the sweep");
                }
            }
            Err(unrecorded) => {
                for entry in entries {
                    let _ = entry.answer.send(Err(unrecorded));
                }
            }
        }
    }

    /// Answers a requester, or keeps its webhook for the next batch. Nobody listens any more if the requester just gave
    /// up.
    fn conclude(&mut self, entry: Entry, recording: Recording) {
        match recording {
            Recording::Recorded(outcome) => {
                self.metrics.recorded(outcome);
                debug!(
                    webhook.id = entry.webhook.event_id,
                    kind = entry.webhook.event_type,
                    outcome = outcome.as_str(),
                    "recorded"
                );
                let _ = entry.answer.send(Ok(outcome));
            }
            Recording::Unreadable => {
                let _ = entry.answer.send(Err(Unrecorded::Unreadable));
            }
            Recording::Locked => self.locked.push(entry),
        }
    }

    /// Records a batch in one commit.
    async fn record(&mut self, webhooks: &[Webhook]) -> Result<Batch, Unrecorded> {
        self.metrics.commit_begins(webhooks.len());
        let begun = Instant::now();
        // No more than a batch waits for locks: what memory holds stays bounded.
        let patience = if webhooks.len() > self.batch_limit { Duration::ZERO } else { PARK_AFTER };
        let recorded = self.store.record_batch(webhooks, OffsetDateTime::now_utc() - patience).await;
        self.metrics.commit_took(begun.elapsed());
        match recorded {
            Ok(batch) => {
                if std::mem::take(&mut self.failing) {
                    info!("the database takes webhooks again");
                }
                Ok(batch)
            }
            Err(error) => Err(self.failed(webhooks.len(), &error)),
        }
    }

    /// Logs the first of a row of failures; the readiness tells of the rest.
    fn failed(&mut self, webhooks: usize, cause: &StoreError) -> Unrecorded {
        let cause_text: &dyn std::error::Error = cause;
        if !cause.is_temporary() {
            error!(error = cause_text, webhooks, "the database refuses webhooks; answering 503");
        } else if !self.failing {
            warn!(error = cause_text, webhooks, "the database does not take webhooks; answering 503");
        }
        self.failing = true;
        Unrecorded::Unavailable
    }
}

#[cfg(test)]
mod tests;
