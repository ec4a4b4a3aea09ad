//! What every part of the relay works with.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::broker::Broker;
use crate::service::Condition;
use crate::store::Store;
use crate::telemetry::Metrics;

/// The database, the broker, and where the relay tells how it is doing.
pub(super) struct Resources {
    pub(super) store: Store,
    pub(super) broker: Broker,
    pub(super) condition: Condition,
    pub(super) counters: Counters,
}

#[derive(Clone)]
pub(super) struct Counters {
    pub(super) announced: Counter,
    pub(super) superseded: Counter,
    pub(super) repaired: Counter,
    /// 1 while this process relays.
    pub(super) leads: Gauge,
}

impl Counters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            announced: metrics.counter("outbox_announced", "Events that the stream stored"),
            superseded: metrics.counter(
                "outbox_superseded",
                "Progress events left out because a newer event of the message waited",
            ),
            repaired: metrics
                .counter("outbox_repaired", "Events announced again because the stream had lost them"),
            leads: metrics.gauge("relay_leader", "1 while this process relays the outbox"),
        }
    }
}
