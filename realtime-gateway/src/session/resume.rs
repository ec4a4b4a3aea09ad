//! Catching up: what a client missed while it was away, in order, and then the live events without a hole.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::gateway::Gateway;
use crate::memory::followed::{Progress, Proof};
use crate::memory::history::{Key, Page};
use crate::memory::recent::Event;
use crate::metrics::Reason;
use crate::rooms::hub::{Laggard, Next, PACE, STRIDE};
use crate::rooms::subscriber::{Member, Unsent};
use crate::session::clock::Session;
use crate::stream::cursor::Place;
use crate::stream::reader::ReadError;

/// How long a cursor may be ahead of us: another gateway may have heard an event a moment earlier.
const AHEAD: Duration = Duration::from_secs(2);
/// How long a client waits for the stream to answer, before it has to come back.
const UNAVAILABLE: Duration = Duration::from_secs(5);
/// How long to wait before the stream is asked again.
const RETRY: Duration = Duration::from_millis(250);
/// Before a full queue is tried again of which less than half was taken.
const FULL: Duration = Duration::from_secs(1);

/// Why a socket does not get to the live events.
enum Stop {
    /// The client has no cursor.
    New,
    /// It can't be proved that nothing is missing.
    Unproved,
    /// The stream does not answer.
    Unavailable,
    /// The client does not take what it is sent.
    Stuck,
    /// The socket is not there any more.
    Gone,
}

impl Stop {
    fn word(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Unproved => "unproved",
            Self::Unavailable => "unavailable",
            Self::Stuck => "stuck",
            Self::Gone => "gone",
        }
    }

    /// A gateway that can't read what it missed itself is not ready any more; who comes all the same begins at its last
    /// place, and is told that something may be missing.
    fn unless_gap(self, gateway: &Gateway) -> Self {
        match self {
            Self::Unavailable if gateway.standing.has_gap() => Self::Unproved,
            other => other,
        }
    }

    /// What becomes of the socket.
    fn consequence(&self, gateway: &Gateway, member: &Member) {
        match self {
            Self::New | Self::Unproved => {
                if gateway.hub.begin_at_head(member) == Err(Unsent::Gone) {
                    gateway.clear_up(member);
                }
            }
            Self::Unavailable => gateway.turn_away(member, "stream_unavailable"),
            Self::Stuck => gateway.turn_away(member, "slow"),
            Self::Gone => gateway.clear_up(member),
        }
    }
}

/// Brings a socket from its cursor to the live events; without a provable cursor it begins at the head.
pub(crate) async fn resume(gateway: &Gateway, member: &Member, cursor: Option<String>) {
    let outcome = match cursor {
        None => Err(Stop::New),
        Some(cursor) => catch_up(gateway, member, &cursor).await,
    };
    let reason = match &outcome {
        Ok(from) => from,
        Err(stop) => stop.word(),
    };
    gateway.counters.resumes.get_or_create(&Reason { reason }).inc();
    debug!(church.id = %member.church, socket.id = %member.socket.id, reason, "resumed");
    if let Err(stop) = outcome {
        stop.consequence(gateway, member);
    }
}

/// Brings sockets whose queues were full back to the live events, each at its own pace.
pub(crate) async fn resume_laggards(gateway: Arc<Gateway>, mut laggards: mpsc::UnboundedReceiver<Laggard>) {
    while let Some(Laggard { member, progress }) = laggards.recv().await {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            // Without it the socket has left.
            let Some(session) = member.socket.extensions.get::<Arc<Session>>() else { return };
            let mut resume = Resume { gateway: &gateway, member: &member, progress, full_since: None };
            if let Some(Err(stop)) = session.gone.run_until_cancelled(resume.run()).await {
                debug!(church.id = %member.church, socket.id = %member.socket.id, reason = stop.word(), "did not catch up");
                stop.consequence(&gateway, &member);
            }
        });
    }
}

