//! Ends the waiting: for receipts that will not come, and of messages that were held back until it was too late.

use std::time::Duration;

use common::store::{Overdue, Store, StoreError};
use prometheus_client::metrics::counter::Counter;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::settings::SendOptions;

/// Closed in one transaction at most; a larger number waits for the next round, which follows at once.
const GROUP: u32 = 500;

/// Closes overdue recipients on a tick, until shutdown.
pub(crate) async fn close_overdue(
    store: Store,
    options: SendOptions,
    closed: Counter,
    shutdown: CancellationToken,
) {
    let shortest = options.unresolved_after.min(options.unconfirmed_after).min(options.send_within);
    let tick = (shortest / 10).clamp(Duration::from_millis(250), Duration::from_secs(30));
    while !shutdown.is_cancelled() {
        let now = OffsetDateTime::now_utc();
        let overdue = Overdue {
            accepted_before: now - options.unconfirmed_after,
            unresolved_before: now - options.unresolved_after,
            limit: GROUP,
        };
        match end_waiting(&store, &overdue, now).await {
            Ok((0, 0)) => {
                shutdown.run_until_cancelled(tokio::time::sleep(tick)).await;
            }
            Ok((count, unsent)) => {
                info!(
                    count,
                    unsent, "closed recipients whose receipt is overdue, failed those not sent in time"
                );
                closed.inc_by(count as u64);
            }
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "overdue receipts can't be closed; trying again"
                );
                shutdown.run_until_cancelled(tokio::time::sleep(tick)).await;
            }
        }
    }
}

/// How many were closed, and how many failed unsent.
async fn end_waiting(
    store: &Store,
    overdue: &Overdue,
    now: OffsetDateTime,
) -> Result<(usize, usize), StoreError> {
    Ok((store.close_overdue(overdue, now).await?, store.fail_unsent(GROUP, now).await?))
}
