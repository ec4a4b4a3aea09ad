//! How Telnyx's reports change recipients.

use time::OffsetDateTime;
use tracing::warn;
use uuid::Uuid;

use super::locked::Book;
use crate::status::{Rank, RecipientState};
use crate::store::records::{
    CANCELLED, DeliveryReport, FIRST_ASK, Failure, NOT_SENT, Outcome, UNRESOLVED, Webhook, WebhookContent,
};
use crate::store::rows::{ERASED, WebhookRow};

impl Book {
    /// Applies a webhook and returns its row.
    pub(in crate::store) fn apply<'a>(&mut self, webhook: &'a Webhook) -> WebhookRow<'a> {
        let row = |outcome, reason, recipient_id| WebhookRow {
            webhook,
            deliveries: 1,
            outcome,
            reason,
            recipient_id,
        };
        self.trace_parent.clone_from(&webhook.trace_parent);
        match &webhook.content {
            // It changes no recipient; `store::inbound` records it.
            WebhookContent::Inbound(_) => row(Outcome::Received, None, None),
            WebhookContent::Ignored { reason } => row(Outcome::Ignored, Some(reason.as_str()), None),
            WebhookContent::Delivery(report) => match self.apply_report(report, webhook.occurred_at) {
                Some((recipient, outcome)) => row(outcome, None, Some(recipient)),
                None => row(Outcome::Parked, None, None),
            },
        }
    }

    /// Applies a report to its recipient; `None` if the recipient is not known.
    pub(in crate::store) fn apply_report(
        &mut self,
        report: &DeliveryReport,
        occurred_at: Option<OffsetDateTime>,
    ) -> Option<(Uuid, Outcome)> {
        let (id, phone) = self.find(report)?;
        self.set_provider_id(id, &report.provider_id);
        let state = RecipientState { rank: Rank::from_i16(phone.rank)?, closed: phone.closed };
        let raised = self.raise(id, state, phone.failure.as_ref(), occurred_at);
        Some((id, if raised { Outcome::Applied } else { Outcome::Stale }))
    }

    /// Sets the provider id of a recipient, if it has none yet.
    pub(super) fn set_provider_id(&mut self, id: Uuid, provider_id: &str) {
        let owner = self.by_provider_id.get(provider_id).copied();
        let Some(row) = self.recipients.get(&id) else { return };
        match (&row.provider_id, owner) {
            (None, None) => {
                self.by_provider_id.insert(provider_id.to_owned(), id);
                self.change(id, |row| {
                    row.provider_id = Some(provider_id.to_owned());
                    // Telnyx has the message, so the recipient is never due again, whatever we recorded of the attempt.
                    let attempted_at = *row.attempted_at.get_or_insert_with(OffsetDateTime::now_utc);
                    // An answer of Telnyx would bring an erased number back.
                    row.ask_at = (row.phone != ERASED).then_some(attempted_at + FIRST_ASK);
                });
                self.note_taken(id);
            }
            (Some(known), _) if known == provider_id => {}
            _ => warn!(recipient.id = %id, "Telnyx gave a second id; the first one stays"),
        }
    }

    /// Raises a recipient's state. Returns whether it changed.
    pub(super) fn raise(
        &mut self,
        id: Uuid,
        report: RecipientState,
        failure: Option<&Failure>,
        occurred_at: Option<OffsetDateTime>,
    ) -> bool {
        let Some(row) = self.recipients.get(&id) else { return false };
        let state = row.state.join(report);
        if state == row.state {
            let failure = failure.filter(|_| report.rank == Rank::Failed);
            return failure.is_some_and(|failure| self.replace_unresolved(id, failure));
        }
        let raised_rank = state.rank > row.state.rank;
        if let Some(at) = occurred_at {
            self.occurred_at.insert(row.message_id, at);
        }
        let at = occurred_at.unwrap_or_else(OffsetDateTime::now_utc);
        self.change(id, |row| {
            row.state = state;
            if raised_rank && state.rank == Rank::Failed {
                row.failure = failure.cloned();
                row.failed_at = Some(at);
            } else if state.rank >= Rank::Delivered {
                row.failure = None;
                row.failed_at = None;
                row.delivered_at = row.delivered_at.or(Some(at));
            } else if failure.is_some() && state.rank < Rank::Failed {
                row.failure = failure.cloned();
            }
        });
        true
    }

    /// Replaces the failure `unresolved` by one that says more. Returns whether it did.
    pub(super) fn replace_unresolved(&mut self, id: Uuid, failure: &Failure) -> bool {
        let replaces = failure.code != UNRESOLVED && self.failure_code(id) == Some(UNRESOLVED);
        if replaces {
            self.replace_failure(id, failure);
        }
        replaces
    }

    /// Corrects the failure of a recipient that counts as not sent, because Telnyx has its text. The status stays.
    fn note_taken(&mut self, id: Uuid) {
        if matches!(self.failure_code(id), Some(CANCELLED | NOT_SENT)) {
            let reason = "Telnyx took this text although it had refused it. It may have arrived.".into();
            self.replace_failure(id, &Failure { code: UNRESOLVED.into(), reason });
        }
    }

    fn failure_code(&self, id: Uuid) -> Option<&str> {
        self.recipients.get(&id)?.failure.as_ref().map(|failure| failure.code.as_str())
    }

    /// Replaces a recipient's failure, and its message's reason if that is the same.
    fn replace_failure(&mut self, id: Uuid, failure: &Failure) {
        let Some(row) = self.recipients.get(&id) else { return };
        let known = row.failure.as_ref().map(|known| &known.reason);
        if let Some(message) = self.messages.get_mut(&row.message_id)
            && message.failure_reason.as_ref() == known
        {
            message.failure_reason = Some(failure.reason.clone());
            self.touched.insert(message.id);
        }
        self.change(id, |row| row.failure = Some(failure.clone()));
    }
}
