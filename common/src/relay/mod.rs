//! Carries the outbox into the stream: one relay at a time per database, in order, nothing lost, nothing twice.
//!
//! Every service that writes starts one. The right to relay is a lease in the database: [`standby`] waits for it and
//! takes it, the holder renews it, and one that can't reach the stream gives it up to one that can. A process that was
//! stopped for a while and wakes does no harm: the database compares its term, the stream its place. A commit wakes the
//! relay through the broker ([`crate::subject::RELAY_WAKE`]), whichever process committed; a sweep stands behind that.
//! [`plan`] decides what is published now, left out or put off; [`announce`] publishes it so that the stream itself
//! refuses a second relay, a repetition or a gap. [`gauge`] tells how the outbox stands.

use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures_util::{FutureExt as _, StreamExt as _};
use prometheus_client::metrics::counter::Counter;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use crate::broker::Broker;
use crate::service::{Condition, Context, Weight};
use crate::store::{LEASE, Store, StoreError, Term, Wait};
use crate::subject::RELAY_WAKE;

mod announce;
mod gauge;
mod plan;
mod probe;
mod refusal;
mod round;
mod standby;
mod storage;

use announce::Trouble;
use gauge::OutboxGauge;
use probe::Probe;
use round::{Look, Round};
use standby::Standby;

/// Longest wait for the stream's answer.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for the database where the lease is concerned.
const STEP: Duration = Duration::from_secs(2);
/// Longest time without looking into the outbox, and between two looks at the lease. What `ops` commits wakes nobody.
const SWEEP: Duration = Duration::from_millis(500);
/// Between two renewals of the lease.
const RENEW: Duration = Duration::from_secs(3);
/// A holder that can't renew its lease stops about so long before the lease ends. What it still does then, its term
/// fences.
const MARGIN: Duration = Duration::from_secs(1);
/// A holder that has no way to the stream for so long gives the lease up, if another process has one.
const CUT_OFF: Duration = Duration::from_secs(3);
/// Between two looks at what the stream may have lost while nothing was announced.
const COMPARE: Duration = Duration::from_secs(2);
/// A standing revocation is announced again after this time. Streams keep events for a day at least.
const REVOCATION_RENEWAL: time::Duration = time::Duration::hours(12);
/// Revocations announced again at once.
const REVOCATIONS: u32 = 200;

#[derive(Clone)]
struct Counters {
    announced: Counter,
    superseded: Counter,
    repaired: Counter,
}

/// Starts the relay inside a service. It stands by while another process relays, and stops with the context.
pub fn start(store: Store, broker: Broker, context: &Context, tasks: &TaskTracker) {
    let metrics = &context.metrics;
    let counters = Counters {
        announced: metrics.counter("outbox_announced", "Events that the stream took"),
        superseded: metrics
            .counter("outbox_superseded", "Progress left out because newer news of its message waited"),
        repaired: metrics
            .counter("outbox_repaired", "Events announced again because the stream had lost them"),
    };
    let wakes = wake_on_commit(store.announcements(), broker.clone(), context.shutdown.clone());
    context.spawn_vital(tasks, "wakes of the relay", wakes);
    let watch = OutboxGauge::new(context).watch(store.clone(), context.shutdown.clone());
    context.spawn_vital(tasks, "watch over the outbox", watch);
    let relay = Relay {
        condition: context.health.condition("outbox", Weight::Degrading),
        shutdown: context.shutdown.clone(),
        store,
        broker,
        counters,
    };
    relay.condition.met();
    context.spawn_vital(tasks, "relay", relay.run());
}

/// Tells the working relay, in whichever process it is, that something was committed. What is lost on the way is
/// found by the sweep.
async fn wake_on_commit(commits: std::sync::Arc<Notify>, broker: Broker, shutdown: CancellationToken) {
    let link = broker.link();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = commits.notified() => {}
        }
        let up = link.borrow().up;
        let wake = broker.client().publish(RELAY_WAKE, bytes::Bytes::new());
        if up && !matches!(timeout(ACK_TIMEOUT, wake).await, Ok(Ok(()))) {
            warn!("can't wake the relay; its sweep comes soon");
        }
    }
}

/// A step of the database with a limit of ours.
async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(limit, step).await {
        Ok(outcome) => outcome,
        Err(_) => Err(StoreError::TimedOut { waited_for: Wait::Answer, limit }),
    }
}

struct Relay {
    store: Store,
    broker: Broker,
    condition: Condition,
    shutdown: CancellationToken,
    counters: Counters,
}

