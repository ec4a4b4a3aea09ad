//! Reports the state of the outbox in readiness and metrics, in every process, whether it relays or not.

use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::service::{Condition, Context, Weight};
use crate::store::{OutboxState, Store};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// The watch may take one part in so many of the time: with many rows waiting, it looks less often.
const SHARE: u32 = 20;
/// Readiness reports rows older than this.
const OLD: Duration = Duration::from_secs(30);
/// Readiness reports a relay that is missing for longer. A change of the holder takes less.
const UNLED: Duration = Duration::from_secs(20);

/// The gauges and conditions of the outbox.
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
            oldest: metrics.gauge("outbox_oldest_seconds", "How long the oldest of them has waited"),
            refused: metrics
                .gauge("outbox_refused", "Events that the stream refuses; `ops audit` names them"),
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
            // The database has a condition of its own.
            if let Ok(state) = store.outbox_state().await {
                self.report(&state);
            }
            let pause = LOOK.max(started.elapsed() * SHARE);
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    fn report(&mut self, state: &OutboxState) {
        let seconds = state.oldest.as_secs();
        self.waiting.set(state.waiting);
        self.oldest.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        self.refused.set(state.refused);
        let waiting = state.waiting;
        set(
            &self.old_rows,
            (state.oldest >= OLD).then(|| format!("{waiting} events wait, the oldest for {seconds} s")),
        );
        let refused = state.refused;
        set(
            &self.refused_rows,
            (refused > 0).then(|| format!("the stream refuses {refused} events; see `ops audit`")),
        );
        let since = *self.unled_since.get_or_insert_with(Instant::now);
        if state.led {
            self.unled_since = None;
        }
        let alone = !state.led && since.elapsed() >= UNLED;
        set(&self.led, alone.then(|| "no process relays the outbox".into()));
    }
}

fn set(condition: &Condition, trouble: Option<String>) {
    match trouble {
        Some(reason) => condition.unmet(reason),
        None => condition.met(),
    }
}
