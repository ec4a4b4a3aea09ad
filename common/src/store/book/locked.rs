//! The locked rows of one transaction: finds and locks them, and writes back those that changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use time::OffsetDateTime;
use uuid::Uuid;

use super::saving::{Changed, save_messages, save_recipients};
use super::versions::advance;
use crate::store::columns::{Columns, Read};
use crate::store::failures::StoreError;
use crate::store::ledger::{Ledger, Locking};
use crate::store::new_events::NewEvents;
use crate::store::outbox_entries::{OutboxEntry, appending};
use crate::store::records::{DeliveryReport, PhoneReport};
use crate::store::rows::{MessageRow, RecipientRow};
use crate::store::sql::{Sql, Statement, sql};
use crate::trace_context::TraceParent;

/// The locked rows of one transaction, and their changes.
pub(in crate::store) struct Book {
    pub(super) messages: BTreeMap<Uuid, MessageRow>,
    pub(super) recipients: BTreeMap<Uuid, RecipientRow>,
    pub(super) by_provider_id: HashMap<String, Uuid>,
    /// Recipients left out because another transaction has locked them or their messages.
    locked_elsewhere: Vec<FoundRecipient>,
    /// The changed recipients as they were before.
    pub(super) before: HashMap<Uuid, RecipientRow>,
    /// Messages of which more than counters is written back.
    pub(super) touched: BTreeSet<Uuid>,
    pub(super) occurred_at: HashMap<Uuid, OffsetDateTime>,
    /// The trace of what is applied now.
    pub(in crate::store) trace_parent: Option<TraceParent>,
    /// The traces of what changed messages last.
    traces: HashMap<Uuid, TraceParent>,
}

impl Book {
    /// Finds recipients, locks their messages, then the recipients.
    pub(in crate::store) async fn open<L: Ledger>(
        tx: &mut L,
        provider_ids: &[&str],
        ids: &[Uuid],
        locking: Locking,
    ) -> Result<Self, StoreError> {
        let found = find_recipients(tx, provider_ids, ids).await?;
        Self::of(tx, found, locking).await
    }

    /// Locks the messages of recipients that were found, then the recipients.
    pub(in crate::store) async fn of<L: Ledger>(
        tx: &mut L,
        mut found: Vec<FoundRecipient>,
        locking: Locking,
    ) -> Result<Self, StoreError> {
        let ids = found.iter().map(|row| row.message_id).collect();
        let messages: Vec<MessageRow> = lock(tx, MESSAGES, ids, locking).await?;
        let locked: BTreeSet<Uuid> = messages.iter().map(|row| row.id).collect();
        let has_message = |row: &&FoundRecipient| locked.contains(&row.message_id);
        let ids = found.iter().filter(has_message).map(|row| row.id).collect();
        let recipients: Vec<RecipientRow> = lock(tx, RECIPIENTS, ids, locking).await?;
        let locked: BTreeSet<Uuid> = recipients.iter().map(|row| row.id).collect();
        found.retain(|row| locking == Locking::SkipLocked && !locked.contains(&row.id));
        let provider_id =
            |row: &RecipientRow| row.provider_id.clone().map(|provider_id| (provider_id, row.id));
        Ok(Self {
            by_provider_id: recipients.iter().filter_map(provider_id).collect(),
            messages: messages.into_iter().map(|row| (row.id, row)).collect(),
            recipients: recipients.into_iter().map(|row| (row.id, row)).collect(),
            locked_elsewhere: found,
            before: HashMap::new(),
            touched: BTreeSet::new(),
            occurred_at: HashMap::new(),
            trace_parent: None,
            traces: HashMap::new(),
        })
    }

