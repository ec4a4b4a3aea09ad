//! The gauges of what waits to be sent.

use std::time::{Duration, Instant};

use common::store::Store;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::metrics::ApiMetrics;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Looking may take one part in so many of the time: with many recipients waiting, it looks less often.
const SHARE: u32 = 20;
/// An attempt without an answer counts from this age on. Before that, it may be under way.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// Updates the gauges until shutdown. While the database is away, the last numbers stand.
pub(super) async fn watch(store: Store, metrics: ApiMetrics, shutdown: CancellationToken) {
    loop {
        let started = Instant::now();
        if let Ok(backlog) = store.backlog(OffsetDateTime::now_utc(), ANSWERED_WITHIN).await {
            metrics.due.set(backlog.due);
            metrics.due_oldest.set(i64::try_from(backlog.oldest.as_secs()).unwrap_or(i64::MAX));
            metrics.unresolved.set(backlog.unresolved);
        }
        let pause = LOOK.max(started.elapsed() * SHARE);
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}
