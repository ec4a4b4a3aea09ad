//! Stored events that operators send again, by a consumer that delivers to one subject which every gateway hears.
//!
//! On a connection of its own, so that a large replay can't slow the live events down.

use std::sync::Arc;

use async_nats::Message;
use common::broker::Broker;
use common::subject::{REPLAY, STREAM};
use futures_util::StreamExt as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::hub::{Hub, PACE, STRIDE};
use crate::intake;
use crate::metrics::{Counters, Reason};
use crate::packets::{self, Delivery};

/// Hears replayed events until the shutdown.
///
/// # Errors
/// The connection can't be used at all.
pub(crate) async fn hear(
    broker: Broker,
    hub: Arc<Hub>,
    counters: Counters,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut replayed = broker.client().subscribe(REPLAY).await?;
    let mut strides = (1..=STRIDE).cycle();
    while let Some(Some(message)) = shutdown.run_until_cancelled(replayed.next()).await {
        if strides.next() == Some(STRIDE) {
            sleep(PACE).await;
        }
        let reason = match replay(&hub, &message) {
            Ok(()) => "accepted",
            Err(why) => {
                warn!(subject = %message.subject, why, "a replayed message is refused");
                "refused"
            }
        };
        counters.replays.get_or_create(&Reason { reason }).inc();
    }
    Ok(())
}

/// Sends it on, if it shows that a consumer took it from our stream: the subject is the event's own, and the reply
/// is the acknowledgement that the server expects.
fn replay(hub: &Hub, message: &Message) -> Result<(), &'static str> {
    let from_stream = message.reply.as_deref().and_then(stream_of) == Some(STREAM);
    if !from_stream {
        return Err("it does not come from a consumer of the stream");
    }
    let event =
        intake::parse(&message.subject, &message.payload).map_err(|_| "subject and payload disagree")?;
    let packets = packets::encode(&event, &message.payload, Delivery::Replayed)
        .map_err(|_| "the payload can't be encoded")?;
    hub.replay(&event.church_id, &packets);
    Ok(())
}

/// The stream in an acknowledgement's subject: `$JS.ACK.<stream>.<consumer>.…` with nine tokens, or
/// `$JS.ACK.<domain>.<account>.<stream>.<consumer>.…` with eleven or more.
fn stream_of(reply: &str) -> Option<&str> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    match tokens.len() {
        7 => tokens.first().copied(),
        9.. => tokens.get(2).copied(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_acknowledgement_name_the_stream() {
        assert_eq!(stream_of("$JS.ACK.CHURCH.replay-42.1.7.1.1700000000000000000.0"), Some("CHURCH"));
        let long = "$JS.ACK._.hash.CHURCH.replay-42.1.7.1.1700000000000000000.0";
        assert_eq!(stream_of(long), Some("CHURCH"));
        assert_eq!(stream_of(&format!("{long}.token")), Some("CHURCH"));
        for other in ["_INBOX.x", "$JS.ACK.CHURCH", "church.42.status", ""] {
            assert_eq!(stream_of(other), None, "{other}");
        }
    }
}
