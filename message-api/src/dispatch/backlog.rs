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
/// Recipients that are counted.
const COUNTED: u32 = 100_000;

/// Updates the gauges until shutdown. While the database is away, the last numbers stand.
pub(super) async fn watch(store: Store, metrics: ApiMetrics, shutdown: CancellationToken) {
    loop {
        let started = Instant::now();
        let now = OffsetDateTime::now_utc();
        if let (Ok(backlog), Ok(since)) = (store.backlog(now, COUNTED).await, store.due_since(now).await) {
            metrics.due.set(backlog.due);
            metrics.unresolved.set(backlog.unanswered);
            metrics.due_oldest.set(since.map_or(0, |since| (now - since).whole_seconds()));
        }
        let pause = LOOK.max(started.elapsed() * SHARE);
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}
