//! What is shown of the stream and of our position in it.

use common::telemetry::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::stream::Replicas;

/// Gauges of the stream.
#[derive(Clone)]
pub(crate) struct FeedGauges {
    position: Gauge,
    behind: Gauge,
    replicas: Family<State, Gauge>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// How a replica is.
const REPLICAS: [&str; 3] = ["current", "lagging", "offline"];

impl FeedGauges {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            position: metrics
                .gauge("gateway_stream_position", "The last sequence of the stream that was emitted"),
            behind: metrics.gauge(
                "gateway_stream_behind",
                "Messages of the stream that are known to exist and were not emitted yet",
            ),
            replicas: metrics.gauges(
                "gateway_stream_replicas",
                "Replicas of the stream besides its leader, as the leader says",
                REPLICAS.map(|state| State { state }),
            ),
        }
    }

    /// Shows the last sequence that was published.
    pub(super) fn at(&self, sequence: u64) {
        self.position.set(shown(sequence));
    }

    /// Shows how many messages are known to exist and were not published.
    pub(super) fn behind(&self, messages: u64) {
        self.behind.set(shown(messages));
    }

    /// Shows the stream's replicas.
    pub(super) fn replicas(&self, replicas: Replicas) {
        let counts = [replicas.current, replicas.lagging, replicas.offline];
        for (state, count) in REPLICAS.into_iter().zip(counts) {
            self.replicas.get_or_create(&State { state }).set(count);
        }
    }
}

fn shown(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
