//! Closes recipients whose receipt is overdue, and fails those that were held back too long.

use std::mem::take;
use std::time::Duration;

use common::store::{Overdue, Store, StoreError};
use common::throttle::Throttle;
use prometheus_client::metrics::counter::Counter;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::settings::SendOptions;

/// Most recipients in one transaction; the next round follows at once while there are more.
const BATCH: u32 = 500;

/// Limits log lines that repeat while the database is away or a large broadcast is closed.
static REPEATS: Throttle = Throttle::once_a_minute();

/// Closes overdue recipients until shutdown.
pub(crate) async fn close_overdue(
    store: Store,
    options: SendOptions,
    closed: Counter,
    shutdown: CancellationToken,
) {
    let shortest = options.unresolved_after.min(options.unconfirmed_after).min(options.send_within);
    let tick = (shortest / 10).clamp(Duration::from_millis(250), Duration::from_secs(30));
    let (mut untold_closed, mut untold_unsent) = (0, 0);
    while !shutdown.is_cancelled() {
        match round(&store, &options).await {
            Ok((0, 0)) => {}
            Ok((count, unsent)) => {
                closed.inc_by(count as u64);
                untold_closed += count;
                untold_unsent += unsent;
                if REPEATS.opens("closed").is_some() {
                    let (count, unsent) = (take(&mut untold_closed), take(&mut untold_unsent));
                    info!(count, unsent, "closed overdue recipients, failed those not sent in time");
                }
                continue;
            }
            Err(failure) => {
                if let Some(held_back) = REPEATS.opens("failed") {
                    let error = &failure as &dyn std::error::Error;
                    warn!(error, held_back, "can't close overdue recipients; trying again");
                }
            }
        }
        shutdown.run_until_cancelled(tokio::time::sleep(tick)).await;
    }
}

/// One transaction of each kind. Returns how many were closed, and how many failed unsent.
async fn round(store: &Store, options: &SendOptions) -> Result<(usize, usize), StoreError> {
    let now = OffsetDateTime::now_utc();
    let overdue = Overdue {
        accepted_before: now - options.unconfirmed_after,
        unresolved_before: now - options.unresolved_after,
        limit: BATCH,
    };
    Ok((store.close_overdue(&overdue, now).await?, store.fail_unsent(BATCH, now).await?))
}
