//! Waiting for a condition, with a limit.

use std::time::Duration;

/// Longest wait, far above what anything takes, so that no test fails on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Time between two checks.
const TICK: Duration = Duration::from_millis(10);

/// Repeats `look` until it returns something, and returns that.
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
        Err(_) => panic!("not after a minute: {what}"),
    }
}
