//! What the two processes do: claim, post, record.

use common::store::{Answer, Attempt, Failure, Setback};
use proptest::prelude::*;
use time::Duration;
use uuid::Uuid;

use super::world::{GIVEN_UP_AFTER, World};
use super::{Commit, Reply};
use crate::church::patiently;

impl World<'_> {
    pub(super) async fn claim(
        &mut self,
        process: usize,
        limit: u32,
        commit: Commit,
    ) -> Result<(), TestCaseError> {
        let store = &self.processes[process];
        let attempts = patiently(async || store.begin_attempts(limit, self.now).await).await;
        // By now each claim with an unknown outcome was read back or has a final status.
        let read_back = std::mem::take(&mut self.doubted[process]);
        let is_new = |attempt: &&Attempt| !read_back.contains(&attempt.recipient_id);
        for attempt in attempts.iter().filter(is_new) {
            let (_, message) = &self.recipients[&attempt.recipient_id];
            prop_assert!(!self.cancelled.contains(message), "claimed after the cancel: {attempt:?}");
            self.attempted.insert(attempt.recipient_id, self.now);
        }
        if commit == Commit::Lost {
            self.processes[process].reread_claim(&attempts);
            self.doubted[process].extend(attempts.iter().map(|attempt| attempt.recipient_id));
        } else {
            self.claimed.extend(attempts.into_iter().map(|attempt| (process, attempt)));
        }
        Ok(())
    }

    pub(super) fn post(
        &mut self,
        process: usize,
        attempt: &Attempt,
        reply: Reply,
    ) -> Result<(), TestCaseError> {
        let recipient = attempt.recipient_id;
        if matches!(reply, Reply::Accept | Reply::Lose) {
            let taken = self.book.entry(recipient).or_default();
            taken.push(Uuid::now_v7().to_string());
            prop_assert!(taken.len() == 1, "{recipient} is in the book twice");
        }
        let answer = match reply {
            Reply::Accept => Answer::Accepted { provider_id: self.book[&recipient][0].clone() },
            Reply::Lose | Reply::Drop => Answer::Unresolved,
            Reply::Throttle => Answer::NotAccepted { again_at: self.now, setback: None },
            Reply::HoldSender => Answer::NotAccepted { again_at: self.now, setback: Some(setback()) },
            Reply::Refuse => refused("40310"),
            Reply::RefuseForNow => refused("40318"),
        };
        let is_over = matches!(reply, Reply::Drop | Reply::Refuse | Reply::RefuseForNow);
        // What Telnyx did not accept is not sent again once the message is cancelled.
        if is_over || self.cancelled.contains(&self.recipients[&recipient].1) {
            self.excused.insert(recipient);
        }
        self.answers.push((process, attempt.id, answer));
        Ok(())
    }

    pub(super) async fn record(&self, index: usize) {
        let (process, attempt, answer) = &self.answers[index];
        let (store, answer) = (&self.processes[*process], [(*attempt, answer.clone())]);
        patiently(async || store.record_answers(&answer, self.now).await).await;
    }

    /// Marks attempts that were posted or answered only after the suite had given them up.
    pub(super) fn excuse_what_is_given_up(&mut self) {
        let is_late = |id: &Uuid| self.attempted.get(id).is_some_and(|at| *at < self.now - GIVEN_UP_AFTER);
        let late: Vec<Uuid> = self.under_way().filter(is_late).collect();
        self.excused.extend(late);
    }

    /// Recipients whose attempt is not answered yet, or whose answer is not recorded.
    pub(super) fn under_way(&self) -> impl Iterator<Item = Uuid> {
        let claimed = self.claimed.iter().map(|(_, attempt)| attempt.recipient_id);
        let answered = self.answers.iter().map(|(_, attempt, _)| attempt.recipient_id);
        claimed.chain(answered).chain(self.doubted.iter().flatten().copied())
    }
}

fn setback() -> Setback {
    let wait = Duration::minutes(3);
    Setback { reason: "throttled".into(), first: wait, longest: wait, until: None }
}

fn refused(code: &str) -> Answer {
    Answer::Refused(Failure { code: code.into(), reason: "no phone".into() })
}
