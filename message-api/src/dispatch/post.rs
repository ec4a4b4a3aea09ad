//! One POST, and what follows from its answer.

use std::sync::Arc;
use std::time::Duration;

use common::store::{Answer, Attempt};
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::pause::{Cause, Pause};
use super::setback;
use crate::metrics::{ApiMetrics, SendLabels};
use crate::telnyx::{Hindrance, Telnyx, Verdict};

/// One POST and what follows from its answer.
pub(super) struct Post {
    pub(super) telnyx: Telnyx,
    pub(super) pause: Arc<Pause>,
    pub(super) metrics: ApiMetrics,
}

impl Post {
    pub(super) async fn send(&self, attempt: &Attempt) -> Answer {
        let posted_at = Instant::now();
        let verdict = self.telnyx.send(attempt).await;
        self.metrics.send_seconds.observe(posted_at.elapsed().as_secs_f64());
        let outcome = match &verdict {
            Verdict::Accepted { .. } => "accepted",
            Verdict::Refused(_) => "refused",
            Verdict::NotAccepted { .. } => "not_accepted",
            Verdict::Unresolved(_) => "unresolved",
        };
        self.metrics.sends.get_or_create(&SendLabels { outcome }).inc();
        debug!(recipient.id = %attempt.recipient_id, church.id = %attempt.church_id, outcome, "posted");
        self.answer(attempt, verdict, posted_at)
    }

    fn answer(&self, attempt: &Attempt, verdict: Verdict, posted_at: Instant) -> Answer {
        match verdict {
            Verdict::Accepted { provider_id } => {
                self.pause.answered();
                Answer::Accepted { provider_id }
            }
            Verdict::Refused(failure) => {
                self.pause.answered();
                Answer::Refused(failure)
            }
            Verdict::Unresolved(why) => {
                warn!(recipient.id = %attempt.recipient_id, church.id = %attempt.church_id, why,
                    "nobody knows whether Telnyx accepted; waiting for the webhook");
                self.pause.unresolved(posted_at);
                Answer::Unresolved
            }
            Verdict::NotAccepted { hindrance, retry_after } => {
                self.not_accepted(attempt, hindrance, retry_after, posted_at)
            }
        }
    }

    /// What hinders one sender alone holds only that one back; the others go on.
    fn not_accepted(
        &self,
        attempt: &Attempt,
        hindrance: Hindrance,
        retry_after: Option<Duration>,
        posted_at: Instant,
    ) -> Answer {
        let now = OffsetDateTime::now_utc();
        let setback = setback::of(hindrance, retry_after, now);
        let again_at = match (&setback, hindrance) {
            (Some(_), _) => {
                self.pause.answered();
                now
            }
            (None, Hindrance::KeyRefused) => {
                now + self.pause.set_back(Cause::KeyRefused, posted_at, retry_after)
            }
            (None, _) => now + self.pause.set_back(Cause::Unreachable, posted_at, retry_after),
        };
        let (recipient, church) = (attempt.recipient_id, &attempt.church_id);
        match hindrance {
            Hindrance::KeyRefused => error!("{}", Cause::KeyRefused.text()),
            Hindrance::SenderRefused => error!(recipient.id = %recipient, church.id = %church,
                "Telnyx refuses the church's number or messaging profile; correct it with `ops sender`"),
            _ => warn!(recipient.id = %recipient, church.id = %church, hindrance = hindrance.word(),
                "Telnyx did not accept; trying again"),
        }
        Answer::NotAccepted { again_at, setback }
    }
}
