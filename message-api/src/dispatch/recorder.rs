//! Records the answers of Telnyx in batches. While the database is away it keeps them: the recipients behind them are
//! not posted again meanwhile.

use std::time::Duration;

use common::store::{Answer, AttemptId, Store, StoreError};
use common::throttle::Throttle;
use prometheus_client::metrics::gauge::Gauge;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// How long a stopping service tries to record the last answers.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// The wait before the first retry; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Limits log lines that repeat while the database is away.
static REPEATS: Throttle = Throttle::once_a_minute();

/// An answer, with the permit of its POST, which is released once the answer is recorded.
pub(super) struct AnsweredAttempt {
    pub(super) attempt: AttemptId,
    pub(super) answer: Answer,
    pub(super) permit: OwnedSemaphorePermit,
}

/// Records answers until the last sender is gone.
pub(super) struct Recorder {
    pub(super) store: Store,
    /// Answers that are not recorded yet.
    pub(super) waiting: Gauge,
    /// Most answers in one transaction.
    pub(super) batch_limit: usize,
    pub(super) shutdown: CancellationToken,
}

impl Recorder {
    pub(super) async fn run(self, mut answers: mpsc::Receiver<AnsweredAttempt>) {
        let mut batch = Vec::new();
        while answers.recv_many(&mut batch, self.batch_limit).await > 0 {
            self.waiting.set(batch.len() as i64);
            let (records, permits): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|it: AnsweredAttempt| ((it.attempt, it.answer), it.permit)).unzip();
            self.record(&records).await;
            self.waiting.set(0);
            drop(permits);
        }
    }

    async fn record(&self, records: &[(AttemptId, Answer)]) {
        let mut wait = FIRST_WAIT;
        let give_up = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::pin!(give_up);
        loop {
            match self.store.record_answers(records, OffsetDateTime::now_utc()).await {
                Ok(()) => return,
                Err(failure) if failure.is_temporary() => {
                    if let Some(held_back) = REPEATS.opens("away") {
                        let error = &failure as &dyn std::error::Error;
                        warn!(
                            error,
                            answers = records.len(),
                            held_back,
                            "answers of Telnyx are kept until the database is back"
                        );
                    }
                }
                Err(failure) => return self.record_singly(records, &failure).await,
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
                () = &mut give_up => {
                    error!(answers = records.len(),
                        "stopping without having recorded answers of Telnyx; their webhooks will bring the outcome");
                    return;
                }
            }
        }
    }

    /// Separates an answer that the database refuses from the others of its batch.
    async fn record_singly(&self, records: &[(AttemptId, Answer)], refusal: &StoreError) {
        let [(attempt, _)] = records else {
            for record in records {
                Box::pin(self.record(std::slice::from_ref(record))).await;
            }
            return;
        };
        error!(error = refusal as &dyn std::error::Error, recipient.id = %attempt.recipient_id,
            "an answer of Telnyx can't be recorded; its webhook will bring the outcome");
    }
}
