//! How long the relay waits for what.

use std::time::Duration;

use tokio::time::timeout;

use crate::store::{StoreError, Wait};

/// Longest wait for the stream's answer.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time without looking into the outbox, and between two looks at the lease. A commit of `ops` wakes no relay.
pub(super) const SWEEP: Duration = Duration::from_millis(500);
/// Longest wait for the database where the lease is concerned.
const STEP: Duration = Duration::from_secs(2);

/// A step of the database that concerns the lease.
pub(super) async fn in_time<T>(step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match timeout(STEP, step).await {
        Ok(outcome) => outcome,
        Err(_) => Err(StoreError::TimedOut { waited_for: Wait::Answer, limit: STEP }),
    }
}
