//! Watches the tokens of all sockets: announces their expiry, and closes sockets whose tokens have expired or were
//! revoked.

use std::sync::Arc;
use std::time::Duration;

use common::claims::Person;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::gateway::Gateway;
use crate::rooms::{CloseReason, Subscriber, Subscription, Unsent};
use crate::tokens::Due;

/// Between two looks at the clock. One task looks for all sockets: a timer for each would take a tenth of its memory.
const TICK: Duration = Duration::from_secs(1);
/// The event that announces the expiry.
const EXPIRING: &str = "auth:expiring";

/// Announces the expiry of tokens a minute before, and closes the transports of sockets whose tokens have expired or
/// were revoked.
pub(crate) async fn watch_tokens(gateway: Arc<Gateway>) {
    let mut revoked = gateway.revocations.changes();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => look_at_clock(&gateway),
            () = revoked.next() => gateway.hub.for_each(|one| end_if_revoked(&gateway, one)),
        }
    }
}

/// A socket whose time was over at the last look has disconnected by now, or its disconnection was missed.
fn look_at_clock(gateway: &Gateway) {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut over = Vec::new();
    gateway.hub.for_each(|subscription| {
        if subscription.term.is_over() {
            over.push(subscription.subscriber.clone());
        } else {
            check_time(gateway, subscription, now);
        }
    });
    over.iter().for_each(|subscriber| gateway.hub.remove(subscriber, Some(CloseReason::Gone)));
}

fn check_time(gateway: &Gateway, subscription: &mut Subscription, now: i64) {
    match subscription.term.due(now) {
        Due::Nothing => {}
        // No packet may come before the first one.
        Due::Notice(_) if !subscription.welcomed => {}
        Due::Notice(exp) => {
            match subscription.subscriber.emit(EXPIRING, &json!({"type": EXPIRING, "exp": exp})) {
                Ok(()) => subscription.term.noticed(),
                // The next look tries again.
                Err(Unsent::Full) => {}
                Err(Unsent::Gone) => subscription.mark_gone(),
            }
        }
        Due::End => end(gateway, subscription, CloseReason::TokenExpired),
    }
}

fn end_if_revoked(gateway: &Gateway, subscription: &mut Subscription) {
    let (client, term) = (&subscription.subscriber.client, &subscription.term);
    let person = Person { claim: term.claim, id: client.user.to_string() };
    if gateway.revocations.covers(&client.church, &person, term.issued_at) {
        end(gateway, subscription, CloseReason::TokenRevoked);
    }
}

fn end(gateway: &Gateway, subscription: &mut Subscription, reason: CloseReason) {
    if !subscription.term.end() {
        return;
    }
    let Subscriber { client, socket } = &subscription.subscriber;
    let (church, label): (_, &str) = (&client.church, reason.into());
    debug!(church.id = %church, socket.id = %socket.id, reason = label, "the token is not good any more");
    gateway.hub.close(&subscription.subscriber, reason);
}
