//! What a running service is given.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::health::Health;
use crate::telemetry::Metrics;

/// What a running service is given.
#[derive(Clone)]
pub struct Context {
    /// Cancelled when the service has to stop.
    pub shutdown: CancellationToken,
    /// Where it says whether it is ready.
    pub health: Health,
    /// Where it counts.
    pub metrics: Metrics,
}

impl Context {
    /// A context of its own, as a test or an embedding program uses it.
    pub fn new() -> Self {
        Self { shutdown: CancellationToken::new(), health: Health::default(), metrics: Metrics::default() }
    }
}

impl Context {
    /// Runs a part without which the service is of no use. If it panics, the service stops with exit code 1, and
    /// whoever watches over it starts it again.
    pub fn spawn_vital(
        &self,
        tasks: &TaskTracker,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let (health, shutdown, part) = (self.health.clone(), self.shutdown.clone(), tokio::spawn(part));
        tasks.spawn(async move {
            if part.await.is_err() {
                error!(part = name, "a vital part panicked; stopping");
                health.fail(name);
                shutdown.cancel();
            }
        });
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}
