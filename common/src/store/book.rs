//! The locked rows of one transaction, and how reports change them. Nothing here reads or writes the database but
//! [`Book::open`] and [`Book::close`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use time::OffsetDateTime;
use tracing::warn;
use uuid::Uuid;

use super::erasure::ERASED;
use super::ledger::{Ledger, Locking, MessageRow, OutboxEntry, RecipientRow, WebhookRow};
use super::new_events::News;
use super::{
    Answer, AttemptId, DeliveryReport, Failure, Outcome, Overdue, PhoneReport, Setback, StoreError, Webhook,
    WebhookContent,
};
use crate::event::{ChangedRecipient, ChurchEvent, EventType, FORMAT};
use crate::status::{Rank, RecipientState};

/// The failure code of a recipient of whom nobody ever heard again.
const UNRESOLVED: &str = "unresolved";
/// Telnyx is asked for the first time so long after the attempt, if no receipt came.
pub(super) const FIRST_ASK: time::Duration = time::Duration::minutes(15);

/// An answer that its attempt was waiting for, and what it says of the sender.
pub(super) struct Turned<'a> {
    pub(super) recipient_id: Uuid,
    pub(super) sender: String,
    pub(super) attempted_at: OffsetDateTime,
    pub(super) said: Said<'a>,
}

/// What an answer says of the sender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Said<'a> {
    /// Telnyx answered properly.
    Served,
    /// It has to wait.
    SetBack(&'a Setback),
    /// Nothing.
    Nothing,
}

/// The locked rows of one transaction, and what changes in them.
pub(super) struct Book {
    messages: BTreeMap<Uuid, MessageRow>,
    recipients: BTreeMap<Uuid, RecipientRow>,
    by_provider_id: HashMap<String, Uuid>,
    /// Recipients that were left out, because another transaction has locked them or their messages.
    left_out: Vec<RecipientRow>,
    /// The recipients as they were, for those that were changed.
    before: HashMap<Uuid, RecipientRow>,
    /// Messages whose own columns changed without a new version.
    touched: BTreeSet<Uuid>,
    occurred_at: HashMap<Uuid, OffsetDateTime>,
}

impl Book {
    /// Finds the recipients and locks their messages and then them.
    pub(super) async fn open<L: Ledger>(
        ledger: &mut L,
        provider_ids: &[&str],
        ids: &[Uuid],
        locking: Locking,
    ) -> Result<Self, StoreError> {
        let mut found = ledger.find_recipients(provider_ids, ids).await?;
        let message_ids: BTreeSet<Uuid> = found.iter().map(|row| row.message_id).collect();
        let messages = ledger.lock_messages(&Vec::from_iter(message_ids), locking).await?;
        let locked: BTreeSet<Uuid> = messages.iter().map(|row| row.id).collect();
        let has_message = |row: &&RecipientRow| locked.contains(&row.message_id);
        let ids: BTreeSet<Uuid> = found.iter().filter(has_message).map(|row| row.id).collect();
        let recipients = ledger.lock_recipients(&Vec::from_iter(ids), locking).await?;
        let locked: BTreeSet<Uuid> = recipients.iter().map(|row| row.id).collect();
        found.retain(|row| locking == Locking::SkipLocked && !locked.contains(&row.id));
        let provider_id =
            |row: &RecipientRow| row.provider_id.clone().map(|provider_id| (provider_id, row.id));
        Ok(Self {
            by_provider_id: recipients.iter().filter_map(provider_id).collect(),
            messages: messages.into_iter().map(|row| (row.id, row)).collect(),
            recipients: recipients.into_iter().map(|row| (row.id, row)).collect(),
            left_out: found,
            before: HashMap::new(),
            touched: BTreeSet::new(),
            occurred_at: HashMap::new(),
        })
    }

