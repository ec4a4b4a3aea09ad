//! The suite as the model drives it, and Telnyx's book.

use std::collections::{BTreeMap, BTreeSet};

use common::status::Rank;
use common::store::{Answer, Attempt, AttemptId, Message, Overdue, Store, WebhookContent};
use common::subject::ChurchId;
use proptest::prelude::*;
use tests::databases::Database;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::Step;
use crate::church::{hinted, message, now, patiently, state, webhook};

/// Recipients of the first message.
pub(super) const RECIPIENTS: usize = 6;
/// An attempt without an answer fails after this time.
pub(super) const GIVEN_UP_AFTER: Duration = Duration::hours(6);

pub(super) struct World<'a> {
    database: &'a Database,
    pub(super) processes: [Store; 2],
    pub(super) church: ChurchId,
    /// The first message and its retries, as they were last seen.
    pub(super) messages: Vec<Message>,
    /// The phone and the message of each recipient.
    pub(super) recipients: BTreeMap<Uuid, (String, Uuid)>,
    pub(super) now: OffsetDateTime,
    pub(super) claimed: Vec<(usize, Attempt)>,
    pub(super) answers: Vec<(usize, AttemptId, Answer)>,
    /// Claims that a process must read back.
    pub(super) doubted: [BTreeSet<Uuid>; 2],
    /// The time of each recipient's last attempt.
    pub(super) attempted: BTreeMap<Uuid, OffsetDateTime>,
    /// Telnyx's ids of accepted messages, by recipient.
    pub(super) book: BTreeMap<Uuid, Vec<String>>,
    /// Recipients that may be missing in the book: refused, dropped, cancelled, or lost with a process.
    pub(super) excused: BTreeSet<Uuid>,
    /// Messages of which nothing more may be claimed.
    pub(super) cancelled: BTreeSet<Uuid>,
    /// Recipients that were retried.
    pub(super) retried: BTreeSet<Uuid>,
    events: u32,
}

impl<'a> World<'a> {
    pub(super) async fn new(database: &'a Database) -> Self {
        let mut first = message(&format!("church-{}", Uuid::now_v7()), RECIPIENTS);
        first.from_number = Some(format!("sender-{}", first.id));
        let processes = [database.store(), database.store()];
        patiently(async || processes[0].record_message(&first, None).await).await;
        let church = &first.church_id;
        let shown = patiently(async || processes[0].message(church, first.id).await).await;
        Self {
            database,
            processes,
            church: church.clone(),
            messages: shown.into_iter().collect(),
            recipients: first.recipients.into_iter().map(|it| (it.id, (it.phone, first.id))).collect(),
            now: now(),
            claimed: Vec::new(),
            answers: Vec::new(),
            doubted: Default::default(),
            attempted: BTreeMap::new(),
            book: BTreeMap::new(),
            excused: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            retried: BTreeSet::new(),
            events: 0,
        }
    }

    pub(super) async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Claim { process, limit, commit } => self.claim(process, limit, commit).await?,
            Step::Post { which, reply } if !self.claimed.is_empty() => {
                let (process, attempt) = self.claimed.swap_remove(which.index(self.claimed.len()));
                self.post(process, &attempt, reply)?;
            }
            Step::Record { which, answered } if !self.answers.is_empty() => {
                let index = which.index(self.answers.len());
                self.record(index).await;
                if answered {
                    self.answers.swap_remove(index);
                }
            }
            Step::Crash { process } => self.crash(process),
            Step::Webhook { which, rank, passing } if !self.book.is_empty() => {
                let recipient = *self.book.keys().nth(which.index(self.book.len())).unwrap();
                self.webhook(recipient, rank, passing).await;
            }
            Step::Wait { minutes } => {
                self.now += Duration::minutes(minutes);
                self.excuse_what_is_given_up();
                self.close_overdue(GIVEN_UP_AFTER).await;
            }
            Step::Cancel { process, which } => {
                self.cancel(process, which.get(&self.messages).id).await?;
            }
            Step::Retry { process, which, include_unresolved } => {
                self.retry(process, which.get(&self.messages).id, include_unresolved).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Replaces a process by a new one, which knows nothing of the first one's memory.
    fn crash(&mut self, process: usize) {
        let of_process = |it: &usize| *it == process;
        let claimed =
            self.claimed.extract_if(.., |(it, _)| of_process(it)).map(|(_, attempt)| attempt.recipient_id);
        self.excused.extend(claimed);
        let answers =
            self.answers.extract_if(.., |(it, ..)| of_process(it)).map(|(_, id, _)| id.recipient_id);
        self.excused.extend(answers);
        self.excused.extend(std::mem::take(&mut self.doubted[process]));
        self.processes[process] = self.database.store();
    }

    pub(super) async fn webhook(&mut self, recipient: Uuid, rank: i16, passing: bool) {
        self.events += 1;
        let (provider_id, phone) = (&self.book[&recipient][0], &self.recipients[&recipient].0);
        let event = format!("{recipient}-{}", self.events);
        let mut hook = webhook(&event, provider_id, phone, state(Rank::from_i16(rank).unwrap()));
        if let WebhookContent::Delivery(report) = &mut hook.content
            && let Some(failure) = report.to[0].failure.as_mut().filter(|_| passing)
        {
            failure.code = "40008".into();
        }
        let hooks = [hinted(hook, recipient)];
        patiently(async || self.processes[0].record_webhooks(&hooks).await).await;
    }

    pub(super) async fn close_overdue(&self, after: Duration) {
        let before = self.now - after;
        let overdue = Overdue { accepted_before: before, unresolved_before: before, limit: 100 };
        patiently(async || self.processes[1].close_overdue(&overdue, self.now).await).await;
    }
}
