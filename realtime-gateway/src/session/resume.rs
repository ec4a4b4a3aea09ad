//! Decides how a client resumes: whether its cursor is proved, and where its missed events come from.

use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;

use crate::gateway::Gateway;
use crate::memory::Proof;
use crate::metrics::Outcome;
use crate::rooms::{Subscriber, Unsent};
use crate::session::catch_up::{CatchUp, Stop};
use crate::stream::Position;

/// How long a cursor may be ahead of this gateway: another gateway may have heard an event a moment earlier.
const AHEAD: Duration = Duration::from_secs(2);

/// Brings a socket from its cursor to the live events. Without a proved cursor it begins at the head of the stream.
pub(super) async fn resume(gateway: &Gateway, subscriber: &Subscriber, cursor: Option<String>) {
    let outcome = match cursor {
        None => Err(Stop::New),
        Some(cursor) => from_cursor(gateway, subscriber, &cursor).await,
    };
    let reason = match &outcome {
        Ok(from) => *from,
        Err(stop) => stop.into(),
    };
    gateway.counters.resumes.get_or_create(&Outcome { outcome: reason }).inc();
    debug!(church.id = %subscriber.client.church, socket.id = %subscriber.socket.id, reason, "resumed");
    if let Err(stop) = outcome {
        stop.apply(gateway, subscriber);
    }
}

/// Resumes from a cursor. Returns where the missed events came from.
async fn from_cursor(gateway: &Gateway, subscriber: &Subscriber, cursor: &str) -> Result<&'static str, Stop> {
    let church = &subscriber.client.church;
    let position = Position::parse(cursor, church).ok_or(Stop::Unproved)?;
    let proof = prove(gateway, subscriber, &position).await;
    let (Proof::Held(progress) | Proof::Older(progress, _)) = proof else {
        // This gateway may be the one that is behind; another one may know the position.
        let behind = !gateway.link.borrow().up || gateway.health.is_behind();
        let stop = if matches!(proof, Proof::Ahead) && behind { Stop::Unavailable } else { Stop::Unproved };
        return Err(unless_gap(stop, gateway));
    };
    let mut catch_up = CatchUp::new(gateway, subscriber, progress);
    let mut from = "memory";
    if let Proof::Older(_, floor) = proof {
        let page = catch_up.page(floor).await.map_err(|stop| unless_gap(stop, gateway))?;
        if page.anchor != Some(position.fingerprint) {
            return Err(Stop::Unproved);
        }
        gateway.hub.note_quiet(church, &progress, &page);
        from = "stream";
    }
    gateway.hub.begin_at_cursor(subscriber, cursor).map_err(|unsent| match unsent {
        Unsent::Full => Stop::Slow,
        Unsent::Gone => Stop::Gone,
    })?;
    catch_up.run().await?;
    Ok(from)
}

/// A gateway that can't close its own gap is not ready. A client that comes all the same begins at the gateway's last
/// position, and is told that events may be missing.
fn unless_gap(stop: Stop, gateway: &Gateway) -> Stop {
    match stop {
        Stop::Unavailable if gateway.health.has_gap() => Stop::Unproved,
        other => other,
    }
}

async fn prove(gateway: &Gateway, subscriber: &Subscriber, position: &Position) -> Proof {
    let proof = gateway.hub.prove(&subscriber.client.church, position);
    if !matches!(proof, Proof::Ahead) {
        return proof;
    }
    let mut last = gateway.hub.last();
    // The second proof tells whether the event has come.
    let _ = timeout(AHEAD, last.wait_for(|last| *last >= position.sequence)).await;
    gateway.hub.prove(&subscriber.client.church, position)
}
