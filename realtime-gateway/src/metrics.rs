//! What the gateway counts.

use common::service::Context;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use strum::VariantNames as _;

use crate::connections::Refusal;

/// Why something was refused or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    /// Why, in a word.
    pub(crate) reason: &'static str,
}

/// What something came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    /// The outcome, in a word.
    pub(crate) outcome: &'static str,
}

/// How a session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Transport {
    /// `websocket` or `polling`.
    pub(crate) transport: &'static str,
}

/// Why a token is refused, when a socket connects or refreshes its token.
const AUTH_FAILURES: &str = "missing invalid expired revoked church_missing church_malformed too_many \
     another_user not_newer too_late too_soon";
/// Why a socket has left.
const DISCONNECTS: &str =
    "transport_close transport_error heartbeat stalled bad_packet multiple_polls client server stopping";
/// Why the gateway closed a transport.
const CLOSES: &str = "slow token_expired token_revoked stream_unavailable stopping church user address";
/// Where what a client had missed came from, or why it got nothing of it.
const RESUMES: &str = "memory stream new unproved unavailable slow gone";
/// What became of a replayed event.
const REPLAYS: &str = "accepted dropped no_subscriber refused";

/// Counters of one gateway.
#[derive(Clone)]
pub(crate) struct Counters {
    /// Sockets that got in.
    pub(crate) connections: Family<Transport, Counter>,
    /// Sessions that went on from polling to a websocket.
    pub(crate) upgrades: Counter,
    /// Tokens refused.
    pub(crate) auth_failures: Family<Reason, Counter>,
    /// Sessions that were not let in, although nothing is wrong with them.
    pub(crate) refusals: Family<Reason, Counter>,
    /// Sockets that left, by the library's reason.
    pub(crate) disconnects: Family<Reason, Counter>,
    /// Transports that the gateway closed.
    pub(crate) closes: Family<Reason, Counter>,
    /// Subscriptions of sockets whose disconnection was not reported.
    pub(crate) stale_subscriptions: Counter,
    /// Sockets now.
    pub(crate) sockets: Gauge,
    /// Events of clients that mean nothing to us.
    pub(crate) unknown_events: Counter,
    /// Churches with a socket here now.
    pub(crate) rooms: Gauge,
    /// Connections that may be open at once.
    pub(crate) connections_limit: Gauge,
    /// Connections now.
    pub(crate) connections_open: Gauge,
    /// How long it took to read a page for a client that resumes.
    pub(crate) history_seconds: Histogram,
    /// Events heard in their turn.
    pub(crate) events: Counter,
    /// Messages in the stream that are no events.
    pub(crate) foreign: Counter,
    /// Times that a socket's queue was full and it caught up at its own pace.
    pub(crate) slow_consumers: Counter,
    /// Packets handed to sockets.
    pub(crate) deliveries: Counter,
    /// Events that were not heard and were read back instead.
    pub(crate) gaps_healed: Counter,
    /// Times that the stream was found to be another one.
    pub(crate) discontinuities: Counter,
    /// Sockets that began, by where what they had missed came from.
    pub(crate) resumes: Family<Outcome, Counter>,
    /// From an event's record to its way out.
    pub(crate) event_age: Histogram,
    /// Events in memory.
    pub(crate) memory_events: Gauge,
    /// Bytes of the packets in memory.
    pub(crate) memory_bytes: Gauge,
    /// Replayed events, by what became of them.
    pub(crate) replays: Family<Outcome, Counter>,
    /// Replayed events that a socket did not get, because it had other things waiting.
    pub(crate) replays_skipped: Counter,
}

impl Counters {
    /// Registers them all.
    pub(crate) fn new(context: &Context) -> Self {
        let m = &context.metrics;
        let reasons = |words: &'static str| words.split(' ').map(|reason| Reason { reason });
        let outcomes = |words: &'static str| words.split(' ').map(|outcome| Outcome { outcome });
        Self {
            connections: m.counters(
                "gateway_connections",
                "Sockets that were let in, by first transport",
                ["websocket", "polling"].map(|transport| Transport { transport }),
            ),
            upgrades: m.counter("gateway_upgrades", "Sessions upgraded from polling to websocket"),
            auth_failures: m.counters("gateway_auth_failures", "Refused tokens", reasons(AUTH_FAILURES)),
            refusals: m.counters(
                "gateway_refusals",
                "Sessions and sockets refused for lack of room or readiness",
                Refusal::VARIANTS.iter().map(|reason| Reason { reason }),
            ),
            disconnects: m.counters("gateway_disconnects", "Sockets that left", reasons(DISCONNECTS)),
            closes: m.counters("gateway_closes", "Transports that the gateway closed", reasons(CLOSES)),
            stale_subscriptions: m.counter(
                "gateway_stale_subscriptions",
                "Subscriptions removed whose sockets had left without a disconnect",
            ),
            sockets: m.gauge("gateway_sockets", "Sockets connected now"),
            unknown_events: m.counter("gateway_unknown_events", "Events of clients that the gateway ignores"),
            rooms: m.gauge("gateway_rooms", "Churches with a connected socket"),
            connections_limit: m.gauge("gateway_connections_limit", "Connections that may be open at once"),
            connections_open: m.gauge("gateway_connections_open", "Connections open now"),
            history_seconds: m.seconds(
                "gateway_history_read_seconds",
                "Time to read a part of the stream for clients that resume",
            ),
            events: m.counter("gateway_events", "Events taken from the stream in order"),
            foreign: m.counter("gateway_foreign_messages", "Messages in the stream that are no events"),
            slow_consumers: m.counter(
                "gateway_slow_consumers",
                "Times a socket's queue was full, so that it left the live feed to catch up",
            ),
            deliveries: m.counter("gateway_deliveries", "Packets handed to sockets"),
            gaps_healed: m.counter(
                "gateway_missed_events",
                "Events that were not received live and were read from the stream",
            ),
            discontinuities: m
                .counter("gateway_discontinuities", "Times the stream was found recreated or shortened"),
            resumes: m.counters(
                "gateway_resumes",
                "Sockets let in, by where what they had missed came from",
                outcomes(RESUMES),
            ),
            event_age: m.ages("gateway_event_age_seconds", "From an event's record to its emission"),
            memory_events: m.gauge("gateway_memory_events", "Events kept in memory"),
            memory_bytes: m.gauge("gateway_memory_bytes", "Bytes of packets kept in memory"),
            replays: m.counters("gateway_replays", "Events replayed by operators", outcomes(REPLAYS)),
            replays_skipped: m
                .counter("gateway_replays_skipped", "Replayed events that a socket had no room for"),
        }
    }
}
