//! The metrics of webhook-ingest.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::store::{Outcome, Webhook};
use common::telemetry::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use strum::VariantNames as _;

use crate::parse::Unreadable;

/// The service's metrics.
#[derive(Clone)]
pub struct IngestMetrics {
    webhooks: Family<OutcomeLabel, Counter>,
    refusals: Family<ReasonLabel, Counter>,
    unreadable: Family<ReasonLabel, Counter>,
    unknown_statuses: Family<StatusLabel, Counter>,
    words: Arc<Mutex<BTreeSet<String>>>,
    batch_size: Histogram,
    commit_seconds: Histogram,
    request_seconds: Histogram,
    queue_length: Gauge,
    parked_applied: Counter,
    parked: Gauge,
    delay: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: String,
}

/// Why requests are refused: [`crate::error::IngestError`].
const REFUSALS: &str = "signature_missing signature_api_v1 signature_repeated signature_malformed signature_wrong \
     timestamp_missing timestamp_malformed timestamp_stale body_broken too_large queue_full database_unavailable \
     unreadable stopping late not_found method_not_allowed";

/// Unknown statuses that are counted each for itself; all further ones are [`OTHER`].
const MAX_WORDS: usize = 16;
/// The longest word that is counted for itself.
const MAX_WORD: usize = 32;
const OTHER: &str = "other";

impl IngestMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            webhooks: metrics.counters(
                "ingest_webhooks",
                "Webhooks recorded",
                Outcome::VARIANTS.iter().map(|outcome| OutcomeLabel { outcome }),
            ),
            refusals: metrics.counters(
                "ingest_refusals",
                "Requests not answered 200",
                REFUSALS.split(' ').map(|reason| ReasonLabel { reason }),
            ),
            unreadable: metrics.counters(
                "ingest_unreadable",
                "Signed bodies that can't be read and are kept as ignored",
                Unreadable::VARIANTS.iter().map(|reason| ReasonLabel { reason }),
            ),
            unknown_statuses: metrics.counters(
                "ingest_unknown_statuses",
                "Recipients reported with a status that is not known",
                [StatusLabel { status: OTHER.into() }],
            ),
            words: Arc::default(),
            batch_size: metrics.register(
                "ingest_batch_webhooks",
                "Webhooks in one commit",
                Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            ),
            commit_seconds: metrics.seconds("ingest_commit_seconds", "Time that a commit took"),
            request_seconds: metrics.seconds("ingest_request_seconds", "Time to answer a request"),
            queue_length: metrics.gauge("ingest_queue_length", "Requests being read or waiting for a commit"),
            parked_applied: metrics.counter(
                "ingest_parked_applied",
                "Parked webhooks that were applied to their recipient later",
            ),
            parked: metrics.gauge("ingest_parked", "Webhooks that wait for their recipient to become known"),
            delay: metrics.ages(
                "ingest_webhook_delay_seconds",
                "From what a webhook reports until it came, by Telnyx's clock and ours",
            ),
        }
    }

    /// Counts a recorded webhook. A repetition says nothing about how late the first one came.
    pub(crate) fn recorded(&self, webhook: &Webhook, outcome: Outcome) {
        self.webhooks.get_or_create(&OutcomeLabel { outcome: outcome.into() }).inc();
        if let Some(occurred_at) = webhook.occurred_at.filter(|_| outcome != Outcome::Duplicate) {
            self.delay.observe((webhook.received_at - occurred_at).as_seconds_f64().max(0.0));
        }
    }

    pub(crate) fn parked(&self, webhooks: i64) {
        self.parked.set(webhooks);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn unreadable(&self, reason: &'static str) {
        self.unreadable.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts an unknown word. Gives it as it may be shown: `other` for what is no word, or one word too many.
    pub(crate) fn unknown_status(&self, word: &str) -> String {
        let is_word = (1..=MAX_WORD).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let is_counted = is_word && (words.contains(word) || words.len() < MAX_WORDS);
        if is_counted {
            words.insert(word.to_owned());
        }
        let label = StatusLabel { status: if is_counted { word } else { OTHER }.to_owned() };
        self.unknown_statuses.get_or_create(&label).inc();
        label.status
    }

    pub(crate) fn answered(&self, after: Duration) {
        self.request_seconds.observe(after.as_secs_f64());
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
        self.parked_applied.inc_by(webhooks as u64);
    }
}

/// A request that is counted in the queue's length.
pub(crate) struct InQueue(Gauge);

impl Drop for InQueue {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_are_counted_each_for_itself_up_to_a_bound() {
        let registry = Metrics::default();
        let metrics = IngestMetrics::new(&registry);
        let words: Vec<String> = (0..100u8).map(|n| "x".repeat(usize::from(n) % 20 + 1)).collect();
        for word in words.iter().map(String::as_str).chain(["+15550000101", "two words", "", "ümlaut"]) {
            let _ = metrics.unknown_status(word);
        }
        let shown = registry.encode();
        let counted = shown.lines().filter(|line| line.starts_with("church_ingest_unknown_statuses_total{"));
        assert_eq!(counted.count(), MAX_WORDS + 1, "{shown}");
        // Four of twenty words, five times each, and what is no word.
        assert!(shown.contains("church_ingest_unknown_statuses_total{status=\"other\"} 24"), "{shown}");
        assert!(shown.contains("church_ingest_unknown_statuses_total{status=\"xx\"} 5"), "{shown}");
        assert!(!shown.contains("1555"), "{shown}");
    }
}