    /// What a webhook does.
    pub(super) fn read<'a>(&mut self, webhook: &'a Webhook) -> WebhookRow<'a> {
        let row = |outcome, reason, recipient_id| WebhookRow {
            webhook,
            deliveries: 1,
            outcome,
            reason,
            recipient_id,
        };
        match &webhook.content {
            WebhookContent::Ignored { reason } => row(Outcome::Ignored, Some(reason.as_str()), None),
            WebhookContent::Delivery(report) => match self.apply(report, webhook.occurred_at) {
                Some((recipient, outcome)) => row(outcome, None, Some(recipient)),
                None => row(Outcome::Parked, None, None),
            },
        }
    }

    /// Applies a report to its recipient; `None` if that is not known.
    pub(super) fn apply(
        &mut self,
        report: &DeliveryReport,
        occurred_at: Option<OffsetDateTime>,
    ) -> Option<(Uuid, Outcome)> {
        let (id, phone) = self.find(report)?;
        self.learn_provider_id(id, &report.provider_id);
        let state = RecipientState { rank: Rank::from_i16(phone.rank)?, closed: phone.closed };
        let raised = self.raise(id, state, phone.failure.as_ref(), occurred_at);
        Some((id, if raised { Outcome::Applied } else { Outcome::Stale }))
    }

    /// By provider id; else by the recipient id in the signed URL, if the phone agrees.
    pub(super) fn find<'r>(&self, report: &'r DeliveryReport) -> Option<(Uuid, &'r PhoneReport)> {
        let to = |phone: &str| report.to.iter().find(|to| to.phone == phone);
        if let Some(row) = self.by_provider_id.get(&report.provider_id).and_then(|id| self.recipients.get(id))
        {
            let only = report.to.first().filter(|_| report.to.len() == 1);
            return to(&row.phone).or(only).map(|phone| (row.id, phone));
        }
        let row = self.recipients.get(&report.recipient_hint?)?;
        if row.provider_id.is_some() {
            return None;
        }
        to(&row.phone).map(|phone| (row.id, phone))
    }

    /// Whether a report's recipient was left out, because another transaction has it.
    pub(super) fn is_left_out(&self, report: &DeliveryReport) -> bool {
        !self.by_provider_id.contains_key(&report.provider_id)
            && self.left_out.iter().any(|row| {
                row.provider_id.as_ref() == Some(&report.provider_id) || report.recipient_hint == Some(row.id)
            })
    }

    /// Keeps Telnyx's id of a recipient. The first one stays.
    fn learn_provider_id(&mut self, id: Uuid, provider_id: &str) {
        let owner = self.by_provider_id.get(provider_id).copied();
        let Some(row) = self.recipients.get(&id) else { return };
        match (&row.provider_id, owner) {
            (None, None) => {
                self.by_provider_id.insert(provider_id.to_owned(), id);
                self.change(id, |row| {
                    row.provider_id = Some(provider_id.to_owned());
                    // Telnyx has it: whatever we thought of the attempt, it is never due again.
                    let attempted_at = *row.attempted_at.get_or_insert_with(OffsetDateTime::now_utc);
                    // Telnyx's answer would bring an erased number back.
                    row.ask_at = (row.phone != ERASED).then_some(attempted_at + FIRST_ASK);
                });
            }
            (Some(known), _) if known == provider_id => {}
            _ => warn!(recipient.id = %id, "Telnyx gave a second id; the first one stays"),
        }
    }

    /// Raises a recipient's state; whether it rose.
    fn raise(
        &mut self,
        id: Uuid,
        report: RecipientState,
        failure: Option<&Failure>,
        occurred_at: Option<OffsetDateTime>,
    ) -> bool {
        let Some(row) = self.recipients.get(&id) else { return false };
        let state = row.state.join(report);
        if state == row.state {
            return self.explain(id, report.rank, failure);
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

    /// Telnyx's reason for a failure takes the place of our not knowing; whether it does.
    fn explain(&mut self, id: Uuid, rank: Rank, failure: Option<&Failure>) -> bool {
        let Some(row) = self.recipients.get(&id) else { return false };
        let (Some(known), Some(failure)) = (&row.failure, failure) else { return false };
        if rank != Rank::Failed || known.code != UNRESOLVED || failure.code == UNRESOLVED {
            return false;
        }
        if let Some(message) = self.messages.get_mut(&row.message_id)
            && message.failure_reason.as_ref() == Some(&known.reason)
        {
            message.failure_reason = Some(failure.reason.clone());
            self.touched.insert(message.id);
        }
        self.change(id, |row| row.failure = Some(failure.clone()));
        true
    }

    fn change(&mut self, id: Uuid, change: impl FnOnce(&mut RecipientRow)) {
        if let Some(row) = self.recipients.get_mut(&id) {
            self.before.entry(id).or_insert_with(|| row.clone());
            change(row);
            if row.state.is_finished() {
                row.ask_at = None;
            }
        }
    }

    /// What Telnyx's answer to an attempt does. Nothing, if the recipient waits for no answer to this very attempt: it
    /// was recorded before, and the recipient may have been attempted anew since.
    pub(super) fn answer<'a>(
        &mut self,
        attempt: AttemptId,
        answer: &'a Answer,
        now: OffsetDateTime,
    ) -> Option<Turned<'a>> {
        let id = attempt.recipient_id;
        let row = self.recipients.get(&id).filter(|row| row.claim_id == Some(attempt.claim_id))?;
        let mut turned = Turned {
            recipient_id: id,
            sender: row.sender.clone(),
            attempted_at: row.attempted_at?,
            said: Said::Served,
        };
        match answer {
            Answer::Accepted { provider_id } => {
                self.learn_provider_id(id, provider_id);
                self.note_first_acceptance(id, now);
            }
            Answer::Refused(failure) => {
                let failed = RecipientState { rank: Rank::Failed, closed: false };
                self.raise(id, failed, Some(failure), Some(now));
            }
            Answer::NotAccepted { again_at, setback } => {
                self.take_back(id, *again_at);
                turned.said = setback.as_ref().map_or(Said::Nothing, Said::SetBack);
            }
            Answer::Unresolved => turned.said = Said::Nothing,
        }
        Some(turned)
    }

    fn note_first_acceptance(&mut self, id: Uuid, now: OffsetDateTime) {
        let message = self.recipients.get(&id).and_then(|row| self.messages.get_mut(&row.message_id));
        if let Some(message) = message.filter(|message| message.sent_at.is_none()) {
            message.sent_at = Some(now);
            self.touched.insert(message.id);
        }
    }

    /// Telnyx surely does not have it: the recipient is due again.
    fn take_back(&mut self, id: Uuid, again_at: OffsetDateTime) {
        self.change(id, |row| {
            // A webhook that came meanwhile proves that it was accepted after all.
            if row.provider_id.is_none() {
                row.attempted_at = None;
                row.claim_id = None;
                row.due_at = again_at;
                row.tried += 1;
            }
        });
    }

    /// A recipient that is due waits longer, because its sender does.
    pub(super) fn put_off(&mut self, id: Uuid, until: OffsetDateTime) {
        self.change(id, |row| {
            if row.attempted_at.is_none() {
                row.due_at = row.due_at.max(until);
            }
        });
    }

    /// Fails a recipient that is not to be sent a text any more; whether it was still waiting for one.
    pub(super) fn give_up(&mut self, id: Uuid, failure: &Failure, now: OffsetDateTime) -> bool {
        let waits = |row: &&RecipientRow| row.attempted_at.is_none() && row.provider_id.is_none();
        if self.recipients.get(&id).filter(waits).is_none() {
            return false;
        }
        self.raise(id, RecipientState { rank: Rank::Failed, closed: false }, Some(failure), Some(now))
    }

    /// Ends a recipient's waiting for a receipt; whether that changed it.
    pub(super) fn end_waiting(&mut self, id: Uuid, overdue: &Overdue, now: OffsetDateTime) -> bool {
        let Some(row) = self.recipients.get(&id) else { return false };
        // It was found before it was locked; an answer or a webhook may have come in between.
        let limit =
            if row.provider_id.is_some() { overdue.accepted_before } else { overdue.unresolved_before };
        if row.attempted_at.is_none_or(|at| at >= limit) || row.state.is_finished() {
            return false;
        }
        // As long as Telnyx can be asked, its answer ends the waiting.
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

    /// Writes what changed: recipients, then messages with their new versions, then one event for each.
    pub(super) async fn close<L: Ledger>(mut self, ledger: &mut L) -> Result<News, StoreError> {
        // Taken after the locks: what is committed later does not look as if it had been earlier.
        let now = OffsetDateTime::now_utc();
        let changed: BTreeMap<Uuid, RecipientRow> = self
            .before
            .keys()
            .filter_map(|id| self.recipients.get(id))
            .map(|row| (row.id, row.clone()))
            .collect();
        let mut by_message: BTreeMap<Uuid, Vec<&RecipientRow>> = BTreeMap::new();
        for row in changed.values() {
            by_message.entry(row.message_id).or_default().push(row);
        }
        let (mut entries, mut news) = (Vec::new(), News::default());
        for (message_id, rows) in by_message {
            let Some(message) = self.messages.get_mut(&message_id) else { continue };
            let occurred_at = self.occurred_at.get(&message_id).copied();
            if let Some((event, progress)) = advance(message, &rows, &self.before, (now, occurred_at)) {
                entries.push(OutboxEntry::new(&event, progress)?);
                news.add(&event, progress);
                self.touched.insert(message_id);
            }
        }
        let messages: Vec<MessageRow> =
            self.touched.iter().filter_map(|id| self.messages.get(id)).cloned().collect();
        ledger.save_recipients(&Vec::from_iter(changed.into_values())).await?;
        ledger.save_messages(&messages).await?;
        ledger.append_outbox(&entries).await?;
        Ok(news)
    }
}