    /// Finds a report's recipient by the provider id, else by the recipient id in the signed URL if the phone agrees.
    pub(in crate::store) fn find<'r>(&self, report: &'r DeliveryReport) -> Option<(Uuid, &'r PhoneReport)> {
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

    /// Whether a report's recipient was left out because another transaction has locked it.
    pub(in crate::store) fn is_locked_elsewhere(&self, report: &DeliveryReport) -> bool {
        !self.by_provider_id.contains_key(&report.provider_id)
            && self.locked_elsewhere.iter().any(|row| {
                row.provider_id.as_ref() == Some(&report.provider_id) || report.recipient_hint == Some(row.id)
            })
    }

    /// Changes a recipient, and remembers how it was.
    pub(super) fn change(&mut self, id: Uuid, change: impl FnOnce(&mut RecipientRow)) {
        if let Some(row) = self.recipients.get_mut(&id) {
            self.before.entry(id).or_insert_with(|| row.clone());
            match &self.trace_parent {
                Some(trace) => self.traces.insert(row.message_id, trace.clone()),
                None => self.traces.remove(&row.message_id),
            };
            change(row);
            if row.state.is_finished() {
                row.ask_at = None;
            }
        }
    }

    /// Writes what changed. Returns the new events.
    pub(in crate::store) async fn close<L: Ledger>(self, tx: &mut L) -> Result<NewEvents, StoreError> {
        let (writes, events) = self.writes()?;
        tx.execute_all(writes).await?;
        Ok(events)
    }

    /// What is to be written: recipients, messages with their new versions, and one event for each of these.
    pub(in crate::store) fn writes(mut self) -> Result<(Vec<Statement<'static>>, NewEvents), StoreError> {
        // Taken under the locks, so that versions and times have the same order.
        let now = OffsetDateTime::now_utc();
        let changed = |(id, before)| Some(Changed { before, now: self.recipients.get(id)? });
        let mut changed: Vec<Changed<'_>> = self.before.iter().filter_map(changed).collect();
        changed.sort_by_key(|row| row.now.id);
        let mut by_message: BTreeMap<Uuid, Vec<Changed<'_>>> = BTreeMap::new();
        for row in &changed {
            by_message.entry(row.now.message_id).or_default().push(*row);
        }
        let (mut entries, mut events) = (Vec::new(), NewEvents::default());
        let mut counted = BTreeSet::new();
        for (message_id, rows) in by_message {
            let Some(message) = self.messages.get_mut(&message_id) else { continue };
            let occurred_at = self.occurred_at.get(&message_id).copied();
            if let Some((event, progress)) = advance(message, &rows, (now, occurred_at)) {
                let trace = self.traces.remove(&message_id);
                events.add(&event, progress, trace.clone());
                entries.push(OutboxEntry::new(&event, progress)?.traced(trace));
                if progress {
                    counted.insert(message_id);
                } else {
                    self.touched.insert(message_id);
                }
            }
        }
        let mut writes = save_recipients(&changed);
        let rows =
            |ids: &BTreeSet<Uuid>| ids.iter().filter_map(|id| self.messages.get(id)).collect::<Vec<_>>();
        writes.extend(save_messages(&rows(&(&counted - &self.touched)), &rows(&self.touched)));
        writes.extend(appending(&entries));
        Ok((writes, events))
    }
}

const MESSAGES: Sql = sql!("select " [message] " from messages where id " [in 1] " order by id");
const RECIPIENTS: Sql = sql!([select recipients] "where id " [in 1] " order by id");

/// A recipient before it is locked.
#[derive(Debug)]
pub(in crate::store) struct FoundRecipient {
    pub(in crate::store) id: Uuid,
    pub(in crate::store) message_id: Uuid,
    pub(in crate::store) provider_id: Option<String>,
}

impl Read for FoundRecipient {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            message_id: row.id("message_id")?,
            provider_id: row.opt_text("provider_id")?,
        })
    }
}

/// Finds recipients by provider id ($1) or id ($2); one may be found twice. An `or` over both columns may scan.
pub(in crate::store) const FIND: Sql = sql!(
    "select id, message_id, provider_id from recipients where provider_id " [in 1] "
     union all select id, message_id, provider_id from recipients where id " [in 2]
);

/// Finds recipients without locking them.
async fn find_recipients<L: Ledger>(
    tx: &mut L,
    provider_ids: &[&str],
    ids: &[Uuid],
) -> Result<Vec<FoundRecipient>, StoreError> {
    if provider_ids.is_empty() && ids.is_empty() {
        return Ok(Vec::new());
    }
    tx.fetch(FIND.bind(provider_ids).bind(ids)).await
}

/// Locks rows in the order of their ids.
async fn lock<L: Ledger, T: Read>(
    tx: &mut L,
    select: Sql,
    ids: BTreeSet<Uuid>,
    locking: Locking,
) -> Result<Vec<T>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    tx.lock(select.bind(Vec::from_iter(ids)).push(locking.clause()), locking).await
}
