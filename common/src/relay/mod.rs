//! Carries the outbox into the stream: one relay at a time per database, in order, nothing lost, nothing twice.
//!
//! Every service that writes starts one. The right to relay is a lease in the database: [`standby`] waits for it and
//! takes it, [`holder`] renews it and works while it holds, and gives it up to a process that can reach the stream if it
//! can't itself. A process that was stopped for a while and wakes does no harm: the database compares its term, the
//! stream its place. A commit in any process wakes the relay through the broker ([`crate::subject::RELAY_WAKE`]); a sweep
//! finds what no wake told. [`plan`] decides what is published now, left out or put off; [`announce`] publishes it so that
//! the stream itself refuses a second relay, a repetition or a gap. [`gauge`] tells how the outbox stands.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::broker::Broker;
use crate::service::{Context, Weight};
use crate::store::Store;
use crate::subject::RELAY_WAKE;

mod announce;
mod end;
mod gauge;
mod holder;
mod plan;
mod probe;
mod refusal;
mod resources;
mod round;
mod standby;
mod timing;
mod trouble;

use gauge::OutboxGauge;
use holder::Relay;
use resources::{Counters, Resources};
use timing::ACK_TIMEOUT;

/// Starts the relay inside a service. It stands by while another process relays, and stops with the context.
pub fn start(store: Store, broker: Broker, context: &Context, tasks: &TaskTracker) {
    let shutdown = &context.shutdown;
    let wakes = wake_on_commit(store.announcements(), broker.clone(), shutdown.clone());
    context.spawn_vital(tasks, "wakes of the relay", wakes);
    let watch = OutboxGauge::new(context).watch(store.clone(), shutdown.clone());
    context.spawn_vital(tasks, "watch over the outbox", watch);
    let condition = context.health.condition("outbox", Weight::Degrading);
    condition.met();
    let resources = Resources { store, broker, condition, counters: Counters::new(&context.metrics) };
    context.spawn_vital(tasks, "relay", Relay::new(resources, shutdown.clone()).run());
}

/// Tells the working relay, in whichever process it is, that something was committed. The sweep finds what a lost wake
/// would have told.
async fn wake_on_commit(commits: Arc<Notify>, broker: Broker, shutdown: CancellationToken) {
    let link = broker.link();
    while shutdown.run_until_cancelled(commits.notified()).await.is_some() {
        let up = link.borrow().up;
        let wake = broker.client().publish(RELAY_WAKE, bytes::Bytes::new());
        if up && !matches!(timeout(ACK_TIMEOUT, wake).await, Ok(Ok(()))) {
            warn!("can't wake the relay; its sweep comes soon");
        }
    }
}
