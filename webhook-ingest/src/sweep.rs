//! Looks again for the recipients of parked webhooks. The store looks when it records a webhook, and when a recipient's
//! Telnyx id becomes known; the sweep finds what both missed.

use std::time::Duration;

use common::store::{Store, StoreError};
use common::throttle::Throttle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::metrics::IngestMetrics;

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(5);
/// Webhooks in one transaction. Few, because other commits wait for it.
const PAGE: u32 = 100;
/// Pages in one round. The next round continues there.
const PAGES: u32 = 10;

/// Limits a log line that a backlog repeats.
static REPEATS: Throttle = Throttle::once_a_minute();

/// Sweeps until shutdown.
pub async fn run(store: Store, metrics: IngestMetrics, shutdown: CancellationToken) {
    let mut cursor = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        cursor = match round(&store, &metrics, cursor).await {
            Ok(next) => next,
            Err(error) => {
                // Readiness and the committer report a database that is away.
                debug!(error = &error as &dyn std::error::Error, "can't sweep parked webhooks");
                None
            }
        };
    }
}

/// Sweeps some pages from a cursor on. Returns the cursor of the next round.
async fn round(
    store: &Store,
    metrics: &IngestMetrics,
    mut cursor: Option<String>,
) -> Result<Option<String>, StoreError> {
    for _ in 0..PAGES {
        let (claimed, next) = store.sweep_parked(cursor.as_deref(), PAGE).await?;
        if claimed > 0 {
            metrics.claimed_late(claimed);
            debug!(webhooks = claimed, "the sweep found recipients of parked webhooks");
            if let Some(held_back) = REPEATS.opens("claimed") {
                info!(held_back, "the sweep finds recipients of parked webhooks");
            }
        }
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    metrics.parked(store.parked_webhooks(u32::MAX).await?);
    Ok(cursor)
}
