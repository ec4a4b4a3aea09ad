//! Tries again to find the recipients of parked webhooks. The store tries once when it records one, and again when a
//! recipient's provider id becomes known; the sweep stands behind both.

use std::time::Duration;

use common::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::metrics::IngestMetrics;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(5);
/// Webhooks in one transaction: short, because it keeps commits waiting.
const PAGE: u32 = 100;
/// Pages in one round; the next round goes on from there.
const PAGES: u32 = 10;

/// Sweeps until shutdown.
pub async fn run(store: Store, metrics: IngestMetrics, shutdown: CancellationToken) {
    let mut place = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        place = match round(&store, &metrics, place).await {
            Ok(next) => next,
            Err(error) => {
                // The readiness and the committer tell of a database that is away.
                debug!(error = &error as &dyn std::error::Error, "parked webhooks could not be swept");
                None
            }
        };
    }
}

/// Some pages from a place on. Returns where the next round begins.
async fn round(
    store: &Store,
    metrics: &IngestMetrics,
    mut place: Option<String>,
) -> Result<Option<String>, StoreError> {
    for _ in 0..PAGES {
        let (claimed, next) = store.claim_parked(place.as_deref(), PAGE).await?;
        if claimed > 0 {
            metrics.claimed_late(claimed);
            info!(webhooks = claimed, "parked webhooks found their recipients");
        }
        if next.is_none() {
            return Ok(None);
        }
        place = next;
    }
    Ok(place)
}
