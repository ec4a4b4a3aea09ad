//! Consumers that replay stored events to the gateways.
//!
//! A consumer delivers to the gateways' replay subject one event at a time: the next one comes only after the last one
//! was acknowledged. This program hears them, too, and acknowledges at its own rate. So it knows exactly what was
//! delivered, a slow pace needs no guess at the size of events, and a consumer whose maker was killed stands still.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use async_nats::Subscriber;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, Info, push};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self};
use common::subject::{self, ChurchId, REPLAY, Topic};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::progress::Progress;

/// Begins the names of consumers that replay.
const REPLAYING: &str = "ops-replay-";
/// Longest wait for the next event.
const PATIENCE: Duration = Duration::from_secs(10);
/// An event that was not acknowledged is never delivered again.
const ACK_WAIT: Duration = Duration::from_secs(3_600);
/// Without any subscriber the broker removes the consumer after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// Replays events of one church.
pub(super) struct Replay {
    client: async_nats::Client,
    stream: Stream,
    church: ChurchId,
    name: String,
    pace: Interval,
    progress: Progress,
    /// Events delivered so far.
    pub(super) delivered: u64,
}

/// Where a replay ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// At what was the end of the church's events when the replay began.
    Now,
    /// At this sequence.
    Sequence(u64),
}

impl Replay {
    /// Prepares a replay of at most `rate` events a second.
    pub(super) fn new(
        client: async_nats::Client,
        stream: Stream,
        church: ChurchId,
        rate: u32,
        progress: Progress,
    ) -> Self {
        let mut pace = interval(Duration::from_secs(1) / rate.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let name = format!("{REPLAYING}{}", Uuid::now_v7().simple());
        Self { client, stream, church, name, pace, progress, delivered: 0 }
    }

    /// Makes the consumer, and waits until it delivered its last event. Remove the consumer afterwards, also if this
    /// failed or was left.
    pub(super) async fn run(&mut self, from: DeliverPolicy, until: Until) -> anyhow::Result<()> {
        let mut replayed = self.client.subscribe(REPLAY).await.context("can't hear the replay")?;
        let consumer = self.stream.create_consumer(self.config(from)).await;
        let consumer = consumer.context("can't make the consumer that replays")?;
        let info = consumer.cached_info();
        // The first event may be on its way already.
        let waiting = info.num_pending + info.delivered.consumer_sequence;
        let all = if let Until::Sequence(_) = until { waiting.min(1) } else { waiting };
        for number in 1..=all {
            self.pace.tick().await;
            let (sequence, pending, message) = self.next(&mut replayed).await?;
            self.delivered += 1;
            self.progress.tell(self.delivered, Some(all.max(self.delivered)), "events");
            // Older events may have left the stream meanwhile.
            let is_last = pending == 0 || matches!(until, Until::Sequence(last) if sequence >= last);
            if is_last || number == all {
                break;
            }
            message.ack().await.map_err(|error| anyhow!("can't acknowledge an event: {error}"))?;
        }
        Ok(())
    }

    /// Removes the consumer, if it was made.
    pub(super) async fn remove(&self) -> anyhow::Result<()> {
        remove(&self.stream, &self.name).await
    }

    fn config(&self, deliver_policy: DeliverPolicy) -> push::Config {
        push::Config {
            name: Some(self.name.clone()),
            description: Some(format!("ops replays events of {}", self.church)),
            deliver_subject: REPLAY.into(),
            filter_subjects: subjects(&self.church),
            deliver_policy,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: 1,
            max_deliver: 1,
            inactive_threshold: FORGOTTEN_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..push::Config::default()
        }
    }

    /// The next event of this replay: its sequence, how many follow it, and the message.
    async fn next(&self, replayed: &mut Subscriber) -> anyhow::Result<(u64, u64, jetstream::Message)> {
        loop {
            let message = timeout(PATIENCE, replayed.next()).await;
            let message = message.ok().flatten().context(
                "no event came from the consumer; was it removed, or has the broker no leader? Run the command again",
            )?;
            let context = jetstream::new(self.client.clone());
            let message = jetstream::Message { message, context };
            // Other operators may replay at the same time.
            let Ok(info) = message.info() else { continue };
            if info.consumer == self.name {
                return Ok((info.stream_sequence, info.pending, message));
            }
        }
    }
}

/// The subjects of a church's events.
fn subjects(church: &ChurchId) -> Vec<String> {
    [Topic::Sent, Topic::Status, Topic::Received].map(|topic| subject::church(church, topic)).into()
}

/// The consumers that replay to the gateways, whoever made them.
pub(super) async fn list(stream: &Stream) -> anyhow::Result<Vec<Info>> {
    let all: Vec<Info> = stream.consumers().try_collect().await.context("can't list the consumers")?;
    Ok(all.into_iter().filter(|info| info.config.deliver_subject.as_deref() == Some(REPLAY)).collect())
}

/// Whether `ops replay` made it, which removes it at the end.
pub(super) fn ends_by_itself(consumer: &Info) -> bool {
    consumer.name.starts_with(REPLAYING)
}

/// Removes a consumer. One that is gone already is no error.
pub(super) async fn remove(stream: &Stream, name: &str) -> anyhow::Result<()> {
    use async_nats::jetstream::ErrorCode;
    use async_nats::jetstream::stream::ConsumerErrorKind;
    match stream.delete_consumer(name).await.map_err(|error| (error.kind(), error)) {
        Ok(_) => Ok(()),
        Err((ConsumerErrorKind::JetStream(answer), _))
            if answer.error_code() == ErrorCode::CONSUMER_NOT_FOUND =>
        {
            Ok(())
        }
        Err((_, error)) => {
            bail!("can't remove the consumer {name}: {error}; `ops replay --clean` removes it")
        }
    }
}
