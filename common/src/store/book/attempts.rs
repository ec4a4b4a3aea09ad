//! How Telnyx's answers and limits of time change recipients.

use time::OffsetDateTime;
use uuid::Uuid;

use super::locked::Book;
use crate::status::{Rank, RecipientState};
use crate::store::records::{Answer, AttemptId, CANCELLED, Failure, NOT_SENT, Overdue, Setback, UNRESOLVED};
use crate::store::rows::RecipientRow;

/// An answer to a running attempt, and what it says about the sender.
pub(in crate::store) struct AnsweredAttempt<'a> {
    pub(in crate::store) recipient_id: Uuid,
    pub(in crate::store) sender: String,
    pub(in crate::store) attempted_at: OffsetDateTime,
    pub(in crate::store) verdict: Verdict<'a>,
}

/// What an answer says about the sender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::store) enum Verdict<'a> {
    /// Telnyx serves it.
    Served,
    /// It has to wait.
    SetBack(&'a Setback),
    /// Nothing.
    Nothing,
}

impl Book {
    /// Applies Telnyx's answer to an attempt. Returns `None` and changes nothing if this attempt has ended: its answer
    /// was recorded before, and the recipient may have been attempted again.
    pub(in crate::store) fn answer<'a>(
        &mut self,
        attempt: AttemptId,
        answer: &'a Answer,
        now: OffsetDateTime,
    ) -> Option<AnsweredAttempt<'a>> {
        let id = attempt.recipient_id;
        let row = self.recipients.get(&id).filter(|row| row.claim_id == Some(attempt.claim_id))?;
        let mut answered = AnsweredAttempt {
            recipient_id: id,
            sender: row.sender.clone(),
            attempted_at: row.attempted_at?,
            verdict: Verdict::Served,
        };
        match answer {
            Answer::Accepted { provider_id } => {
                self.set_provider_id(id, provider_id);
                self.note_first_acceptance(id, now);
            }
            Answer::Refused(failure) => {
                let failed = RecipientState { rank: Rank::Failed, closed: false };
                self.raise(id, failed, Some(failure), Some(now));
            }
            Answer::NotAccepted { again_at, setback } => {
                self.requeue(id, *again_at);
                self.fail_if_cancelled(id, now);
                self.note_not_taken(id);
                answered.verdict = setback.as_ref().map_or(Verdict::Nothing, Verdict::SetBack);
            }
            Answer::Unresolved => answered.verdict = Verdict::Nothing,
        }
        Some(answered)
    }

    fn note_first_acceptance(&mut self, id: Uuid, now: OffsetDateTime) {
        let message = self.recipients.get(&id).and_then(|row| self.messages.get_mut(&row.message_id));
        if let Some(message) = message.filter(|message| message.sent_at.is_none()) {
            message.sent_at = Some(now);
            self.touched.insert(message.id);
        }
    }

    /// Makes a recipient due again, because Telnyx certainly did not accept its message.
    fn requeue(&mut self, id: Uuid, again_at: OffsetDateTime) {
        self.change(id, |row| {
            // A webhook that arrived meanwhile proves that it was accepted after all.
            if row.provider_id.is_none() {
                row.attempted_at = None;
                row.claim_id = None;
                row.due_at = again_at;
                row.tried += 1;
            }
        });
    }

    /// Corrects the failure of a recipient that was given up before the answer came: the text was surely not sent.
    fn note_not_taken(&mut self, id: Uuid) {
        if self.recipients.get(&id).is_some_and(|row| row.provider_id.is_none()) {
            let reason = "Telnyx did not take the text, and it was too late to send it again.".into();
            self.replace_unresolved(id, &Failure { code: NOT_SENT.into(), reason });
        }
    }

    /// Cancels a message: notes by whom, and fails the recipients that still wait to be sent. Those under way fail when
    /// Telnyx turns out not to have accepted them. Returns how many failed.
    pub(in crate::store) fn cancel(&mut self, message: Uuid, by: &str, now: OffsetDateTime) -> usize {
        let Some(row) = self.messages.get_mut(&message) else { return 0 };
        if row.cancelled_by.is_none() {
            row.cancelled_by = Some(by.to_owned());
            self.touched.insert(message);
        }
        let of_message = |row: &&RecipientRow| row.message_id == message;
        let ids: Vec<Uuid> = self.recipients.values().filter(of_message).map(|row| row.id).collect();
        ids.into_iter().filter(|id| self.fail_if_cancelled(*id, now)).count()
    }

    /// Fails a recipient that waits to be sent if its message was cancelled. Returns whether it did.
    fn fail_if_cancelled(&mut self, id: Uuid, now: OffsetDateTime) -> bool {
        let message = self.recipients.get(&id).and_then(|row| self.messages.get(&row.message_id));
        let Some(by) = message.and_then(|message| message.cancelled_by.as_ref()) else { return false };
        let failure = Failure { code: CANCELLED.into(), reason: format!("Cancelled by {by}.") };
        self.fail_unsent(id, &failure, now)
    }

    /// Delays a waiting recipient, because its sender is held back.
    pub(in crate::store) fn delay(&mut self, id: Uuid, until: OffsetDateTime) {
        self.change(id, |row| {
            if row.attempted_at.is_none() {
                row.due_at = row.due_at.max(until);
            }
        });
    }

    /// Fails a recipient if it still waits to be sent. Returns whether it did.
    pub(in crate::store) fn fail_unsent(&mut self, id: Uuid, failure: &Failure, now: OffsetDateTime) -> bool {
        let waits = |row: &&RecipientRow| row.attempted_at.is_none() && row.provider_id.is_none();
        if self.recipients.get(&id).filter(waits).is_none() {
            return false;
        }
        self.raise(id, RecipientState { rank: Rank::Failed, closed: false }, Some(failure), Some(now))
    }

    /// Closes or fails a recipient whose receipt is overdue. Returns whether it changed.
    pub(in crate::store) fn close_overdue(
        &mut self,
        id: Uuid,
        overdue: &Overdue,
        now: OffsetDateTime,
    ) -> bool {
        let Some(row) = self.recipients.get(&id) else { return false };
        // It was found before it was locked; an answer or a webhook may have arrived in between.
        let limit =
            if row.provider_id.is_some() { overdue.accepted_before } else { overdue.unresolved_before };
        if row.attempted_at.is_none_or(|at| at >= limit) || row.state.is_finished() {
            return false;
        }
        // Telnyx will be asked, and its answer decides.
        if row.ask_at.is_some() {
            return false;
        }
        if row.provider_id.is_some() {
            return self.raise(id, RecipientState { closed: true, ..row.state }, None, Some(now));
        }
        let unresolved = Failure {
            code: UNRESOLVED.into(),
            reason: "Telnyx never said whether it took this message. It may have arrived.".into(),
        };
        self.raise(id, RecipientState { rank: Rank::Failed, closed: false }, Some(&unresolved), Some(now))
    }
}
