//! Group commit: webhooks that arrive while one commit is under way form the next one.
//!
//! A request takes its [`Place`] before its body is read, so that the queue also bounds what is in memory. One task
//! commits; there is no timer, an idle committer takes a webhook at once. Whoever gave up waiting before its commit
//! began is left out, and Telnyx sends that webhook again.

use std::time::Duration;

use common::store::{Outcome, Store, StoreError, Webhook};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::metrics::{InQueue, IngestMetrics};
use crate::settings::QueueOptions;

/// A commit that takes longer is given up. Longer than any requester waits, so that a slow database still gets on:
/// what is recorded after its requester gave up is a duplicate when Telnyx repeats it.
const COMMIT_LIMIT: Duration = Duration::from_secs(10);

/// Why a webhook was not recorded, as far as is known. Telnyx has to send it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unrecorded {
    /// As many wait as may.
    #[error("too many webhooks are waiting")]
    QueueFull,
    /// The database is away or refuses.
    #[error("the database does not take webhooks at the moment")]
    Unavailable,
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
    batch_limit: usize,
    store: Store,
    metrics: IngestMetrics,
    failing: bool,
}

/// A queue and its committer, which does nothing until [`Committer::run`].
pub fn queue(options: QueueOptions, store: Store, metrics: IngestMetrics) -> (Queue, Committer) {
    let (places, waiting) = mpsc::channel(options.ingest_queue.get());
    let queue = Queue { places, metrics: metrics.clone() };
    (queue, Committer { waiting, batch_limit: options.ingest_batch.get(), store, metrics, failing: false })
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
        let mut entries = Vec::with_capacity(self.batch_limit);
        loop {
            tokio::select! {
                taken = self.waiting.recv_many(&mut entries, self.batch_limit) => {
                    if taken == 0 {
                        return;
                    }
                }
                () = closing.cancelled(), if !self.waiting.is_closed() => self.waiting.close(),
            }
            self.commit(entries.drain(..)).await;
        }
    }

    async fn commit(&mut self, entries: impl Iterator<Item = Entry>) {
        let (webhooks, answers): (Vec<_>, Vec<_>) = entries
            .filter(|entry| !entry.answer.is_closed())
            .map(|entry| (entry.webhook, entry.answer))
            .unzip();
        if webhooks.is_empty() {
            return;
        }
        match self.record(&webhooks).await {
            Ok(outcomes) => {
                for ((webhook, answer), outcome) in webhooks.iter().zip(answers).zip(outcomes) {
                    self.metrics.recorded(outcome);
                    debug!(
                        webhook.id = webhook.event_id,
                        kind = webhook.event_type,
                        outcome = outcome.as_str(),
                        "recorded"
                    );
                    // Nobody listens any more if the requester just gave up.
                    let _ = answer.send(Ok(outcome));
                }
            }
            Err(unrecorded) => {
                for answer in answers {
                    let _ = answer.send(Err(unrecorded));
                }
            }
        }
    }

    /// Records a batch in one commit.
    async fn record(&mut self, webhooks: &[Webhook]) -> Result<Vec<Outcome>, Unrecorded> {
        self.metrics.commit_begins(webhooks.len());
        let begun = Instant::now();
        let recorded = tokio::time::timeout(COMMIT_LIMIT, self.store.record_webhooks(webhooks)).await;
        self.metrics.commit_took(begun.elapsed());
        match recorded {
            Ok(Ok(outcomes)) => {
                if std::mem::take(&mut self.failing) {
                    info!("the database takes webhooks again");
                }
                Ok(outcomes)
            }
            Ok(Err(error)) => Err(self.failed(webhooks.len(), &error)),
            Err(_) => Err(self.gave_up(webhooks.len())),
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

    fn gave_up(&mut self, webhooks: usize) -> Unrecorded {
        warn!(webhooks, limit = ?COMMIT_LIMIT, "the database did not finish a commit in time; answering 503");
        self.failing = true;
        Unrecorded::Unavailable
    }
}

#[cfg(test)]
mod tests;