/// Why a holder stops relaying.
enum End {
    /// Another process took the lease, or it could not be renewed.
    Lost,
    /// It has no way to the stream, and another process has.
    CutOff,
}

impl Relay {
    /// Waits for the lease, works while it holds, and waits again, until shutdown.
    async fn run(self) {
        let (probe, holder) = (Probe::new(&self.broker), Uuid::now_v7());
        while let Some(term) =
            self.shutdown.run_until_cancelled(Standby::new(&self, &probe, holder).until_taken()).await
        {
            let end = tokio::select! {
                () = self.shutdown.cancelled() => None,
                () = self.keep_lease(term) => Some(End::Lost),
                end = self.work(term, &probe) => Some(end),
            };
            match end {
                Some(End::Lost) => warn!("another process may relay the outbox; this one stands by"),
                Some(End::CutOff) => warn!("no way to the stream; another process takes the outbox over"),
                None => info!("this process stops relaying the outbox"),
            }
            if let Err(error) = within(STEP, self.store.give_lease_up(term)).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "can't give the lease up; it expires by itself"
                );
            }
            self.condition.met();
        }
    }

    /// Renews the lease. Returns when it is lost, or can't be renewed in time.
    async fn keep_lease(&self, term: Term) {
        let mut renewed = Instant::now();
        let mut pause = RENEW;
        while renewed.elapsed() + MARGIN < LEASE {
            tokio::time::sleep(pause).await;
            let asked = Instant::now();
            match within(STEP, self.store.renew_lease(term)).await {
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

    /// Announces whatever waits.
    async fn work(&self, term: Term, probe: &Probe) -> End {
        let mut round = Round::new(self, term);
        let mut wakes = self.listen().await;
        let mut link = self.broker.link();
        let (mut sweep, mut compare) = (interval(SWEEP), interval(COMPARE));
        for ticks in [&mut sweep, &mut compare] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let pause = match round.run().await {
                Look::Again(pause) => pause,
                Look::LeaseLost => return End::Lost,
            };
            tokio::select! {
                () = tokio::time::sleep(pause.unwrap_or(Duration::MAX)), if pause.is_some() => {}
                // One look serves all wakes that have come so far.
                () = woken(&mut wakes), if !round.in_trouble() => {}
                changed = link.changed() => if changed.is_err() { return End::CutOff },
                _ = sweep.tick() => if self.should_give_up(&round).await { return End::CutOff },
                _ = compare.tick(), if !round.in_trouble() => match self.compare(&mut round, probe).await {
                    Err(Trouble::LeaseLost) => return End::Lost,
                    Err(error) => warn!(trouble = &error as &dyn std::error::Error, "can't compare the stream with the outbox"),
                    Ok(()) => {}
                },
            }
        }
    }

    /// Hears of commits. Without it, the sweep finds them.
    async fn listen(&self) -> Option<Subscriber> {
        match timeout(ACK_TIMEOUT, self.broker.client().subscribe(RELAY_WAKE)).await {
            Ok(Ok(wakes)) => Some(wakes),
            _ => {
                warn!("can't listen for commits; they are found a little later");
                None
            }
        }
    }

    /// Whether another process can do what this one can't.
    async fn should_give_up(&self, round: &Round<'_>) -> bool {
        let state = match round.cut_off() >= CUT_OFF {
            true => within(STEP, self.store.lease_state()).await,
            false => return false,
        };
        state.is_ok_and(|state| state.standby_ready)
    }

    /// Looks for what the stream has lost since it was announced, and for revocations that it will soon have lost.
    async fn compare(&self, round: &mut Round<'_>, probe: &Probe) -> Result<(), Trouble> {
        if !self.broker.link().borrow().up {
            return Ok(());
        }
        if let Ok(last) = probe.last_sequence().await {
            round.heard_end(last).await?;
        }
        let before = OffsetDateTime::now_utc() - REVOCATION_RENEWAL;
        let again = self.store.announce_revocations_again(before, REVOCATIONS).await?;
        if again > 0 {
            info!(revocations = again, "standing revocations are announced again");
        }
        Ok(())
    }
}

/// Returns after a wake, and takes in all that have come so far; never, if none can be heard.
async fn woken(wakes: &mut Option<Subscriber>) {
    let Some(wakes) = wakes else { return std::future::pending().await };
    if wakes.next().await.is_none() {
        std::future::pending::<()>().await;
    }
    while let Some(Some(_)) = wakes.next().now_or_never() {}
}
