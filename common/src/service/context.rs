//! A running service's shutdown, readiness and metrics.

use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use axum::Router;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::conditions::Conditions;
use super::health::Health;
use super::process::Process;
use crate::telemetry::Metrics;
use crate::version::{RELEASE, REVISION};

/// A running service's shutdown, readiness and metrics.
#[derive(Clone)]
pub struct Context {
    /// Cancelled when the service has to stop.
    pub shutdown: CancellationToken,
    /// Its readiness conditions.
    pub health: Health,
    /// Its metrics.
    pub metrics: Metrics,
    /// What it answers operators besides readiness and metrics.
    pub(super) operators: Arc<OnceLock<Router>>,
}

impl Context {
    /// A context of its own, as a test or an embedding program uses it. Its metrics tell of the process and of the
    /// readiness.
    pub fn new() -> Self {
        let (health, metrics) = (Health::default(), Metrics::default());
        let build = [("version", RELEASE), ("revision", REVISION)];
        metrics
            .gauges("build_info", "1; the labels say which build runs", [build])
            .get_or_create(&build)
            .set(1);
        metrics.collect(Conditions::new(health.clone()));
        metrics.collect_general(Process::default());
        Self { shutdown: CancellationToken::new(), health, metrics, operators: Arc::default() }
    }

    /// Answers operators these routes, too, from now on. Only the first call counts.
    pub fn answer_operators(&self, routes: Router) {
        // A service that is run twice in one context keeps the answers of the first.
        let _ = self.operators.set(routes);
    }

    /// Runs a task that the service can't do without. If it fails, panics or ends before the shutdown, the service stops
    /// with exit code 1, and its service manager starts it again.
    pub fn spawn_vital<E: Ending>(
        &self,
        tasks: &TaskTracker,
        name: &'static str,
        task: impl Future<Output = E> + Send + 'static,
    ) -> JoinHandle<()> {
        let (health, shutdown, task) = (self.health.clone(), self.shutdown.clone(), tokio::spawn(task));
        tasks.spawn(async move {
            if let Err(failure) = outcome(task.await, shutdown.is_cancelled()) {
                error!(task = name, error = &*failure, "a vital task ended; stopping the service");
                health.fail(failure.context(format!("the task `{name}` ended")));
                shutdown.cancel();
            }
        })
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// What a vital task may return: nothing, or how it failed.
pub trait Ending: Send + 'static {
    /// The failure, if it is one.
    ///
    /// # Errors
    /// The task failed.
    fn into_result(self) -> anyhow::Result<()>;
}

impl Ending for () {
    fn into_result(self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Ending for anyhow::Result<()> {
    fn into_result(self) -> anyhow::Result<()> {
        self
    }
}

fn outcome<E: Ending>(ended: Result<E, JoinError>, is_stopping: bool) -> anyhow::Result<()> {
    match ended {
        Ok(ending) => ending.into_result()?,
        Err(error) if error.is_panic() => return Err(anyhow!("it panicked; the log says where")),
        // The runtime is being shut down.
        Err(_) => return Ok(()),
    }
    if is_stopping { Ok(()) } else { Err(anyhow!("it returned before the shutdown")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn failure(task: impl Future<Output = impl Ending> + Send + 'static) -> Option<String> {
        let (context, tasks) = (Context::new(), TaskTracker::new());
        let ended = context.spawn_vital(&tasks, "test", task);
        ended.await.unwrap();
        assert!(context.shutdown.is_cancelled());
        context.health.failure().map(|failure| format!("{failure:#}"))
    }

    fn bug() {
        panic!("a bug");
    }

    #[tokio::test]
    async fn a_vital_task_that_ends_before_the_shutdown_stops_the_service() {
        let name = "the task `test` ended: ";
        let failed = async { Err::<(), _>(anyhow!("no stream")) };
        assert_eq!(failure(failed).await.unwrap(), format!("{name}no stream"));
        assert_eq!(failure(async {}).await.unwrap(), format!("{name}it returned before the shutdown"));
        let panicked = failure(async { bug() }).await.unwrap();
        assert_eq!(panicked, format!("{name}it panicked; the log says where"));
    }

    #[tokio::test]
    async fn a_vital_task_may_end_at_the_shutdown() {
        let (context, tasks) = (Context::new(), TaskTracker::new());
        let ended = context.spawn_vital(&tasks, "test", context.shutdown.clone().cancelled_owned());
        context.shutdown.cancel();
        ended.await.unwrap();
        assert!(context.health.failure().is_none());
    }
}
