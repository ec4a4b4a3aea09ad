//! Waiting for a condition, with a bound.

use std::time::Duration;

/// Longest wait. Far above what anything takes, so that a busy machine fails no test.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks.
const TICK: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, and gives it back.
///
/// # Panics
/// After a minute, with what was waited for.
pub async fn eventually<T, F, Fut>(what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(TICK).await;
        }
    };
    match tokio::time::timeout(LIMIT, looking).await {
        Ok(found) => found,
        Err(_) => panic!("waited a minute in vain: {what}"),
    }
}
