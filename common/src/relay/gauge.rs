//! Tells how the outbox stands: in every process, whether it relays or not, and while the broker is away.

use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::service::{Condition, Context, Weight};
use crate::store::{OutboxState, Store};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// A look may take this part of the time at most: where many rows wait, it comes less often.
const SHARE: u32 = 20;
/// Rows older than this are told of.
const OLD: Duration = Duration::from_secs(30);
/// A change of the holder takes less than this.
const ALONE: Duration = Duration::from_secs(20);

/// What is told.
pub(super) struct OutboxGauge {
    waiting: Gauge,
    oldest: Gauge,
    refused: Gauge,
    led: Condition,
    old_rows: Condition,
    refused_rows: Condition,
    /// Since when no process relays.
    unled_since: Option<Instant>,
}

impl OutboxGauge {
    pub(super) fn new(context: &Context) -> Self {
        let condition = |name| {
            let condition = context.health.condition(name, Weight::Degrading);
            condition.met();
            condition
        };
        let metrics = &context.metrics;
        Self {
            waiting: metrics.gauge("outbox_waiting", "Events that wait to be announced"),
            oldest: metrics.gauge("outbox_oldest_seconds", "How long the oldest of them waits"),
            refused: metrics.gauge("outbox_refused", "Events that the stream refuses; see `ops audit`"),
            led: condition("relay"),
            old_rows: condition("outbox_waiting"),
            refused_rows: condition("outbox_refused"),
            unled_since: None,
        }
    }

    /// Looks until shutdown.
    pub(super) async fn watch(mut self, store: Store, shutdown: CancellationToken) {
        loop {
            let started = Instant::now();
            // A database that is away is told of by its own condition.
            if let Ok(state) = store.outbox_state().await {
                self.tell(&state);
            }
            let pause = LOOK.max(started.elapsed() * SHARE);
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    fn tell(&mut self, state: &OutboxState) {
        let seconds = state.oldest.as_secs();
        self.waiting.set(state.waiting);
        self.oldest.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        self.refused.set(state.refused);
        let waiting = state.waiting;
        say(
            &self.old_rows,
            (state.oldest >= OLD).then(|| format!("{waiting} events wait, the oldest for {seconds} s")),
        );
        let refused = state.refused;
        say(
            &self.refused_rows,
            (refused > 0).then(|| format!("the stream refuses {refused} events; see `ops audit`")),
        );
        let since = *self.unled_since.get_or_insert_with(Instant::now);
        if state.led {
            self.unled_since = None;
        }
        let alone = !state.led && since.elapsed() >= ALONE;
        say(&self.led, alone.then(|| "no process relays the outbox".into()));
    }
}

fn say(condition: &Condition, trouble: Option<String>) {
    match trouble {
        Some(reason) => condition.unmet(reason),
        None => condition.met(),
    }
}
