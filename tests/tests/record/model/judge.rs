//! What must be true of the messages after each step, and at the end.

use common::status::{MessageStatus, Rank};
use proptest::prelude::*;
use time::Duration;
use uuid::Uuid;

use super::orders::is_cancelled;
use super::world::World;
use super::{Commit, Reply};
use crate::church::patiently;

impl World<'_> {
    /// No message goes backwards, its counters are right, and it has a new version exactly when they change.
    pub(super) async fn judge_messages(&mut self) -> Result<(), TestCaseError> {
        for index in 0..self.messages.len() {
            let id = self.messages[index].id;
            let shown = patiently(async || self.processes[0].message(&self.church, id).await).await.unwrap();
            let before = &self.messages[index];
            prop_assert!(shown.status >= before.status, "{:?} after {:?}", shown, before);
            let (tally, recipients) = (shown.tally, self.shown(id).await);
            prop_assert_eq!(tally != before.tally, shown.version > before.version);
            let count =
                |is: fn(Rank) -> bool| recipients.iter().filter(|it| is(it.state.rank)).count() as i32;
            prop_assert_eq!(tally.failed, count(|rank| rank == Rank::Failed));
            prop_assert_eq!(tally.delivered, count(|rank| rank >= Rank::Delivered));
            prop_assert_eq!(tally.cancelled, recipients.iter().filter(|it| is_cancelled(it)).count() as i32);
            prop_assert_eq!(shown.status, tally.status());
            self.messages[index] = shown;
        }
        Ok(())
    }

    /// Records all answers and sends everything due. Then every recipient has the right final status.
    pub(super) async fn finish(mut self) -> Result<(), TestCaseError> {
        // Well before an attempt is given up.
        for _ in 0..30 {
            for process in 0..2 {
                self.claim(process, 9, Commit::Answered).await?;
            }
            while let Some((process, attempt)) = self.claimed.pop() {
                self.post(process, &attempt, Reply::Accept)?;
            }
            while !self.answers.is_empty() {
                self.record(self.answers.len() - 1).await;
                self.answers.pop();
            }
            self.now += Duration::minutes(1);
        }
        for recipient in self.book.keys().copied().collect::<Vec<_>>() {
            self.webhook(recipient, Rank::Delivered.as_i16(), false).await;
        }
        self.close_overdue(-Duration::hours(1)).await;
        self.judge_messages().await?;
        for message in self.messages.iter().map(|message| message.id).collect::<Vec<_>>() {
            self.judge_recipients(message).await?;
        }
        Ok(())
    }

    async fn judge_recipients(&self, message: Uuid) -> Result<(), TestCaseError> {
        for recipient in self.shown(message).await {
            let is_in_book = self.book.contains_key(&recipient.id);
            let may_be_missing = self.excused.contains(&recipient.id);
            prop_assert!(is_in_book || may_be_missing, "{} was forgotten", recipient.id);
            let delivered = recipient.state.status() >= MessageStatus::Delivered;
            prop_assert_eq!(delivered, is_in_book, "{:?}", recipient);
            prop_assert!(recipient.state.is_finished(), "{:?}", recipient);
            prop_assert!(
                !is_cancelled(&recipient) || self.cancelled.contains(&message),
                "nobody cancelled {recipient:?}"
            );
        }
        Ok(())
    }
}
