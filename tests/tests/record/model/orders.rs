//! What people order: to cancel, and to retry.

use common::failure::PASSING;
use common::status::Rank;
use common::store::{CANCELLED, CancelOrder, NewRetry, Recipient, Retried};
use proptest::prelude::*;
use uuid::Uuid;

use super::world::World;
use crate::church::{all, cancel_of, patiently};

impl World<'_> {
    /// Cancels a message. Exactly the recipients that no process has claimed are cancelled.
    pub(super) async fn cancel(&mut self, process: usize, message: Uuid) -> Result<(), TestCaseError> {
        let before = self.shown(message).await;
        let store = &self.processes[process];
        let order = CancelOrder { now: self.now, ..cancel_of(&self.church, message, "ann") };
        let done = patiently(async || store.cancel(&order).await).await;
        self.cancelled.insert(message);
        let after = self.shown(message).await;
        prop_assert_eq!(done.cancelled as usize, after.iter().filter(|it| is_cancelled(it)).count());
        // Given up before Telnyx's answer came: it did not take them.
        let not_sent = after.iter().filter(|it| has_code(it, "not_sent")).count();
        prop_assert_eq!(
            (done.cancelled + done.left) as usize + not_sent,
            after.len(),
            "{:?} {:?}",
            done,
            after
        );
        for (before, after) in before.iter().zip(&after) {
            prop_assert!(before == after || is_cancelled(after), "{:?} became {:?}", before, after);
            if is_cancelled(after) {
                prop_assert!(!self.book.contains_key(&after.id), "{} had left", after.id);
                self.excused.insert(after.id);
            }
        }
        let under_way: Vec<Uuid> = self.under_way().collect();
        self.excused.extend(under_way.into_iter().filter(|id| self.recipients[id].1 == message));
        Ok(())
    }

    /// Retries a message: those that failed for a passing reason, each once. A second call gets the same message.
    pub(super) async fn retry(
        &mut self,
        process: usize,
        message: Uuid,
        include_unresolved: bool,
    ) -> Result<(), TestCaseError> {
        let passes = |it: &Recipient| {
            it.failure.as_ref().is_some_and(|failure| {
                PASSING.contains(&&*failure.code) || include_unresolved && failure.code == "unresolved"
            })
        };
        let is_due =
            |it: &Recipient| it.state.rank == Rank::Failed && passes(it) && !self.retried.contains(&it.id);
        let due: Vec<Recipient> = self.shown(message).await.into_iter().filter(is_due).collect();
        match self.call_retry(process, message, include_unresolved).await {
            Retried::New(new) => {
                let phones = |all: &[Recipient]| all.iter().map(|it| it.phone.clone()).collect::<Vec<_>>();
                let recipients = self.shown(new.id).await;
                prop_assert_eq!(phones(&recipients), phones(&due));
                prop_assert_eq!(new.retry_of, Some(message));
                self.retried.extend(due.iter().map(|it| it.id));
                self.recipients.extend(recipients.into_iter().map(|it| (it.id, (it.phone, new.id))));
                let again = self.call_retry(1 - process, message, include_unresolved).await;
                prop_assert!(matches!(again, Retried::Repeated(again) if again.id == new.id));
                self.messages.push(new);
            }
            Retried::Repeated(earlier) => {
                prop_assert!(due.is_empty(), "{:?} are left out", due);
                let newest = self.messages.iter().rfind(|it| it.retry_of == Some(message));
                prop_assert_eq!(Some(earlier.id), newest.map(|newest| newest.id));
            }
            Retried::Nothing => {
                prop_assert!(due.is_empty(), "{:?} are left out", due);
                prop_assert!(self.messages.iter().all(|it| it.retry_of != Some(message)));
            }
        }
        Ok(())
    }

    async fn call_retry(&self, process: usize, message: Uuid, include_unresolved: bool) -> Retried {
        let retry = NewRetry {
            id: Uuid::now_v7(),
            church_id: self.church.clone(),
            retry_of: message,
            author_id: "ann".into(),
            // The church's number may be another one by then.
            from_number: Some(format!("sender-{}-{include_unresolved}", self.messages[0].id)),
            messaging_profile_id: None,
            include_unresolved,
            created_at: self.now,
            trace_parent: None,
        };
        patiently(async || self.processes[process].retry(&retry).await).await
    }

    /// A message's recipients.
    pub(super) async fn shown(&self, message: Uuid) -> Vec<Recipient> {
        patiently(async || self.processes[0].recipients(&self.church, message, &all()).await).await
    }
}

pub(super) fn is_cancelled(recipient: &Recipient) -> bool {
    has_code(recipient, CANCELLED)
}

fn has_code(recipient: &Recipient, code: &str) -> bool {
    recipient.state.rank == Rank::Failed && recipient.failure.as_ref().is_some_and(|it| it.code == code)
}
