//! Claims due recipients, in fair turns between churches, and posts each once.

use std::sync::Arc;
use std::time::Duration;

use common::service::{Condition, Context, Weight};
use common::store::{Attempt, Store};
use common::throttle::Throttle;
use time::OffsetDateTime;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::breaker::CircuitBreaker;
use super::poster::Poster;
use super::recorder::{AnsweredAttempt, Recorder};
use super::{backlog, readiness};
use crate::app::App;
use crate::settings::SendOptions;
use crate::telnyx::Telnyx;

/// Longest time between two looks for work: another process may have recorded a message without waking this one.
const POLL: Duration = Duration::from_secs(1);
/// Shortest time: a recipient that is due but claimed by another process must not make this one spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// Limits log lines that repeat while the database is away.
static REPEATS: Throttle = Throttle::once_a_minute();

/// Claims due recipients and posts them.
pub(crate) struct Dispatcher {
    store: Store,
    poster: Poster,
    wake: Arc<Notify>,
    condition: Condition,
    /// Most POSTs under way at once.
    concurrency: usize,
}

impl Dispatcher {
    /// Prepares the dispatcher and registers the readiness condition `sending`.
    pub(crate) fn new(app: &App, telnyx: Telnyx, options: &SendOptions) -> Self {
        let (metrics, condition) = (app.metrics.clone(), app.health.condition("sending", Weight::Degrading));
        condition.met();
        let breaker = Arc::new(CircuitBreaker::new(metrics.paused.clone()));
        Self {
            store: app.store.clone().with_limits(options.limits()),
            poster: Poster { telnyx, breaker, metrics },
            wake: app.wake.clone(),
            condition,
            concurrency: options.send_concurrency as usize,
        }
    }

    /// Works until shutdown, then waits for the POSTs under way and records their answers.
    pub(crate) async fn run(self, context: Context, tasks: TaskTracker) {
        let shutdown = context.shutdown.clone();
        let (answers, received) = mpsc::channel(self.concurrency);
        let metrics = self.poster.metrics.clone();
        let recorder = Recorder {
            store: self.store.clone(),
            waiting: metrics.waiting_answers.clone(),
            batch_limit: self.concurrency,
            shutdown: shutdown.clone(),
        };
        let recording = context.spawn_vital(&tasks, "recorder of answers", recorder.run(received));
        let (store, breaker) = (self.store.clone(), self.poster.breaker.clone());
        let backlog = backlog::watch(store.clone(), metrics.clone(), shutdown.clone());
        context.spawn_vital(&tasks, "backlog of sending", backlog);
        let watching = readiness::watch(store, breaker, metrics, self.condition.clone(), shutdown.clone());
        context.spawn_vital(&tasks, "readiness of sending", watching);
        if let Err(failure) = self.store.publish_rate().await {
            warn!(error = &failure as &dyn std::error::Error, "the rate is published with the first message");
        }
        self.dispatch(answers, &shutdown).await;
        // A failure of the recorder has stopped the service already.
        let _ = recording.await;
    }

    /// Claims and posts until shutdown. Returns once every POST is answered.
    async fn dispatch(&self, answers: mpsc::Sender<AnsweredAttempt>, shutdown: &CancellationToken) {
        let posts = TaskTracker::new();
        let semaphore = Arc::new(Semaphore::new(self.concurrency));
        while let Some(permits) = self.permits(&semaphore, shutdown).await {
            // Not cancelled by a shutdown: an attempt that is committed must be posted.
            match self.store.begin_attempts(permits.num_permits() as u32, OffsetDateTime::now_utc()).await {
                Ok(attempts) if attempts.is_empty() => {
                    drop(permits);
                    self.wait_for_work(shutdown).await;
                }
                Ok(attempts) => {
                    let permits = one_for_each(&attempts, permits, &semaphore).await;
                    self.post_all(attempts, permits, &posts, &answers);
                }
                Err(failure) => {
                    drop(permits);
                    if let Some(held_back) = REPEATS.opens("claim") {
                        let error = &failure as &dyn std::error::Error;
                        warn!(error, held_back, "can't claim due recipients; trying again");
                    }
                    shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await;
                }
            }
        }
        posts.close();
        posts.wait().await;
    }

    /// Permits for the next claim; `None` at shutdown. A half-open breaker gives one, once nothing is under way.
    async fn permits(
        &self,
        semaphore: &Arc<Semaphore>,
        shutdown: &CancellationToken,
    ) -> Option<OwnedSemaphorePermit> {
        let breaker = &self.poster.breaker;
        let acquired = async {
            let needed = if breaker.is_half_open() { self.concurrency } else { 1 };
            let mut permits = semaphore.clone().acquire_many_owned(needed as u32).await.ok()?;
            let more = semaphore.available_permits() as u32;
            if let Ok(more) = semaphore.clone().try_acquire_many_owned(more) {
                permits.merge(more);
            }
            breaker.closed_or_half_open().await;
            let count = if breaker.is_half_open() { 1 } else { permits.num_permits() };
            permits.split(count)
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            permits = acquired => permits,
        }
    }

    fn post_all(
        &self,
        attempts: Vec<Attempt>,
        mut permits: OwnedSemaphorePermit,
        posts: &TaskTracker,
        answers: &mpsc::Sender<AnsweredAttempt>,
    ) {
        for attempt in attempts {
            let Some(permit) = permits.split(1) else {
                // The claim asked for no more recipients than there are permits.
                error!(recipient.id = %attempt.recipient_id, "no permit for an attempt; it stays unresolved");
                continue;
            };
            let (poster, answers) = (self.poster.clone(), answers.clone());
            posts.spawn(async move {
                let answer = poster.post(&attempt).await;
                let answered = AnsweredAttempt { attempt: attempt.id, answer, permit };
                if answers.send(answered).await.is_err() {
                    error!(recipient.id = %attempt.recipient_id, "an answer came after its recorder had ended");
                }
            });
        }
    }

    /// Waits until the next recipient is due, a message is recorded, or [`POLL`] is over.
    async fn wait_for_work(&self, shutdown: &CancellationToken) {
        let now = OffsetDateTime::now_utc();
        let next = self.store.next_attempt_at().await.ok().flatten();
        let until_next = next.map_or(POLL, |at| (at - now).try_into().unwrap_or(Duration::ZERO));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.wake.notified() => {}
            () = tokio::time::sleep(until_next.clamp(SHORTEST_WAIT, POLL)) => {}
        }
    }
}

/// As many permits as attempts: a claim that is read back after a lost answer may be larger than the permits at hand.
async fn one_for_each(
    attempts: &[Attempt],
    mut permits: OwnedSemaphorePermit,
    semaphore: &Arc<Semaphore>,
) -> OwnedSemaphorePermit {
    let missing = attempts.len().saturating_sub(permits.num_permits());
    if let Ok(more) = semaphore.clone().acquire_many_owned(missing as u32).await {
        permits.merge(more);
    }
    permits
}
