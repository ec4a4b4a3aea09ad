//! Takes due recipients in fair turns between churches, and posts each once.

use std::sync::Arc;
use std::time::Duration;

use common::service::{Condition, Weight};
use common::store::{Attempt, Store};
use time::OffsetDateTime;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::answers::{Answered, Recorder};
use super::limits::limits;
use super::pause::Pause;
use super::post::Post;
use super::standing;
use crate::app::App;
use crate::metrics::ApiMetrics;
use crate::settings::SendOptions;
use crate::telnyx::Telnyx;
/// Looks for work so often although nobody woke it: another process may have recorded some.
const SWEEP: Duration = Duration::from_secs(1);

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
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let (answers, received) = mpsc::channel(self.most);
        let recorder = Recorder {
            store: self.store.clone(),
            waiting: self.metrics.waiting_answers.clone(),
            most: self.most,
            shutdown: shutdown.clone(),
        };
        let recording = tokio::spawn(recorder.run(received));
        let (store, pause, metrics) = (self.store.clone(), self.pause.clone(), self.metrics.clone());
        let watching = standing::watch(store, pause, metrics, self.condition.clone(), shutdown.clone());
        let watching = tokio::spawn(watching);
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
                    shutdown.run_until_cancelled(tokio::time::sleep(SWEEP)).await;
                }
            }
        }
        drop(answers);
        posts.close();
        posts.wait().await;
        if recording.await.is_err() {
            error!("the recorder of answers ended badly");
        }
        if watching.await.is_err() {
            error!("the watch over sending ended badly");
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
