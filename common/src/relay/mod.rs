//! Carries the outbox into the stream: one relay at a time per database, in order, nothing lost, nothing twice.
//!
//! Every service that writes starts one; the first to get the database's lock works, the others stand by. A commit
//! wakes it through the broker ([`crate::subject::RELAY_WAKE`]), whichever process committed; a sweep stands behind
//! that. [`plan`] decides what is published now, left out or put off; [`announce`] publishes it so that the stream
//! itself refuses a second relay, a repetition or a gap.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant as Tick, MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use crate::broker::{Broker, Link};
use crate::service::{Condition, Context, Weight};
use crate::store::{Prunable, RelayLock, Store, StoreError};
use crate::subject::RELAY_WAKE;

mod announce;
mod plan;
mod storage;

use announce::{Announcer, Trouble};

/// Rows read at once.
const BATCH: u32 = 500;
/// Longest time without looking into the outbox, and between two looks at the lock. What `ops` commits wakes nobody.
const SWEEP: Duration = Duration::from_millis(500);
/// How soon a database is asked again that does not answer, or has no schema yet.
const SCHEMA_RETRY: Duration = Duration::from_millis(50);
/// Progress of one message is announced at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// First and longest wait after trouble.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often old rows are deleted.
const PRUNE: Duration = Duration::from_secs(60);
/// So long a repeated request finds its first one.
const KEY_RETENTION: time::Duration = time::Duration::days(7);

/// How long the relay keeps what it has announced.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Retention")]
pub struct RelayOptions {
    /// Keep announced events so many hours, to announce them again if the stream loses its tail
    #[arg(long, env = "OUTBOX_RETENTION_HOURS", default_value_t = 24, value_name = "HOURS",
        value_parser = clap::value_parser!(u32).range(1..=87_600))]
    pub outbox_retention_hours: u32,
    /// Keep webhooks so many days
    #[arg(long, env = "WEBHOOK_RETENTION_DAYS", default_value_t = 90, value_name = "DAYS",
        value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub webhook_retention_days: u32,
}

#[derive(Clone)]
struct Counters {
    announced: Counter,
    superseded: Counter,
    repaired: Counter,
    waiting: Gauge,
}

/// Starts the relay inside a service. It stands by while another process relays, and stops with the context.
pub fn start(options: &RelayOptions, store: Store, broker: Broker, context: &Context, tasks: &TaskTracker) {
    let metrics = &context.metrics;
    let counters = Counters {
        announced: metrics.counter("outbox_announced", "Events that the stream took"),
        superseded: metrics
            .counter("outbox_superseded", "Progress left out because newer news of its message waited"),
        repaired: metrics
            .counter("outbox_repaired", "Events announced again because the stream had lost them"),
        waiting: metrics
            .gauge("outbox_waiting", "Events that waited when the outbox was last read, 500 at most"),
    };
    tasks.spawn(wake_on_commit(store.announcements(), broker.clone(), context.shutdown.clone()));
    let relay = Relay {
        condition: context.health.condition("outbox", Weight::Degrading),
        shutdown: context.shutdown.clone(),
        options: options.clone(),
        store,
        broker,
        counters,
    };
    relay.condition.met();
    context.spawn_vital(tasks, "relay", relay.stand_by());
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
        if up && let Err(error) = broker.client().publish(RELAY_WAKE, bytes::Bytes::new()).await {
            warn!(%error, "the relay could not be woken; its sweep comes soon");
        }
    }
}

struct Relay {
    store: Store,
    broker: Broker,
    options: RelayOptions,
    condition: Condition,
    shutdown: CancellationToken,
    counters: Counters,
}

