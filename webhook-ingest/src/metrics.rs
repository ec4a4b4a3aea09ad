//! What is counted, all of it from the start at zero.

use std::time::Duration;

use common::store::Outcome;
use common::telemetry::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// The service's metrics.
#[derive(Clone)]
pub struct IngestMetrics {
    webhooks: Family<OutcomeLabel, Counter>,
    refusals: Family<ReasonLabel, Counter>,
    batch_size: Histogram,
    commit_seconds: Histogram,
    answer_seconds: Histogram,
    queue_length: Gauge,
    late_claims: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl IngestMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        let webhooks = metrics.counters("ingest_webhooks", "Webhooks recorded, by outcome");
        for outcome in
            [Outcome::Applied, Outcome::Duplicate, Outcome::Stale, Outcome::Parked, Outcome::Ignored]
        {
            drop(webhooks.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }));
        }
        Self {
            webhooks,
            refusals: metrics.counters("ingest_refusals", "Requests not answered 200, by reason"),
            batch_size: metrics.register(
                "ingest_batch_size",
                "Webhooks in one commit",
                Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            ),
            commit_seconds: metrics.seconds("ingest_commit_seconds", "How long a commit took"),
            answer_seconds: metrics
                .seconds("ingest_answer_seconds", "From a request's arrival to its answer"),
            queue_length: metrics.gauge("ingest_queue_length", "Requests being read or waiting for a commit"),
            late_claims: metrics
                .counter("ingest_late_claims", "Parked webhooks that the sweep gave their recipient"),
        }
    }

    pub(crate) fn recorded(&self, outcome: Outcome) {
        self.webhooks.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn answered(&self, after: Duration) {
        self.answer_seconds.observe(after.as_secs_f64());
    }

    pub(crate) fn commit_begins(&self, webhooks: usize) {
        self.batch_size.observe(webhooks as f64);
    }

    pub(crate) fn commit_took(&self, duration: Duration) {
        self.commit_seconds.observe(duration.as_secs_f64());
    }

    /// Counts a request into the queue's length as long as the result lives.
    pub(crate) fn in_queue(&self) -> InQueue {
        self.queue_length.inc();
        InQueue(self.queue_length.clone())
    }

    pub(crate) fn claimed_late(&self, webhooks: usize) {
        self.late_claims.inc_by(webhooks as u64);
    }
}

/// A request that is counted in the queue's length.
pub(crate) struct InQueue(Gauge);

impl Drop for InQueue {
    fn drop(&mut self) {
        self.0.dec();
    }
}
