//! Asks whether the stream accepts events, and where it ends, by a publish that it can't store.
//!
//! It expects a last sequence that no stream reaches. The refusal names the real one, and proves that connection,
//! permission, stream and leader all work. A service has no permission to ask for the stream's state otherwise.

use async_nats::jetstream::context::{Context as JetStream, ContextBuilder, PublishError};
use async_nats::jetstream::message::PublishMessage;

use super::refusal::Refusal;
use super::timing::ACK_TIMEOUT;
use crate::broker::Broker;
use crate::subject::{RELAY_PROBE, STREAM};

/// A sequence that no stream reaches, exact in any JSON parser.
const UNREACHED: u64 = 1 << 53;

/// Probes the stream.
pub(super) struct Probe(JetStream);

impl Probe {
    pub(super) fn new(broker: &Broker) -> Self {
        Self(ContextBuilder::new().timeout(ACK_TIMEOUT).build(broker.client().clone()))
    }

    /// The sequence of the stream's last event.
    ///
    /// # Errors
    /// The stream does not answer this service.
    pub(super) async fn last_sequence(&self) -> Result<i64, PublishError> {
        let question = PublishMessage::build().expected_stream(STREAM).expected_last_sequence(UNREACHED);
        match self.0.send_publish(RELAY_PROBE, question).await?.await {
            Err(error) => match Refusal::of(&error) {
                Refusal::EndsAt(last) => Ok(last),
                _ => Err(error),
            },
            // No stream has that many events.
            Ok(ack) => Ok(i64::try_from(ack.sequence).unwrap_or(i64::MAX)),
        }
    }
}