/// Gives a message its new version, if its status or counters change, and the event of it with whether it is mere
/// progress.
fn advance(
    message: &mut MessageRow,
    changed: &[&RecipientRow],
    before: &HashMap<Uuid, RecipientRow>,
    (now, occurred_at): (OffsetDateTime, Option<OffsetDateTime>),
) -> Option<(ChurchEvent, bool)> {
    let (status, tally) = (message.status, message.tally);
    let mut named = Vec::new();
    let mut failures: Vec<(OffsetDateTime, &Failure)> = Vec::new();
    for row in changed {
        let old = before.get(&row.id)?.state;
        message.tally.moved(old, row.state);
        if old.word() != row.state.word() {
            named.push(ChangedRecipient { recipient_id: row.id, status: row.state.word() });
        }
        failures.extend(row.failed_at.zip(row.failure.as_ref()));
    }
    if message.tally == tally {
        return None;
    }
    message.status = message.tally.status();
    message.version += 1;
    message.updated_at = now.max(message.updated_at);
    if let Some((_, failure)) = failures.into_iter().max_by_key(|(at, _)| *at) {
        message.failure_reason = Some(failure.reason.clone());
    }
    if message.tally.failed == 0 {
        message.failure_reason = None;
    }
    let kind = EventType::of_change(status, message.status);
    let mut event = message.event(kind, now);
    event.set_changed(named);
    event.occurred_at = occurred_at;
    Some((event, status == message.status))
}

impl MessageRow {
    /// A snapshot of the message.
    pub(super) fn event(&self, kind: EventType, now: OffsetDateTime) -> ChurchEvent {
        let mut event = ChurchEvent {
            v: FORMAT,
            id: Uuid::now_v7(),
            kind,
            church_id: self.church_id.clone(),
            message_id: self.id,
            conversation_id: self.conversation_id.clone(),
            status: self.status,
            version: self.version,
            recipient_count: 0,
            delivered_count: 0,
            failed_count: 0,
            unconfirmed_count: 0,
            read_count: 0,
            failure_reason: self.failure_reason.clone(),
            changed: Vec::new(),
            changed_more: false,
            user_id: Some(self.author_id.clone()),
            timestamp: now,
            occurred_at: None,
        };
        event.set_tally(&self.tally);
        event
    }
}
