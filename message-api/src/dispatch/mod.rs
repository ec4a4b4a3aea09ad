//! Sends what is due: takes recipients from the store in fair turns between churches, posts each once, and records
//! what became of it.
//!
//! The attempt is committed before the POST. From then on the recipient is never posted again, unless the answer
//! surely means that Telnyx does not have it; a crash, a lost answer and a database that is away all leave it
//! unresolved, for its webhook or the time limit to end. An answer carries its attempt and changes no other one.
//!
//! How fast each sender goes is kept by the store, for all processes; `pause` stops what concerns every sender.

use std::sync::Arc;
use std::time::Duration;

use common::service::{Condition, Context, Weight};
use common::store::{Answer, Attempt, SendLimits, Store};
use time::OffsetDateTime;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use crate::metrics::{ApiMetrics, SendLabels};
use crate::router::App;
use crate::settings::SendOptions;
use crate::telnyx::{Hindrance, Telnyx, Verdict};
use answers::{Answered, Recorder};
use pause::{Cause, Pause};

mod answers;
mod overdue;
mod pause;
mod setback;
mod standing;

pub(crate) use overdue::close_overdue;

/// Looks for work so often although nobody woke it: another process may have recorded some.
const SWEEP: Duration = Duration::from_secs(1);

/// The limits that all processes share.
pub(crate) fn limits(options: &SendOptions) -> SendLimits {
    SendLimits { rate: Some(options.send_rate), within: Some(options.send_within) }
}

/// Takes due recipients from the store and posts them.
pub(crate) struct Dispatcher {
    store: Store,
    telnyx: Telnyx,
    metrics: ApiMetrics,
    wake: Arc<Notify>,
    pause: Arc<Pause>,
    condition: Condition,
    most: usize,
}

impl Dispatcher {
    /// Is woken whenever something may be due, and tells operators whether sending goes on.
    pub(crate) fn new(app: &App, telnyx: Telnyx, options: &SendOptions) -> Self {
        let (metrics, condition) = (app.metrics.clone(), app.health.condition("sending", Weight::Degrading));
        condition.met();
        Self {
            store: app.store.clone().with_limits(limits(options)),
            telnyx,
            pause: Arc::new(Pause::new(metrics.paused.clone())),
            metrics,
            wake: app.wake.clone(),
            condition,
            most: options.send_concurrency as usize,
        }
    }

    /// Works until shutdown, then waits for the POSTs under way and records their answers.
    pub(crate) async fn run(self, context: Context, tasks: TaskTracker) {
        let shutdown = context.shutdown.clone();
        let (answers, received) = mpsc::channel(self.most);
        let recorder = Recorder {
            store: self.store.clone(),
            waiting: self.metrics.waiting_answers.clone(),
            most: self.most,
            shutdown: shutdown.clone(),
        };
        let recording = context.spawn_vital(&tasks, "recorder of answers", recorder.run(received));
        let (store, pause, metrics) = (self.store.clone(), self.pause.clone(), self.metrics.clone());
        let watching = standing::watch(store, pause, metrics, self.condition.clone(), shutdown.clone());
        context.spawn_vital(&tasks, "watch over sending", watching);
        if let Err(failure) = self.store.publish_rate().await {
            warn!(error = &failure as &dyn std::error::Error, "the rate is published with the first message");
        }
        let posts = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.most));
        while let Some((room, place)) = self.room(&places, &shutdown).await {
            // Not in a select: what is committed here must be posted.
            match self.store.begin_attempts(room as u32, OffsetDateTime::now_utc()).await {
                Ok(attempts) if attempts.is_empty() => {
                    drop(place);
                    self.idle(&shutdown).await;
                }
                Ok(attempts) => {
                    let places = enough(&places, place, attempts.len()).await;
                    self.post_all(attempts, places, &posts, &answers);
                }
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
        let _ = recording.await;
    }

    /// How many may be posted now, with their places; `None` at shutdown.
    async fn room(
        &self,
        places: &Arc<Semaphore>,
        shutdown: &CancellationToken,
    ) -> Option<(usize, OwnedSemaphorePermit)> {
        let room = async {
            // While trying after trouble, one message at a time.
            let needed = if self.pause.is_trying() { self.most } else { 1 };
            let mut place = places.clone().acquire_many_owned(needed as u32).await.ok()?;
            let more = places.available_permits() as u32;
            if let Ok(more) = places.clone().try_acquire_many_owned(more) {
                place.merge(more);
            }
            self.pause.over().await;
            let room = if self.pause.is_trying() { 1 } else { place.num_permits() };
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
            let post = Post {
                telnyx: self.telnyx.clone(),
                pause: self.pause.clone(),
                metrics: self.metrics.clone(),
            };
            let answers = answers.clone();
            posts.spawn(async move {
                let answer = post.send(&attempt).await;
                let answered = Answered { attempt: attempt.id, answer, place };
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

/// As many places as attempts: a claim that is read back may be larger than the room of now.
async fn enough(
    places: &Arc<Semaphore>,
    mut place: OwnedSemaphorePermit,
    count: usize,
) -> OwnedSemaphorePermit {
    let missing = count.saturating_sub(place.num_permits());
    if let Ok(more) = places.clone().acquire_many_owned(missing as u32).await {
        place.merge(more);
    }
    place
}

/// One POST and what follows from its answer.
struct Post {
    telnyx: Telnyx,
    pause: Arc<Pause>,
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
                self.pause.answered();
                Answer::Accepted { provider_id }
            }
            Verdict::Refused(failure) => {
                self.pause.answered();
                Answer::Refused(failure)
            }
            Verdict::Unresolved(why) => {
                warn!(recipient.id = %attempt.recipient_id, church.id = %attempt.church_id, why,
                    "nobody knows whether Telnyx accepted; waiting for the webhook");
                self.pause.unresolved(posted_at);
                Answer::Unresolved
            }
            Verdict::NotAccepted { hindrance, retry_after } => {
                self.not_accepted(attempt, hindrance, retry_after, posted_at)
            }
        }
    }

    /// What hinders one sender alone holds only that one back; the others go on.
    fn not_accepted(
        &self,
        attempt: &Attempt,
        hindrance: Hindrance,
        retry_after: Option<Duration>,
        posted_at: Instant,
    ) -> Answer {
        let now = OffsetDateTime::now_utc();
        let setback = setback::of(hindrance, retry_after, now);
        let again_at = match (&setback, hindrance) {
            (Some(_), _) => {
                self.pause.answered();
                now
            }
            (None, Hindrance::KeyRefused) => {
                now + self.pause.set_back(Cause::KeyRefused, posted_at, retry_after)
            }
            (None, _) => now + self.pause.set_back(Cause::Unreachable, posted_at, retry_after),
        };
        let (recipient, church) = (attempt.recipient_id, &attempt.church_id);
        match hindrance {
            Hindrance::KeyRefused => error!("{}", Cause::KeyRefused.text()),
            Hindrance::SenderRefused => error!(recipient.id = %recipient, church.id = %church,
                "Telnyx refuses the church's number or messaging profile; correct it with `ops sender`"),
            _ => warn!(recipient.id = %recipient, church.id = %church, hindrance = hindrance.word(),
                "Telnyx did not accept; trying again"),
        }
        Answer::NotAccepted { again_at, setback }
    }
}

async fn sleep_or_stop(time: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}