/// Says where what was missed came from.
async fn catch_up(gateway: &Gateway, member: &Member, cursor: &str) -> Result<&'static str, Stop> {
    let place = Place::parse(cursor, &member.church).ok_or(Stop::Unproved)?;
    let proof = prove(gateway, member, &place).await;
    let (Proof::Held(progress) | Proof::Older(progress, _)) = proof else {
        // It may be us who are behind, and another gateway may know.
        let behind = !gateway.link.borrow().up || gateway.standing.is_behind();
        let stop = if matches!(proof, Proof::Ahead) && behind { Stop::Unavailable } else { Stop::Unproved };
        return Err(stop.unless_gap(gateway));
    };
    let mut resume = Resume { gateway, member, progress, full_since: None };
    let mut from = "memory";
    if let Proof::Older(_, floor) = proof {
        let page = resume.page(floor).await.map_err(|stop| stop.unless_gap(gateway))?;
        if page.anchor != Some(place.fingerprint) {
            return Err(Stop::Unproved);
        }
        gateway.hub.learn(&member.church, &progress, &page);
        from = "stream";
    }
    gateway.hub.begin_at_cursor(member, cursor).map_err(|unsent| match unsent {
        Unsent::Full => Stop::Stuck,
        Unsent::Gone => Stop::Gone,
    })?;
    resume.run().await?;
    Ok(from)
}

async fn prove(gateway: &Gateway, member: &Member, place: &Place) -> Proof {
    let proof = gateway.hub.prove(&member.church, place);
    if !matches!(proof, Proof::Ahead) {
        return proof;
    }
    let mut last = gateway.hub.last();
    // Whether it arrived or not is for the second look to say.
    let _ = timeout(AHEAD, last.wait_for(|last| *last >= place.sequence)).await;
    gateway.hub.prove(&member.church, place)
}

/// One socket on its way to the live events.
struct Resume<'a> {
    gateway: &'a Gateway,
    member: &'a Member,
    progress: Progress,
    full_since: Option<Instant>,
}

impl Resume<'_> {
    async fn run(&mut self) -> Result<(), Stop> {
        loop {
            let before = self.progress;
            let next = self.gateway.hub.next(self.member, &mut self.progress);
            if self.progress != before {
                self.full_since = None;
            }
            match next {
                Ok(Next::Live) => return Ok(()),
                Ok(Next::Lost) => return Err(Stop::Unproved),
                Ok(Next::Events(events)) => self.send(&events).await?,
                Ok(Next::Older(floor)) => {
                    // The stream may tell an event in other packets than the memory did: it is sent again whole.
                    self.progress.packets = 0;
                    let page = self.page(floor).await?;
                    if page.anchor.is_none() {
                        return Err(Stop::Unproved);
                    }
                    // Above the floor the memory goes on, which surely holds nothing that is still to come live.
                    let below = page.events.partition_point(|event| event.sequence <= floor);
                    self.gateway.hub.learn(&self.member.church, &self.progress, &page);
                    self.send(page.events.get(..below).unwrap_or_default()).await?;
                    self.progress.sequence = self.progress.sequence.max(page.reach.min(floor));
                }
                Err(Unsent::Full) => self.wait_for_room().await?,
                Err(Unsent::Gone) => return Err(Stop::Gone),
            }
        }
    }

    /// Sends events in strides, each of which fits into the socket's queue, and never loses one.
    async fn send(&mut self, events: &[Arc<Event>]) -> Result<(), Stop> {
        for stride in events.chunks(STRIDE) {
            for event in stride {
                while let Err(unsent) = self.gateway.hub.send_one(self.member, event, &mut self.progress) {
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

    /// Waits until the client has taken half of what it has out, so that it gets much at once; one that takes less in a
    /// while gets what there is room for.
    async fn wait_for_room(&mut self) -> Result<(), Stop> {
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() > self.gateway.stall {
            return Err(Stop::Stuck);
        }
        let _ = timeout(FULL, self.member.credit.half_free()).await;
        sleep(PACE).await;
        Ok(())
    }

    /// The part of the history that comes next, asked for until the stream answers.
    async fn page(&self, floor: u64) -> Result<Arc<Page>, Stop> {
        let key = Key {
            church: self.member.church.clone(),
            created: self.progress.created,
            generation: self.progress.generation,
            after: self.progress.sequence,
        };
        let mut lagging = false;
        let asking = async {
            loop {
                match self.gateway.history.page(key.clone(), floor).await {
                    Ok(page) => return page,
                    Err(error) => {
                        debug!(%error, "a page of history is asked for again");
                        lagging = error == ReadError::Lagging;
                        sleep(RETRY).await;
                    }
                }
            }
        };
        let page = timeout(UNAVAILABLE, asking).await;
        // A replica may lag for minutes; the client has better things to do than to come again and again.
        page.map_err(|_| if lagging { Stop::Unproved } else { Stop::Unavailable })
    }
}
