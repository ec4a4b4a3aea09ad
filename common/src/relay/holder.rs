//! Relays while this process holds the lease, and waits for it otherwise.

use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures_util::{FutureExt as _, StreamExt as _};
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::probe::Probe;
use super::resources::Resources;
use super::round::{Look, Round};
use super::standby::Standby;
use super::timing::{ACK_TIMEOUT, SWEEP, in_time};
use super::trouble::Trouble;
use crate::store::{LEASE, Term};
use crate::subject::RELAY_WAKE;

/// Between two renewals of the lease.
const RENEW: Duration = Duration::from_secs(3);
/// A holder that can't renew its lease stops so long before the lease ends. Its term fences whatever it still does then.
const MARGIN: Duration = Duration::from_secs(1);
/// A holder that can't reach the stream for so long gives the lease up, if another process can.
const CUT_OFF: Duration = Duration::from_secs(3);
/// Between two looks at what the stream may have lost while nothing was announced.
const COMPARE: Duration = Duration::from_secs(2);
/// A standing revocation is announced again after this time. Streams keep events for a day at least.
const REVOCATION_RENEWAL: time::Duration = time::Duration::hours(12);
/// Revocations announced again at once.
const REVOCATIONS: u32 = 200;

pub(super) struct Relay {
    resources: Resources,
    shutdown: CancellationToken,
}

/// Why a holder stops relaying.
enum Stop {
    /// Another process took the lease, or it could not be renewed.
    Lost,
    /// It can't reach the stream, and another process can.
    CutOff,
}

impl Relay {
    pub(super) fn new(resources: Resources, shutdown: CancellationToken) -> Self {
        Self { resources, shutdown }
    }

    /// Waits for the lease, works while it holds, and waits again, until shutdown.
    pub(super) async fn run(self) {
        let (probe, holder) = (Probe::new(&self.resources.broker), Uuid::now_v7());
        while let Some(term) = self
            .shutdown
            .run_until_cancelled(Standby::new(&self.resources, &probe, holder).until_taken())
            .await
        {
            self.resources.counters.leads.set(1);
            let end = tokio::select! {
                () = self.shutdown.cancelled() => None,
                () = self.keep_lease(term) => Some(Stop::Lost),
                end = self.work(term, &probe) => Some(end),
            };
            self.resources.counters.leads.set(0);
            match end {
                Some(Stop::Lost) => warn!("another process may relay the outbox; this one stands by"),
                Some(Stop::CutOff) => warn!("can't reach the stream; another process takes the outbox over"),
                None => info!("this process stops relaying the outbox"),
            }
            if let Err(error) = in_time(self.resources.store.give_lease_up(term)).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "can't give the lease up; it expires by itself"
                );
            }
            self.resources.condition.met();
        }
    }

    /// Renews the lease. Returns when it is lost, or can't be renewed in time.
    async fn keep_lease(&self, term: Term) {
        let mut renewed = Instant::now();
        let mut pause = RENEW;
        while renewed.elapsed() + MARGIN < LEASE {
            tokio::time::sleep(pause).await;
            let asked = Instant::now();
            match in_time(self.resources.store.renew_lease(term)).await {
                Ok(true) => (renewed, pause) = (asked, RENEW),
                Ok(false) => return,
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "can't renew the relay's lease; trying again"
                    );
                    pause = SWEEP;
                }
            }
        }
    }

    /// Announces events until it has to stop.
    async fn work(&self, term: Term, probe: &Probe) -> Stop {
        let mut round = Round::new(&self.resources, term);
        let mut wakes = self.listen().await;
        let mut link = self.resources.broker.link();
        let mut generation = link.borrow().generation;
        let (mut sweep, mut compare) = (interval(SWEEP), interval(COMPARE));
        for ticks in [&mut sweep, &mut compare] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let pause = match round.run().await {
                Look::Again(pause) => pause,
                Look::LeaseLost => return Stop::Lost,
            };
            tokio::select! {
                () = tokio::time::sleep(pause.unwrap_or(Duration::MAX)), if pause.is_some() => {}
                // One look serves all wakes that have come so far.
                () = woken(&mut wakes), if !round.in_trouble() => {}
                changed = link.changed() => match changed {
                    // Also each denial is a change; only a new connection may fare better.
                    Ok(()) => {
                        let newest = link.borrow_and_update().generation;
                        if newest > generation {
                            round.end_back_off();
                        }
                        generation = newest;
                    }
                    Err(_) => return Stop::CutOff,
                },
                _ = sweep.tick() => if self.should_give_up(&round).await { return Stop::CutOff },
                _ = compare.tick(), if !round.in_trouble() => match self.compare(&mut round, probe).await {
                    Err(Trouble::LeaseLost) => return Stop::Lost,
                    Err(error) => warn!(error = &error as &dyn std::error::Error, "can't compare the stream with the outbox"),
                    Ok(()) => {}
                },
            }
        }
    }

    /// Subscribes to wakes. Without them, the sweep finds what waits.
    async fn listen(&self) -> Option<Subscriber> {
        match timeout(ACK_TIMEOUT, self.resources.broker.client().subscribe(RELAY_WAKE)).await {
            Ok(Ok(wakes)) => Some(wakes),
            _ => {
                warn!("can't subscribe to wakes; commits are found by the sweep");
                None
            }
        }
    }

    /// Whether this process can't reach the stream and another one can.
    async fn should_give_up(&self, round: &Round<'_>) -> bool {
        let state = match round.cut_off() >= CUT_OFF {
            true => in_time(self.resources.store.lease_state()).await,
            false => return false,
        };
        state.is_ok_and(|state| state.standby_ready)
    }

    /// Finds events that the stream has lost, and announces revocations again that it will soon delete.
    async fn compare(&self, round: &mut Round<'_>, probe: &Probe) -> Result<(), Trouble> {
        if !self.resources.broker.link().borrow().up {
            return Ok(());
        }
        if let Ok(last) = probe.last_sequence().await {
            round.check_end(last).await?;
        }
        let before = OffsetDateTime::now_utc() - REVOCATION_RENEWAL;
        let again = self.resources.store.announce_revocations_again(before, REVOCATIONS).await?;
        if again > 0 {
            info!(revocations = again, "announcing revocations again");
        }
        Ok(())
    }
}

/// Returns after a wake, and consumes all that have come so far. Never returns without a subscription.
async fn woken(wakes: &mut Option<Subscriber>) {
    let Some(wakes) = wakes else { return std::future::pending().await };
    if wakes.next().await.is_none() {
        std::future::pending::<()>().await;
    }
    while let Some(Some(_)) = wakes.next().now_or_never() {}
}
