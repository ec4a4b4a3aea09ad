//! Records what became of the POSTs, in groups of what is ready. An answer that can't be recorded because the
//! database is away is kept until it can: the message behind it is never posted again meanwhile.

use std::time::Duration;

use common::store::{Answer, AttemptId, Store};
use prometheus_client::metrics::gauge::Gauge;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// A stopping service tries so long to record the last answers.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// One answer, with its place among those under way; the place is free once the answer is recorded.
pub(super) struct Answered {
    pub(super) attempt: AttemptId,
    pub(super) answer: Answer,
    pub(super) place: OwnedSemaphorePermit,
}

/// Records answers until nobody can send one any more.
pub(super) struct Recorder {
    pub(super) store: Store,
    pub(super) waiting: Gauge,
    pub(super) most: usize,
    pub(super) shutdown: CancellationToken,
}

impl Recorder {
    pub(super) async fn run(self, mut answers: mpsc::Receiver<Answered>) {
        let mut group = Vec::new();
        while answers.recv_many(&mut group, self.most).await > 0 {
            self.waiting.set(group.len() as i64);
            let (records, places): (Vec<_>, Vec<_>) =
                group.drain(..).map(|answered| ((answered.attempt, answered.answer), answered.place)).unzip();
            self.record(&records).await;
            self.waiting.set(0);
            drop(places);
        }
    }

    async fn record(&self, records: &[(AttemptId, Answer)]) {
        let mut wait = Duration::from_millis(50);
        let give_up = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::pin!(give_up);
        loop {
            match self.store.record_answers(records, OffsetDateTime::now_utc()).await {
                Ok(()) => return,
                Err(failure) if failure.is_temporary() => {
                    warn!(
                        error = &failure as &dyn std::error::Error,
                        answers = records.len(),
                        "answers of Telnyx are kept until the database is back"
                    );
                }
                Err(failure) => return self.record_singly(records, &failure).await,
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
                () = &mut give_up => {
                    error!(answers = records.len(),
                        "stopping without having recorded answers of Telnyx; their webhooks will tell");
                    return;
                }
            }
        }
    }

    /// One answer that the database refuses must not cost the others.
    async fn record_singly(&self, records: &[(AttemptId, Answer)], refusal: &common::store::StoreError) {
        let [(attempt, _)] = records else {
            for record in records {
                Box::pin(self.record(std::slice::from_ref(record))).await;
            }
            return;
        };
        error!(error = refusal as &dyn std::error::Error, recipient.id = %attempt.recipient_id,
            "an answer of Telnyx can't be recorded; its webhook will tell");
    }
}
