//! Sends a socket what it missed, at its own pace, until it is live. A client that is too slow even for that is closed
//! here, and nowhere else. (A connection whose peer does not read at all is cut by its listener.)

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::events::Event;
use crate::gateway::Gateway;
use crate::memory::{Key, Page, Progress};
use crate::rooms::{CloseReason, Next, PACE, STRIDE, SlowConsumer, Subscriber, Unsent};
use crate::stream::ReadError;

/// How long a client waits for the stream to answer, before it has to come back.
const UNAVAILABLE: Duration = Duration::from_secs(5);
/// Pause before the stream is read again.
const RETRY: Duration = Duration::from_millis(250);
/// How long to wait until half of a socket's credit is free. After that it gets what there is room for.
const HALF_FREE: Duration = Duration::from_secs(1);

/// Why a socket does not get from its cursor to the live events. Its name in snake case is the label
/// in metrics and logs.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Stop {
    /// The client has no cursor.
    New,
    /// Nothing proves that no event is missing.
    Unproved,
    /// The stream does not answer.
    Unavailable,
    /// The client takes no packets.
    Slow,
    /// The socket has disconnected.
    Gone,
}

impl Stop {
    /// Begins at the head of the stream, or closes the socket.
    pub(super) fn apply(&self, gateway: &Gateway, subscriber: &Subscriber) {
        let reason = match self {
            Self::New | Self::Unproved => match gateway.hub.begin_at_head(subscriber) {
                Ok(()) => return,
                Err(Unsent::Full) => CloseReason::Slow,
                Err(Unsent::Gone) => CloseReason::Gone,
            },
            Self::Unavailable => CloseReason::StreamUnavailable,
            Self::Slow => CloseReason::Slow,
            Self::Gone => CloseReason::Gone,
        };
        gateway.hub.remove(subscriber, Some(reason));
    }
}

/// Brings slow consumers back to the live events, each at its own pace.
pub(crate) async fn serve_slow_consumers(
    gateway: Arc<Gateway>,
    mut slow_consumers: mpsc::UnboundedReceiver<SlowConsumer>,
) {
    while let Some(SlowConsumer { subscriber, progress }) = slow_consumers.recv().await {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            let mut catch_up = CatchUp::new(&gateway, &subscriber, progress);
            let Subscriber { client, socket } = &subscriber;
            if let Some(Err(stop)) = client.gone.run_until_cancelled(catch_up.run()).await {
                let reason: &str = (&stop).into();
                debug!(church.id = %client.church, socket.id = %socket.id, reason, "a slow consumer did not catch up");
                stop.apply(&gateway, &subscriber);
            }
        });
    }
}

/// One socket on its way to the live events.
pub(super) struct CatchUp<'a> {
    gateway: &'a Gateway,
    subscriber: &'a Subscriber,
    progress: Progress,
    full_since: Option<Instant>,
}

impl<'a> CatchUp<'a> {
    /// A socket that has come this far.
    pub(super) fn new(gateway: &'a Gateway, subscriber: &'a Subscriber, progress: Progress) -> Self {
        Self { gateway, subscriber, progress, full_since: None }
    }

    /// Sends what is missing until the socket is live.
    ///
    /// # Errors
    /// Why it does not get there.
    pub(super) async fn run(&mut self) -> Result<(), Stop> {
        loop {
            let before = self.progress;
            let next = self.gateway.hub.next(self.subscriber, &mut self.progress);
            if self.progress != before {
                self.full_since = None;
            }
            match next {
                Ok(Next::Live) => return Ok(()),
                Ok(Next::Lost) => return Err(Stop::Unproved),
                Ok(Next::Events(events)) => self.send(&events).await?,
                Ok(Next::Older(floor)) => self.send_older(floor).await?,
                Err(Unsent::Full) => self.wait_for_room().await?,
                Err(Unsent::Gone) => return Err(Stop::Gone),
            }
        }
    }

    /// Sends the next page of history up to the floor. Memory has all events above that, and none of them twice.
    async fn send_older(&mut self, floor: u64) -> Result<(), Stop> {
        // The page may tell an event in other packets than memory did: it is sent again completely.
        self.progress.packets = 0;
        let page = self.page(floor).await?;
        if page.anchor.is_none() {
            return Err(Stop::Unproved);
        }
        let below = page.events.partition_point(|event| event.sequence <= floor);
        self.gateway.hub.note_quiet(&self.subscriber.client.church, &self.progress, &page);
        self.send(page.events.get(..below).unwrap_or_default()).await?;
        self.progress.sequence = self.progress.sequence.max(page.reach.min(floor));
        Ok(())
    }

    /// Sends events in strides, each of which fits into the socket's queue, and waits for room where one does not.
    async fn send(&mut self, events: &[Arc<Event>]) -> Result<(), Stop> {
        for stride in events.chunks(STRIDE) {
            for event in stride {
                while let Err(unsent) = self.gateway.hub.send_one(self.subscriber, event, &mut self.progress)
                {
                    match unsent {
                        Unsent::Full => self.wait_for_room().await?,
                        Unsent::Gone => return Err(Stop::Gone),
                    }
                }
                self.full_since = None;
            }
            sleep(PACE).await;
        }
        Ok(())
    }

    /// Waits until the client has taken half of its unwritten packets, so that it gets many at once. One that takes
    /// fewer in a while gets what there is room for; one that takes none for too long is slow.
    async fn wait_for_room(&mut self) -> Result<(), Stop> {
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() > self.gateway.stall {
            return Err(Stop::Slow);
        }
        let _ = timeout(HALF_FREE, self.subscriber.client.credit.half_free()).await;
        sleep(PACE).await;
        Ok(())
    }

    /// Reads the next page of history, until the stream answers.
    ///
    /// # Errors
    /// The stream does not answer in time.
    pub(super) async fn page(&self, floor: u64) -> Result<Arc<Page>, Stop> {
        let key = Key {
            church: self.subscriber.client.church.clone(),
            created: self.progress.created,
            generation: self.progress.generation,
            after: self.progress.sequence,
        };
        let mut lagging = false;
        let reading = async {
            loop {
                match self.gateway.history.page(key.clone(), floor).await {
                    Ok(page) => return page,
                    Err(error) => {
                        debug!(%error, "reading a page of history again");
                        lagging = error == ReadError::Lagging;
                        sleep(RETRY).await;
                    }
                }
            }
        };
        let page = timeout(UNAVAILABLE, reading).await;
        // A replica may lag for minutes. A client that came back again and again would gain nothing.
        page.map_err(|_| if lagging { Stop::Unproved } else { Stop::Unavailable })
    }
}
