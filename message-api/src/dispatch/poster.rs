//! Posts one attempt, and decides what its answer means for it, for its sender and for all.

use std::sync::Arc;
use std::time::Duration;

use common::store::{Answer, Attempt};
use common::throttle::Throttle;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::backoff;
use super::breaker::{Cause, CircuitBreaker};
use crate::metrics::{ApiMetrics, Outcome};
use crate::telnyx::{RetryReason, Telnyx, Verdict};

/// Limits log lines that an outage repeats for each recipient; a church's own trouble has a line of its own. At debug
/// level every POST has its line, with the reason.
static REPEATS: Throttle = Throttle::once_a_minute();

/// Posts attempts.
#[derive(Clone)]
pub(super) struct Poster {
    pub(super) telnyx: Telnyx,
    pub(super) breaker: Arc<CircuitBreaker>,
    pub(super) metrics: ApiMetrics,
}

impl Poster {
    pub(super) async fn post(&self, attempt: &Attempt) -> Answer {
        let posted_at = Instant::now();
        let verdict = self.telnyx.send(attempt).await;
        self.metrics.send_seconds.observe(posted_at.elapsed().as_secs_f64());
        let (outcome, why) = match &verdict {
            Verdict::Accepted { .. } => ("accepted", ""),
            Verdict::Refused(failure) => ("refused", failure.code.as_str()),
            Verdict::NotAccepted { reason, .. } => ("not_accepted", (*reason).into()),
            Verdict::Unresolved(why) => ("unresolved", *why),
        };
        self.metrics.sends.get_or_create(&Outcome { outcome }).inc();
        debug!(recipient.id = %attempt.recipient_id, church.id = %attempt.church_id, outcome, why,
            "posted");
        self.answer(attempt, verdict, posted_at)
    }

    fn answer(&self, attempt: &Attempt, verdict: Verdict, posted_at: Instant) -> Answer {
        match verdict {
            Verdict::Accepted { provider_id } => {
                self.breaker.succeeded();
                Answer::Accepted { provider_id }
            }
            Verdict::Refused(failure) => {
                self.breaker.succeeded();
                Answer::Refused(failure)
            }
            Verdict::Unresolved(why) => {
                self.breaker.note_unresolved(posted_at);
                if let Some(held_back) = REPEATS.opens(why) {
                    warn!(recipient.id = %attempt.recipient_id, church.id = %attempt.church_id, why, held_back,
                        "it is unknown whether Telnyx accepted a message; waiting for its webhook");
                }
                Answer::Unresolved
            }
            Verdict::NotAccepted { reason, retry_after } => {
                log_not_accepted(attempt, reason);
                self.not_accepted(reason, retry_after, posted_at)
            }
        }
    }

    /// A reason that concerns one sender delays that sender; any other one opens the breaker for all.
    fn not_accepted(&self, reason: RetryReason, retry_after: Option<Duration>, posted_at: Instant) -> Answer {
        let now = OffsetDateTime::now_utc();
        let setback = backoff::of_sender(reason, retry_after, now);
        if setback.is_some() {
            self.breaker.succeeded();
            return Answer::NotAccepted { again_at: now, setback };
        }
        let is_key = reason == RetryReason::KeyRefused;
        let cause = if is_key { Cause::KeyRefused } else { Cause::Unreachable };
        let again_at = now + self.breaker.trip(cause, posted_at, retry_after);
        Answer::NotAccepted { again_at, setback }
    }
}

fn log_not_accepted(attempt: &Attempt, reason: RetryReason) {
    let (recipient, church) = (attempt.recipient_id, &attempt.church_id);
    let label: &str = reason.into();
    let concerns_all = matches!(reason, RetryReason::KeyRefused | RetryReason::Unreachable);
    let kind = if concerns_all { label.to_owned() } else { format!("{label} {church}") };
    let Some(held_back) = REPEATS.opens(&kind) else { return };
    match reason {
        RetryReason::KeyRefused => error!(held_back, "{}", Cause::KeyRefused.text()),
        RetryReason::SenderRefused => error!(recipient.id = %recipient, church.id = %church, held_back,
            "Telnyx refuses the church's number or messaging profile; correct it with `ops sender`"),
        _ => warn!(recipient.id = %recipient, church.id = %church, reason = label, held_back,
            "Telnyx did not accept a message; trying again"),
    }
}
