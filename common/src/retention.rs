//! Deletes rows that are older than their retention, in small batches with pauses. Several processes may do it at the same
//! time.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::service::Context;
use crate::store::{Prunable, Store};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(60);
/// Between two batches, so that other commits come in between.
const PAUSE: Duration = Duration::from_millis(50);
/// How many days an idempotency key is kept.
const KEY_DAYS: u32 = 7;

/// How long rows are kept.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Retention")]
pub struct RetentionOptions {
    /// Hours to keep announced events, to announce them again if the stream loses its tail
    #[arg(long, env = "OUTBOX_RETENTION_HOURS", default_value_t = 24, value_name = "HOURS",
        value_parser = clap::value_parser!(u32).range(1..=87_600))]
    pub outbox_retention_hours: u32,
    /// Days to keep webhooks
    #[arg(long, env = "WEBHOOK_RETENTION_DAYS", default_value_t = 90, value_name = "DAYS",
        value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub webhook_retention_days: u32,
    /// Days to keep finished messages and their recipients after their last change, and texts that came in; for ever if
    /// not set. At least 8, because idempotency keys are kept for 7
    #[arg(long, env = "MESSAGE_RETENTION_DAYS", value_name = "DAYS",
        value_parser = clap::value_parser!(u32).range(8..=36_500))]
    pub message_retention_days: Option<u32>,
    /// Days to keep revocations; must be longer than any token lives
    #[arg(long, env = "REVOCATION_RETENTION_DAYS", default_value_t = 400, value_name = "DAYS",
        value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub revocation_retention_days: u32,
}

impl RetentionOptions {
    /// The kinds of rows, each with the time before which they are deleted.
    fn limits(&self, now: OffsetDateTime) -> Vec<(Prunable, OffsetDateTime)> {
        let days = |days: u32| now - time::Duration::days(days.into());
        let mut limits = vec![
            (Prunable::Events, now - time::Duration::hours(self.outbox_retention_hours.into())),
            (Prunable::Webhooks, days(self.webhook_retention_days)),
            (Prunable::IdempotencyKeys, days(KEY_DAYS)),
            (Prunable::Revocations, days(self.revocation_retention_days)),
        ];
        if let Some(limit) = self.message_retention_days {
            limits.extend([Prunable::Messages, Prunable::Inbound].map(|what| (what, days(limit))));
        }
        limits
    }
}

/// Deletes old rows until shutdown.
pub fn start(options: &RetentionOptions, store: Store, context: &Context, tasks: &TaskTracker) {
    let deleting = context.shutdown.clone().run_until_cancelled_owned(delete(options.clone(), store));
    context.spawn_vital(tasks, "retention", async move { deleting.await.unwrap_or_default() });
}

async fn delete(options: RetentionOptions, store: Store) {
    loop {
        sleep(ROUND).await;
        for (what, before) in options.limits(OffsetDateTime::now_utc()) {
            delete_all(&store, what, before).await;
        }
    }
}

async fn delete_all(store: &Store, what: Prunable, before: OffsetDateTime) {
    let mut all = 0;
    loop {
        match store.prune(what, before).await {
            Ok(0) => break,
            Ok(rows) => all += rows,
            Err(error) => {
                warn!(?what, error = &error as &dyn std::error::Error, "can't delete old rows; trying again");
                break;
            }
        }
        sleep(PAUSE).await;
    }
    if all > 0 {
        info!(?what, rows = all, "deleted rows older than their retention");
    }
}
