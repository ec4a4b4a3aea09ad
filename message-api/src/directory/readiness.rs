//! The readiness condition `recipients`, and the metrics of questions to `RECIPIENTS_URL`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::service::Condition;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::recipients::Found;
use super::target::NoRecipients;
use crate::metrics::{ApiMetrics, Outcome};

/// A failure is reported until a question is answered, and no longer than this: if nobody asks, nothing can show that the
/// back end is well again.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// Between two looks at the time.
const TICK: Duration = Duration::from_secs(1);

/// Reports how the back end answers.
pub(super) struct Reporter {
    condition: Condition,
    questions: Family<Outcome, Counter>,
    seconds: Histogram,
    failed_at: Mutex<Option<Instant>>,
}

impl Reporter {
    /// The condition is met at first.
    pub(super) fn new(condition: Condition, metrics: &ApiMetrics) -> Self {
        condition.met();
        let (questions, seconds) = (metrics.questions.clone(), metrics.question_seconds.clone());
        Self { condition, questions, seconds, failed_at: Mutex::default() }
    }

    /// Notes the end of a question, and how long it took.
    pub(super) fn note(&self, told: &Result<Found, NoRecipients>, took: Duration) {
        self.questions.get_or_create(&Outcome { outcome: outcome(told) }).inc();
        self.seconds.observe(took.as_secs_f64());
        match told {
            Err(problem @ (NoRecipients::Slow | NoRecipients::Wrong(_))) => {
                self.set(Some(Instant::now()));
                self.condition
                    .unmet(format!("RECIPIENTS_URL gave no recipients at the last question: {problem}"));
            }
            _ => self.forget(),
        }
    }

    /// Forgets old failures until shutdown.
    pub(super) async fn watch(&self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
            if failed_at.is_some_and(|at| at.elapsed() >= MEMORY) {
                self.forget();
            }
        }
    }

    fn forget(&self) {
        self.set(None);
        self.condition.met();
    }

    fn set(&self, failed_at: Option<Instant>) {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = failed_at;
    }
}

fn outcome(told: &Result<Found, NoRecipients>) -> &'static str {
    match told {
        Ok(_) => "found",
        Err(NoRecipients::Unknown(_)) => "unknown",
        Err(NoRecipients::Nobody) => "nobody",
        Err(NoRecipients::TooMany) => "too_many",
        Err(NoRecipients::Slow) => "slow",
        Err(NoRecipients::Wrong(_)) => "wrong",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::service::{Context, Weight};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_reported_until_an_answer_comes_or_it_is_old() {
        let context = Context::new();
        let condition = context.health.condition("recipients", Weight::Required);
        let reporter = Arc::new(Reporter::new(condition, &ApiMetrics::new(&context.metrics)));
        let watching = reporter.clone();
        let watching = tokio::spawn(async move { watching.watch(CancellationToken::new()).await });
        let fail = || reporter.note(&Err(NoRecipients::Slow), Duration::ZERO);
        let is_well = || context.health.report().0;
        assert!(is_well());
        fail();
        assert!(!is_well());
        // The product knows no such group: that is an answer.
        reporter.note(&Err(NoRecipients::Unknown(Vec::new())), Duration::ZERO);
        assert!(is_well());
        fail();
        tokio::time::sleep(MEMORY - TICK).await;
        assert!(!is_well());
        tokio::time::sleep(3 * TICK).await;
        assert!(is_well());
        watching.abort();
    }
}
