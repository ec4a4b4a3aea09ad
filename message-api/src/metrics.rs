//! What message-api counts.

use common::telemetry::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// Which request, and how it was answered. Routes are patterns, so their number is small.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    /// The method, or `other`.
    pub(crate) method: &'static str,
    /// The route's pattern, or `unmatched`.
    pub route: String,
    /// The answer's status.
    pub status: u16,
}

/// How a POST to Telnyx ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SendLabels {
    /// `accepted`, `refused`, `not_accepted` or `unresolved`.
    pub outcome: &'static str,
}

/// Why senders are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HeldLabels {
    /// `throttled`, `queue_full`, `number_unusable`, `spend_limit` or `sender_refused`.
    pub reason: &'static str,
}

/// How a question to Telnyx ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AskLabels {
    /// `known`, `unknown`, `throttled` or `unclear`.
    pub outcome: &'static str,
}

/// message-api's metrics.
#[derive(Clone)]
pub(crate) struct ApiMetrics {
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// How long they took.
    pub request_seconds: Histogram,
    /// POSTs to Telnyx by outcome.
    pub sends: Family<SendLabels, Counter>,
    /// How long they took.
    pub send_seconds: Histogram,
    /// 1 while the dispatcher waits because of Telnyx.
    pub paused: Gauge,
    /// Senders held back.
    pub held: Family<HeldLabels, Gauge>,
    /// Questions to Telnyx what became of a message.
    pub asks: Family<AskLabels, Counter>,
    /// Answers of Telnyx that are not recorded yet.
    pub waiting_answers: Gauge,
    /// Recipients whose waiting for a receipt was ended.
    pub closed: Counter,
}

impl ApiMetrics {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let sends = metrics.counters::<SendLabels>("api_sends", "Messages posted to Telnyx, by outcome");
        for outcome in ["accepted", "refused", "not_accepted", "unresolved"] {
            // From the start, so that the first one shows as a rise.
            drop(sends.get_or_create(&SendLabels { outcome }));
        }
        Self {
            requests: metrics.counters("api_requests", "Requests by route and status"),
            request_seconds: metrics.seconds("api_request_seconds", "Time to answer a request"),
            sends,
            send_seconds: metrics.seconds("api_send_seconds", "Time that Telnyx took to answer"),
            held: metrics.gauges("api_senders_held", "Senders with waiting messages that Telnyx holds back"),
            asks: metrics.counters("api_asks", "Messages that Telnyx was asked for because no webhook came"),
            paused: metrics.gauge("api_dispatcher_paused", "1 while sending waits because of Telnyx"),
            waiting_answers: metrics.gauge("api_answers_waiting", "Answers of Telnyx not recorded yet"),
            closed: metrics.counter("api_receipts_overdue", "Recipients closed because no receipt came"),
        }
    }
}