impl Relay {
    /// Waits for the lock, works while it holds, and waits again.
    async fn stand_by(self) {
        let mut turns = interval(SWEEP);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                _ = turns.tick() => {}
            }
            // A database that is away, or has no schema yet, is reported by its own condition.
            if self.store.last_announced().await.is_err() {
                turns.reset_after(SCHEMA_RETRY);
                continue;
            }
            if let Ok(Some(lock)) = self.store.try_relay_lock().await {
                info!("this process relays the outbox");
                self.work(lock).await;
                self.condition.met();
            }
        }
    }

    /// Announces whatever waits, until the lock is lost or the service stops.
    async fn work(&self, mut lock: RelayLock) {
        let mut round = Round::new(self);
        let mut wakes = match self.broker.client().subscribe(RELAY_WAKE).await {
            Ok(wakes) => wakes,
            Err(error) => return warn!(%error, "can't listen for commits"),
        };
        let mut link = self.broker.link();
        let (mut sweep, mut prune) = (interval(SWEEP), interval_at(Tick::now() + PRUNE, PRUNE));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let pause = round.run(&link).await;
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause.unwrap_or(Duration::MAX)), if pause.is_some() => {}
                // One look serves all wakes that have come so far.
                Some(_) = wakes.next(), if !round.in_trouble() => while let Some(Some(_)) = wakes.next().now_or_never() {},
                changed = link.changed() => if changed.is_err() { return },
                _ = sweep.tick() => {
                    if !lock.is_held().await {
                        return warn!("the relay lost its lock; it stands by");
                    }
                }
                _ = prune.tick() => self.prune().await,
            }
        }
    }

    async fn prune(&self) {
        let now = OffsetDateTime::now_utc();
        let events = now - time::Duration::hours(self.options.outbox_retention_hours.into());
        let webhooks = now - time::Duration::days(self.options.webhook_retention_days.into());
        let keys = now - KEY_RETENTION;
        let olds =
            [(Prunable::Events, events), (Prunable::Webhooks, webhooks), (Prunable::IdempotencyKeys, keys)];
        for (what, before) in olds {
            match self.store.prune(what, before).await {
                Ok(0) => {}
                Ok(rows) => info!(?what, rows, "deleted what is older than the retention"),
                Err(error) => {
                    warn!(?what, error = &error as &dyn std::error::Error, "old rows could not be deleted")
                }
            }
        }
    }
}

/// What a working relay remembers between two looks into the outbox.
struct Round<'r> {
    relay: &'r Relay,
    announcer: Announcer,
    /// When a change of each message was last announced, for as long as that matters.
    recent: HashMap<Uuid, Instant>,
    backoff: Option<Duration>,
}

impl<'r> Round<'r> {
    fn new(relay: &'r Relay) -> Self {
        let announcer = Announcer::new(relay.broker.clone(), relay.store.clone(), relay.counters.clone());
        Self { relay, announcer, recent: HashMap::new(), backoff: None }
    }

    /// While in trouble it is not woken, it comes back after the pause.
    fn in_trouble(&self) -> bool {
        self.backoff.is_some()
    }

    /// Announces what waits. Returns when to look again, if that is sooner than the sweep.
    async fn run(&mut self, link: &watch::Receiver<Link>) -> Option<Duration> {
        if !link.borrow().up {
            return None;
        }
        match self.announce_waiting().await {
            Ok(pause) => {
                self.backoff = None;
                self.relay.condition.met();
                pause
            }
            Err(trouble) => {
                let backoff = self.backoff.map_or(BACKOFF.0, |last| (last * 2).min(BACKOFF.1));
                if self.backoff.is_none() {
                    warn!(
                        trouble = &trouble as &dyn std::error::Error,
                        "events wait in the outbox; trying again"
                    );
                }
                self.relay.condition.unmet(trouble.to_string());
                self.backoff = Some(backoff);
                Some(backoff)
            }
        }
    }

    async fn announce_waiting(&mut self) -> Result<Option<Duration>, Trouble> {
        self.announcer.mark().await?;
        let rows = self.relay.store.waiting_events(BATCH).await?;
        self.relay.counters.waiting.set(rows.len() as i64);
        let full = rows.len() >= BATCH as usize;
        let now = Instant::now();
        self.recent.retain(|_, at| now.duration_since(*at) < PROGRESS_INTERVAL);
        let plan = plan::plan(
            rows,
            |row| self.announcer.may_be_stored(row),
            |message| {
                self.recent.get(message).map(|at| PROGRESS_INTERVAL.saturating_sub(now.duration_since(*at)))
            },
        );
        let left_out = plan.superseded.iter().map(|heir| heir.positions.len() as u64).sum();
        self.relay.store.supersede(&plan.superseded).await?;
        self.relay.counters.superseded.inc_by(left_out);
        let something = !plan.publish.is_empty();
        let complete = self.announcer.announce(&plan.publish).await?;
        let changes = plan.publish.iter().filter(|row| !row.subject.ends_with(".sent"));
        self.recent.extend(changes.map(|row| (row.message_id, now)));
        let again = (!complete || something && full).then_some(Duration::ZERO);
        Ok(again.or(plan.put_off))
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
