//! Sends what is due: takes recipients from the store in fair turns between churches, posts each once, and records
//! what became of it.
//!
//! The attempt is committed before the POST. From then on the recipient is never posted again, unless the answer
//! surely means that Telnyx does not have it; a crash, a lost answer and a database that is away all leave it
//! unresolved, for its webhook or the time limit to end.

use std::sync::Arc;
use std::time::Duration;

use common::store::{Answer, Attempt, Store};
use time::OffsetDateTime;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use crate::metrics::{ApiMetrics, SendLabels};
use crate::settings::SendOptions;
use crate::telnyx::{Hindrance, Telnyx, Verdict};
use answers::{Answered, Recorder};
use pace::Pace;

mod answers;
mod overdue;
mod pace;

pub(crate) use overdue::close_overdue;

/// Looks for work so often although nobody woke it: another process may have recorded some.
const SWEEP: Duration = Duration::from_secs(1);

/// Takes due recipients from the store and posts them.
pub(crate) struct Dispatcher {
    store: Store,
    telnyx: Telnyx,
    metrics: ApiMetrics,
    wake: Arc<Notify>,
    pace: Arc<Pace>,
    most: usize,
}

impl Dispatcher {
    /// `wake` is notified whenever something may be due.
    pub(crate) fn new(
        store: Store,
        telnyx: Telnyx,
        options: &SendOptions,
        metrics: ApiMetrics,
        wake: Arc<Notify>,
    ) -> Self {
        let pace = Arc::new(Pace::new(options.send_rate, metrics.paused.clone()));
        Self { store, telnyx, metrics, wake, pace, most: options.send_concurrency as usize }
    }

