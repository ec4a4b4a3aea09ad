//! What the gateway counts.

use common::service::Context;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// A counter's only label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    /// Why, in a word.
    pub(crate) reason: &'static str,
}

/// How a session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Transport {
    /// `websocket` or `polling`.
    pub(crate) transport: &'static str,
}

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
    pub(crate) resumes: Family<Reason, Counter>,
    /// From an event's record to its way out.
    pub(crate) event_age: Histogram,
    /// Events in memory.
    pub(crate) memory_events: Gauge,
    /// Bytes of the packets in memory.
    pub(crate) memory_bytes: Gauge,
    /// Replayed events, by what became of them.
    pub(crate) replays: Family<Reason, Counter>,
    /// Replayed events that a socket did not get, because it had other things waiting.
    pub(crate) replays_skipped: Counter,
}

impl Counters {
    /// Registers them all.
    pub(crate) fn new(context: &Context) -> Self {
        let m = &context.metrics;
        Self {
            connections: m.counters("gateway_connections", "Sockets that were let in, by first transport"),
            upgrades: m.counter("gateway_upgrades", "Sessions that went on from polling to websocket"),
            auth_failures: m.counters("gateway_auth_failures", "Refused tokens"),
            refusals: m.counters("gateway_refusals", "Sessions that were not let in for lack of room"),
            disconnects: m.counters("gateway_disconnects", "Sockets that left"),
            closes: m.counters("gateway_closes", "Transports that the gateway closed"),
            stale_subscriptions: m.counter("gateway_leftover_seats", "Seats of sockets that had left untold"),
            sockets: m.gauge("gateway_sockets", "Sockets connected now"),
            unknown_events: m.counter("gateway_unknown_events", "Events of clients that mean nothing here"),
            rooms: m.gauge("gateway_rooms", "Churches with a connected socket"),
            events: m.counter("gateway_events", "Events taken from the stream in their turn"),
            foreign: m.counter("gateway_foreign_messages", "Messages in the stream that are no events"),
            slow_consumers: m.counter(
                "gateway_laggards",
                "Times a socket's queue was full and it went on at its own pace",
            ),
            deliveries: m.counter("gateway_deliveries", "Packets handed to sockets"),
            gaps_healed: m.counter("gateway_gaps_healed", "Events that were missed live and read back"),
            discontinuities: m
                .counter("gateway_discontinuities", "Times the stream was found recreated or shortened"),
            resumes: m.counters("gateway_resumes", "Sockets that began, by where what they missed came from"),
            event_age: m.seconds("gateway_event_age_seconds", "From an event's record to its way out"),
            memory_events: m.gauge("gateway_memory_events", "Events kept in memory"),
            memory_bytes: m.gauge("gateway_memory_bytes", "Bytes of packets kept in memory"),
            replays: m.counters("gateway_replays", "Events replayed by operators"),
            replays_skipped: m
                .counter("gateway_replays_skipped", "Replayed events that a socket had no room for"),
        }
    }
}
