//! What the follower reads from and writes to, and its reads of the stream.

use std::sync::Arc;
use std::time::Duration;

use common::broker::Broker;
use common::service::Condition;
use common::subject::STREAM_SUBJECTS;
use tokio::time::sleep;

use crate::events::decode;
use crate::feed::gauges::FeedGauges;
use crate::feed::health::FeedHealth;
use crate::memory::{Recent, RecentLimits};
use crate::metrics::Counters;
use crate::rooms::Hub;
use crate::stream::{Extent, Fingerprint, ReadError, Reader, Stored};
use crate::tokens::Revocations;

/// Pause before a failed read is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(500);
/// How often an empty answer is asked for again, because another replica may know more.
const EMPTY_ANSWERS: u32 = 20;

/// What following the stream needs.
pub(crate) struct Source {
    /// The connection.
    pub(crate) broker: Broker,
    /// Reads over it.
    pub(crate) reader: Reader,
    /// Takes the events.
    pub(crate) hub: Arc<Hub>,
    /// Takes the revocations.
    pub(crate) revocations: Arc<Revocations>,
    /// Whether the gateway has its position in the stream.
    pub(crate) condition: Condition,
    /// Whether clients get all events.
    pub(crate) health: Arc<FeedHealth>,
    /// How much of the stream's newest part is kept.
    pub(crate) limits: RecentLimits,
    /// The metrics.
    pub(crate) counters: Counters,
    /// Those of the stream.
    pub(crate) gauges: FeedGauges,
}

impl Source {
    /// Reads the stream's newest part and all revocations. The subscription is older than this read, so a later message
    /// will be heard.
    ///
    /// # Errors
    /// The stream can't be read now.
    pub(super) async fn read_newest_part(&self) -> Result<(Extent, Recent), ReadError> {
        let extent = self.reader.extent().await?;
        let oldest = (extent.last + 1).saturating_sub(self.limits.events as u64).max(extent.first);
        let floor = oldest.saturating_sub(1).min(extent.last);
        let at_floor = if floor < extent.first.max(1) {
            Some(Fingerprint::default())
        } else {
            self.reader.at(floor).await?.map(|stored| decode::fingerprint(&stored))
        };
        let mut recent = Recent::new(self.limits, extent.created, floor, at_floor);
        while recent.last() < extent.last {
            for stored in self.read_after(recent.last()).await? {
                if stored.sequence > recent.last() + 1 {
                    // The stream dropped its oldest messages meanwhile: begin after them.
                    let (floor, at_floor) = (stored.sequence - 1, Some(Fingerprint::default()));
                    recent = Recent::new(self.limits, extent.created, floor, at_floor);
                }
                // A message that can't be read was logged when it came.
                recent.take(&stored);
            }
        }
        self.revocations.read_back(&self.reader).await?;
        Ok((extent, recent))
    }

    /// Reads the messages after a sequence, where some are known to exist.
    ///
    /// # Errors
    /// The stream can't be read now.
    pub(super) async fn read_after(&self, sequence: u64) -> Result<Vec<Stored>, ReadError> {
        for _ in 0..EMPTY_ANSWERS {
            let messages = self.reader.from(sequence + 1, STREAM_SUBJECTS).await?.messages;
            if !messages.is_empty() {
                return Ok(messages);
            }
            sleep(RETRY / EMPTY_ANSWERS).await;
        }
        Err(ReadError::Unavailable("no replica returns messages that are known to exist".into()))
    }
}
