//! What message-api counts.

use common::telemetry::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use strum::IntoEnumIterator as _;

use crate::error::Code;
use crate::telnyx::{CLASSES, RetryReason};

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

/// Which route was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    /// The method, or `other`.
    pub(crate) method: &'static str,
    /// The route's pattern, or `unmatched`.
    pub(crate) route: String,
}

/// The code of an error answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CodeLabels {
    /// As in the answer's body.
    pub(crate) code: &'static str,
}

/// What something came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    /// The outcome, in a word.
    pub(crate) outcome: &'static str,
}

/// Why senders are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HeldLabels {
    /// `throttled`, `queue_full`, `number_unusable`, `spend_limit` or `sender_refused`.
    pub reason: &'static str,
}

/// For whom operators paused sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PauseLabels {
    /// `all` or `church`.
    pub(crate) scope: &'static str,
}

/// What Telnyx was asked, and how it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AnswerLabels {
    /// `send` or `lookup`.
    pub(crate) request: &'static str,
    /// One of [`CLASSES`].
    pub(crate) class: &'static str,
}

/// What became of a text to be sent.
const SENDS: [&str; 4] = ["accepted", "refused", "not_accepted", "unresolved"];
/// What a lookup of a message at Telnyx told.
const LOOKUPS: [&str; 4] = ["known", "unknown", "throttled", "unclear"];
/// How `INBOUND_URL` took a text.
const FORWARDS: [&str; 4] = ["accepted", "refused", "unreachable", "expired"];
/// What `RECIPIENTS_URL` told of a target.
const QUESTIONS: [&str; 6] = ["found", "unknown", "nobody", "too_many", "slow", "wrong"];

/// message-api's metrics.
#[derive(Clone)]
pub(crate) struct ApiMetrics {
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// How long they took.
    pub request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// Error answers by code.
    pub errors: Family<CodeLabels, Counter>,
    /// POSTs to Telnyx by outcome.
    pub sends: Family<Outcome, Counter>,
    /// How long they took.
    pub send_seconds: Histogram,
    /// All answers of Telnyx by class.
    pub telnyx_answers: Family<AnswerLabels, Counter>,
    /// Recipients whose turn it is.
    pub due: Gauge,
    /// How long the first of them has been due, in seconds.
    pub due_oldest: Gauge,
    /// Recipients of whom Telnyx has not said whether it has their text.
    pub unresolved: Gauge,
    /// Pauses by operators.
    pub pauses: Family<PauseLabels, Gauge>,
    /// 1 while the dispatcher waits because of Telnyx.
    pub paused: Gauge,
    /// Senders held back.
    pub held: Family<HeldLabels, Gauge>,
    /// Questions to Telnyx what became of a message.
    pub asks: Family<Outcome, Counter>,
    /// Answers of Telnyx that are not recorded yet.
    pub waiting_answers: Gauge,
    /// Recipients whose waiting for a receipt was ended.
    pub closed: Counter,
    /// Attempts to tell the back end of a text that came in.
    pub forwards: Family<Outcome, Counter>,
    /// Texts that the back end was not told of yet.
    pub forwards_waiting: Gauge,
    /// Questions to the back end who belongs to a target.
    pub questions: Family<Outcome, Counter>,
    /// How long they took.
    pub question_seconds: Histogram,
}

impl ApiMetrics {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counters("api_requests", "Requests by route and status", known_requests()),
            request_seconds: metrics.seconds_by(
                "api_request_seconds",
                "Time to answer a request",
                ROUTES.map(|(method, route, ..)| RouteLabels { method, route: route.to_owned() }),
            ),
            errors: metrics.counters(
                "api_errors",
                "Error answers by code",
                Code::iter().map(|code| CodeLabels { code: code.into() }),
            ),
            sends: metrics.counters("api_sends", "Texts posted to Telnyx", outcomes(SENDS)),
            telnyx_answers: metrics.counters(
                "api_telnyx_answers",
                "Answers of Telnyx, and how requests without an answer failed",
                known_answers(),
            ),
            due: metrics.gauge("api_due", "Recipients whose turn it is to be sent, up to 100,000"),
            due_oldest: metrics.gauge("api_due_oldest_seconds", "How long the first of them has been due"),
            unresolved: metrics.gauge(
                "api_unresolved",
                "Recipients of whom Telnyx has not said within a minute whether it has their text",
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
                outcomes(LOOKUPS),
            ),
            pauses: metrics.gauges(
                "api_paused",
                "Pauses of sending by operators",
                ["all", "church"].map(|scope| PauseLabels { scope }),
            ),
            paused: metrics.gauge("api_dispatcher_paused", "1 while sending waits because of Telnyx"),
            waiting_answers: metrics.gauge("api_answers_waiting", "Answers of Telnyx not recorded yet"),
            forwards: metrics.counters(
                "api_inbound_forwards",
                "Attempts to tell INBOUND_URL of a text that came in",
                outcomes(FORWARDS),
            ),
            forwards_waiting: metrics
                .gauge("api_inbound_waiting", "Texts that came in and INBOUND_URL was not told of yet"),
            closed: metrics.counter("api_receipts_overdue", "Recipients closed because no receipt came"),
            questions: metrics.counters(
                "api_recipients_questions",
                "Questions to RECIPIENTS_URL who belongs to a target",
                outcomes(QUESTIONS),
            ),
            question_seconds: metrics
                .seconds("api_recipients_seconds", "Time that RECIPIENTS_URL took to name all recipients"),
        }
    }
}

/// Each route's method and pattern, its usual answer, and its usual refusal.
const ROUTES: [(&str, &str, u16, u16); 7] = [
    ("POST", "/api/messages/send", 201, 422),
    ("GET", "/api/messages/history", 200, 422),
    ("GET", "/api/messages/inbound", 200, 422),
    ("GET", "/api/messages/{id}", 200, 404),
    ("DELETE", "/api/messages/{id}", 200, 404),
    ("POST", "/api/messages/{id}/retry", 201, 422),
    ("GET", "/api/messages/{id}/recipients", 200, 404),
];

/// The answers that every route gives sooner or later; rarer ones are exported once they were given.
fn known_requests() -> impl Iterator<Item = RequestLabels> {
    ROUTES.into_iter().flat_map(|(method, route, done, wrong)| {
        [done, 401, wrong, 503].map(|status| RequestLabels { method, route: route.to_owned(), status })
    })
}

fn known_answers() -> impl Iterator<Item = AnswerLabels> {
    let requests = ["send", "lookup"].into_iter();
    requests.flat_map(|request| CLASSES.map(|class| AnswerLabels { request, class }))
}

fn outcomes<const N: usize>(words: [&'static str; N]) -> [Outcome; N] {
    words.map(|outcome| Outcome { outcome })
}
