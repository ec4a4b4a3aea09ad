//! The readiness condition `receipts`: whether webhooks arrive for what Telnyx accepted.
//!
//! It counts accepted recipients without a webhook. The number of bad signatures decides nothing, because strangers can
//! send those.

use std::time::Duration;

use common::event::timestamp;
use common::service::Condition;
use common::store::Store;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How far back it looks.
const WINDOW: Duration = Duration::from_secs(86_400);

/// Updates the condition until shutdown.
pub(crate) async fn watch_receipts(
    store: Store,
    within: Duration,
    condition: Condition,
    shutdown: CancellationToken,
) {
    condition.met();
    let tick = (within / 10).clamp(Duration::from_millis(250), Duration::from_secs(30));
    while !shutdown.is_cancelled() {
        let now = OffsetDateTime::now_utc();
        match store.webhooks_missing_since(now - WINDOW, now - within).await {
            Ok(None) => condition.met(),
            Ok(Some(since)) => condition.unmet(format!(
                "no webhook came for what Telnyx accepted since {}; check PUBLIC_WEBHOOK_URL, and TELNYX_PUBLIC_KEY of \
                 webhook-ingest",
                timestamp::to_text(since)
            )),
            // Another condition reports the database.
            Err(error) => debug!(error = &error as &dyn std::error::Error, "can't look for missing webhooks"),
        }
        shutdown.run_until_cancelled(tokio::time::sleep(tick)).await;
    }
}
