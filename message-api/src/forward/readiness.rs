//! The readiness condition `inbound`, and the gauge of texts that wait.

use common::event::timestamp;
use common::service::Condition;
use common::store::ForwardState;
use prometheus_client::metrics::gauge::Gauge;
use time::{Duration, OffsetDateTime};

use super::back_end::Untold;

/// How long the back end may refuse a text before that is reported.
const PATIENCE: Duration = Duration::minutes(10);

/// Reports how far the back end lags behind.
pub(super) struct Reporter {
    condition: Condition,
    waiting: Gauge,
    /// Why it did not take the last text; another process may know more.
    last: Option<Untold>,
}

impl Reporter {
    /// Reports to these. The condition is met at first.
    pub(super) fn new(condition: Condition, waiting: Gauge) -> Self {
        condition.met();
        Self { condition, waiting, last: None }
    }

    /// Notes why the back end did not take a text.
    pub(super) fn note(&mut self, untold: Untold) {
        self.last = Some(untold);
    }

    /// Notes that it took one.
    pub(super) fn note_success(&mut self) {
        self.last = None;
    }

    /// Reports the state.
    pub(super) fn report(&self, state: &ForwardState, now: OffsetDateTime) {
        self.waiting.set(state.waiting);
        match state.tried_since.filter(|since| now - *since >= PATIENCE) {
            Some(since) => self.condition.unmet(self.reason(since)),
            None => self.condition.met(),
        }
    }

    fn reason(&self, since: OffsetDateTime) -> String {
        let cause = self.last.map(|untold| format!("; {untold}")).unwrap_or_default();
        format!("INBOUND_URL takes no text of {} or later{cause}", timestamp::to_text(since))
    }
}