    /// Works until shutdown, then waits for the POSTs under way and records their answers.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let (answers, received) = mpsc::channel(self.most);
        let recorder = Recorder {
            store: self.store.clone(),
            waiting: self.metrics.waiting_answers.clone(),
            most: self.most,
            shutdown: shutdown.clone(),
        };
        let recording = tokio::spawn(recorder.run(received));
        let posts = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.most));
        while let Some((room, place)) = self.room(&places, &shutdown).await {
            // Not in a select: what is committed here must be posted.
            match self.store.begin_attempts(room as u32, OffsetDateTime::now_utc()).await {
                Ok(attempts) if attempts.is_empty() => {
                    drop(place);
                    self.idle(&shutdown).await;
                }
                Ok(attempts) => self.post_all(attempts, place, &posts, &answers),
                Err(failure) => {
                    drop(place);
                    warn!(
                        error = &failure as &dyn std::error::Error,
                        "what is due can't be read; trying again"
                    );
                    sleep_or_stop(SWEEP, &shutdown).await;
                }
            }
        }
        drop(answers);
        posts.close();
        posts.wait().await;
        if recording.await.is_err() {
            error!("the recorder of answers ended badly");
        }
    }

    /// How many may be posted now, with their places; `None` at shutdown.
    async fn room(
        &self,
        places: &Arc<Semaphore>,
        shutdown: &CancellationToken,
    ) -> Option<(usize, OwnedSemaphorePermit)> {
        let room = async {
            // While trying after trouble, one message at a time.
            let needed = if self.pace.is_trying() { self.most } else { 1 };
            let mut place = places.clone().acquire_many_owned(needed as u32).await.ok()?;
            let more = places.available_permits() as u32;
            if let Ok(more) = places.clone().try_acquire_many_owned(more) {
                place.merge(more);
            }
            let room = self.pace.ready(place.num_permits()).await;
            // What is not needed goes back at once.
            let place = place.split(room)?;
            Some((room, place))
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            room = room => room,
        }
    }

    fn post_all(
        &self,
        attempts: Vec<Attempt>,
        mut places: OwnedSemaphorePermit,
        posts: &TaskTracker,
        answers: &mpsc::Sender<Answered>,
    ) {
        for attempt in attempts {
            let Some(place) = places.split(1) else {
                // The store was asked for no more than there are places.
                error!(recipient.id = %attempt.recipient_id, "no place for an attempt; it stays unresolved");
                continue;
            };
            let post =
                Post { telnyx: self.telnyx.clone(), pace: self.pace.clone(), metrics: self.metrics.clone() };
            let answers = answers.clone();
            posts.spawn(async move {
                let answer = post.send(&attempt).await;
                let answered = Answered { recipient_id: attempt.recipient_id, answer, place };
                if answers.send(answered).await.is_err() {
                    error!(recipient.id = %attempt.recipient_id, "an answer came after its recorder had ended");
                }
            });
        }
    }

    /// Nothing is due: waits until something may be.
    async fn idle(&self, shutdown: &CancellationToken) {
        let now = OffsetDateTime::now_utc();
        let next = self.store.next_attempt_at().await.ok().flatten();
        let until_next = next.map_or(SWEEP, |at| (at - now).try_into().unwrap_or(Duration::ZERO));
        // At least a little: what is due but taken by another process must not make us spin.
        let wait = until_next.clamp(Duration::from_millis(10), SWEEP);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One POST and what follows from its answer.
struct Post {
    telnyx: Telnyx,
    pace: Arc<Pace>,
    metrics: ApiMetrics,
}

impl Post {
    async fn send(&self, attempt: &Attempt) -> Answer {
        let posted_at = Instant::now();
        let verdict = self.telnyx.send(attempt).await;
        self.metrics.send_seconds.observe(posted_at.elapsed().as_secs_f64());
        let outcome = match &verdict {
            Verdict::Accepted { .. } => "accepted",
            Verdict::Refused(_) => "refused",
            Verdict::NotAccepted { .. } => "not_accepted",
            Verdict::Unresolved(_) => "unresolved",
        };
        self.metrics.sends.get_or_create(&SendLabels { outcome }).inc();
        debug!(recipient.id = %attempt.recipient_id, church.id = %attempt.church_id, outcome, "posted");
        self.answer(attempt, verdict, posted_at)
    }

    fn answer(&self, attempt: &Attempt, verdict: Verdict, posted_at: Instant) -> Answer {
        match verdict {
            Verdict::Accepted { provider_id } => {
                self.pace.answered();
                Answer::Accepted { provider_id }
            }
            Verdict::Refused(failure) => {
                self.pace.answered();
                Answer::Refused(failure)
            }
            Verdict::Unresolved(why) => {
                warn!(recipient.id = %attempt.recipient_id, church.id = %attempt.church_id, why,
                    "nobody knows whether Telnyx accepted; waiting for the webhook");
                self.pace.unresolved(posted_at);
                Answer::Unresolved
            }
            Verdict::NotAccepted { hindrance, retry_after } => {
                let wait = self.hindered(attempt, hindrance, retry_after, posted_at);
                Answer::NotAccepted { again_at: OffsetDateTime::now_utc() + wait }
            }
        }
    }

    /// How long the recipient waits. What hinders one church's sender alone must not hold up the others.
    fn hindered(
        &self,
        attempt: &Attempt,
        hindrance: Hindrance,
        retry_after: Option<Duration>,
        posted_at: Instant,
    ) -> Duration {
        let wait = match hindrance {
            Hindrance::QueueFull => {
                self.pace.answered();
                let tried = u32::try_from(attempt.tried).unwrap_or(0);
                pace::back_off(tried.saturating_add(2)).max(retry_after.unwrap_or_default())
            }
            Hindrance::Throttled | Hindrance::Unreachable | Hindrance::KeyRefused => {
                self.pace.set_back(posted_at, retry_after)
            }
        };
        let wait_ms = wait.as_millis() as u64;
        match hindrance {
            Hindrance::KeyRefused => {
                error!(
                    wait_ms,
                    "Telnyx refuses our API key; check TELNYX_API_KEY, nothing is sent until then"
                );
            }
            _ => {
                warn!(recipient.id = %attempt.recipient_id, church.id = %attempt.church_id, ?hindrance, wait_ms,
                "Telnyx did not accept; trying again")
            }
        }
        wait
    }
}

async fn sleep_or_stop(time: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}
