//! What message-api counts.

use common::telemetry::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::telnyx::RetryReason;

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

/// How a lookup of a message at Telnyx ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AskLabels {
    /// `known`, `unknown`, `throttled` or `unclear`.
    pub outcome: &'static str,
}

/// How the back end took a text that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ForwardLabels {
    /// `accepted`, `refused`, `unreachable` or `expired`.
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
    /// Attempts to tell the back end of a text that came in.
    pub forwards: Family<ForwardLabels, Counter>,
    /// Texts that the back end was not told of yet.
    pub forwards_waiting: Gauge,
}

impl ApiMetrics {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counters("api_requests", "Requests by route and status", known_requests()),
            request_seconds: metrics.seconds("api_request_seconds", "Time to answer a request"),
            sends: metrics.counters(
                "api_sends",
                "Messages posted to Telnyx",
                ["accepted", "refused", "not_accepted", "unresolved"].map(|outcome| SendLabels { outcome }),
            ),
            send_seconds: metrics.seconds("api_send_seconds", "Time that Telnyx took to answer a send"),
            held: metrics.gauges(
                "api_senders_held",
                "Senders with waiting messages that Telnyx holds back",
                RetryReason::OF_A_SENDER.map(|reason| HeldLabels { reason: reason.into() }),
            ),
            asks: metrics.counters(
                "api_lookups",
                "Messages looked up at Telnyx because no webhook came",
                ["known", "unknown", "throttled", "unclear"].map(|outcome| AskLabels { outcome }),
            ),
            paused: metrics.gauge("api_dispatcher_paused", "1 while sending waits because of Telnyx"),
            waiting_answers: metrics.gauge("api_answers_waiting", "Answers of Telnyx not recorded yet"),
            forwards: metrics.counters(
                "api_inbound_forwards",
                "Attempts to tell INBOUND_URL of a text that came in",
                ["accepted", "refused", "unreachable", "expired"].map(|outcome| ForwardLabels { outcome }),
            ),
            forwards_waiting: metrics
                .gauge("api_inbound_waiting", "Texts that came in and INBOUND_URL was not told of yet"),
            closed: metrics.counter("api_receipts_overdue", "Recipients closed because no receipt came"),
        }
    }
}

/// The answers that every route gives sooner or later; rarer ones are exported once they were given.
fn known_requests() -> Vec<RequestLabels> {
    let routes = [
        ("POST", "/api/messages/send", 201, 422),
        ("GET", "/api/messages/history", 200, 422),
        ("GET", "/api/messages/inbound", 200, 422),
        ("GET", "/api/messages/{id}", 200, 404),
        ("DELETE", "/api/messages/{id}", 200, 404),
        ("POST", "/api/messages/{id}/retry", 201, 422),
        ("GET", "/api/messages/{id}/recipients", 200, 404),
    ];
    let of_route = |(method, route, done, wrong): (&'static str, &str, u16, u16)| {
        [done, 401, wrong, 503].map(|status| RequestLabels { method, route: route.to_owned(), status })
    };
    routes.into_iter().flat_map(of_route).collect()
}
