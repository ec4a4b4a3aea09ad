//! Takes texts that are due, tells the back end, and records what came of it.

use std::time::Duration;

use common::service::Condition;
use common::store::{Forward, ForwardClaim, Store, StoreError};
use common::throttle::Throttle;
use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::back_end::{BackEnd, TIME_LIMIT, Untold};
use super::readiness::Reporter;
use crate::metrics::{ApiMetrics, Outcome};

/// Time between two looks for texts.
const TICK: Duration = Duration::from_secs(1);
/// Texts told at the same time.
const AT_ONCE: u32 = 16;
/// How long a text is reserved for the process that tells it. Longer than the request and its record take.
const LEASE: Duration = TIME_LIMIT.saturating_mul(2);
/// For how long a text is tried.
const GIVE_UP_AFTER: time::Duration = time::Duration::hours(24);
/// First and longest wait after a failure; it doubles.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Limits log lines that repeat while the back end or the database is away.
static REPEATS: Throttle = Throttle::once_a_minute();

/// Tells the back end of texts that came in.
pub(crate) struct Forwarder {
    store: Store,
    back_end: BackEnd,
    metrics: ApiMetrics,
    reporter: Reporter,
}

impl Forwarder {
    /// A forwarder that reports trouble by a condition.
    pub(crate) fn new(store: Store, back_end: BackEnd, metrics: ApiMetrics, condition: Condition) -> Self {
        let reporter = Reporter::new(condition, metrics.forwards_waiting.clone());
        Self { store, back_end, metrics, reporter }
    }

    /// Works until shutdown. A round that has begun is finished.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.round().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    if let Some(held_back) = REPEATS.opens("record") {
                        let error = &error as &dyn std::error::Error;
                        warn!(error, held_back, "can't read or record which texts the back end was told of");
                    }
                }
            }
            shutdown.run_until_cancelled(tokio::time::sleep(TICK)).await;
        }
    }

    /// Tells of the texts that are due. Returns whether there may be more.
    async fn round(&mut self) -> Result<bool, StoreError> {
        let now = OffsetDateTime::now_utc();
        let not_before = now - GIVE_UP_AFTER;
        self.give_up(not_before).await?;
        let claim = ForwardClaim { limit: AT_ONCE, now, lease: LEASE, not_before };
        let texts = self.store.take_forwards(&claim).await?;
        let told = join_all(texts.iter().map(|text| self.tell(text))).await;
        for untold in told {
            match untold? {
                Some(untold) => self.reporter.note(untold),
                None => self.reporter.note_success(),
            }
        }
        self.reporter.report(&self.store.forward_state().await?, OffsetDateTime::now_utc());
        Ok(texts.len() == AT_ONCE as usize)
    }

    /// Tells of one text and records what came of it.
    async fn tell(&self, text: &Forward) -> Result<Option<Untold>, StoreError> {
        let told = self.back_end.tell(&text.inbound).await;
        let outcome = told.map_or_else(Untold::label, |()| "accepted");
        self.metrics.forwards.get_or_create(&Outcome { outcome }).inc();
        let (id, church, tries) = (text.inbound.id, &text.inbound.church_id, text.tries);
        let now = OffsetDateTime::now_utc();
        let Err(untold) = told else {
            info!(inbound.id = %id, church.id = %church, tries, "told the back end of a text");
            return self.store.forwarded(text, now).await.map(|()| None);
        };
        debug!(inbound.id = %id, church.id = %church, tries, reason = %untold, "the back end did not take a text");
        if let Some(held_back) = REPEATS.opens("back end") {
            warn!(reason = %untold, held_back, "the back end does not take texts that came in; trying again");
        }
        self.store.forward_again(text, now + back_off(tries)).await.map(|()| Some(untold))
    }

    async fn give_up(&self, before: OffsetDateTime) -> Result<(), StoreError> {
        let texts = self.store.give_up_forwards(before).await?;
        if texts > 0 {
            self.metrics.forwards.get_or_create(&Outcome { outcome: "expired" }).inc_by(texts);
            warn!(texts, "gave up telling the back end of texts that came in more than 24 hours ago");
        }
        Ok(())
    }
}

/// The wait after this many failures.
fn back_off(tries: u32) -> Duration {
    let (first, longest) = BACK_OFF;
    first.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_ten_minutes() {
        let seconds = |tries| back_off(tries).as_secs();
        assert_eq!([1, 2, 3, 10, 11, u32::MAX].map(seconds), [1, 2, 4, 512, 600, 600]);
    }
}
