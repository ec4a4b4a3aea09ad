//! Telnyx's answers to attempts.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use uuid::Uuid;

use super::pace::Pace;
use super::paces::{lock_paces, save_paces};
use crate::store::book::{AnsweredAttempt, Book, Verdict};
use crate::store::database::Database;
use crate::store::failures::StoreError;
use crate::store::handle::{Store, dispatch};
use crate::store::ledger::{Ledger, Locking};
use crate::store::new_events::NewEvents;
use crate::store::parked::{apply_parked, find_parked};
use crate::store::records::{Answer, AttemptId};
use crate::store::session::end;

impl Store {
    /// Records Telnyx's answers to attempts, and applies parked webhooks for the provider ids that the answers bring.
    /// An answer whose attempt has ended changes nothing, so it may be recorded again.
    ///
    /// # Errors
    /// The database is away. The answers may be recorded all the same.
    pub async fn record_answers(
        &self,
        answers: &[(AttemptId, Answer)],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        if answers.is_empty() {
            return Ok(());
        }
        let events = dispatch!(self, db => record(db, answers, now).await)?;
        self.committed(&events);
        Ok(())
    }
}

/// Records answers; each changes only the attempt that it belongs to. Returns the new events.
async fn record<D: Database>(
    db: &D,
    answers: &[(AttemptId, Answer)],
    now: OffsetDateTime,
) -> Result<NewEvents, StoreError> {
    let mut tx = db.begin().await?;
    let recorded = apply_answers(&mut tx, answers, now).await;
    end(tx, recorded).await
}

async fn apply_answers<L: Ledger>(
    tx: &mut L,
    answers: &[(AttemptId, Answer)],
    now: OffsetDateTime,
) -> Result<NewEvents, StoreError> {
    let ids: Vec<Uuid> = answers.iter().map(|(id, _)| id.recipient_id).collect();
    let accepted: Vec<&str> = answers.iter().filter_map(|(_, answer)| accepted_id(answer)).collect();
    let parked = find_parked(tx, &accepted).await?;
    let mut book = Book::open(tx, &accepted, &ids, Locking::Wait).await?;
    let answered: Vec<AnsweredAttempt<'_>> =
        answers.iter().filter_map(|(id, answer)| book.answer(*id, answer, now)).collect();
    apply_parked(tx, &mut book, parked).await?;
    let paces = pace_of_answers(tx, &mut book, &answered, now).await?;
    let events = book.close(tx).await?;
    save_paces(tx, &paces).await?;
    Ok(events)
}

/// Applies the answers to the paces of their senders. A recipient that was not accepted waits as long as its sender.
async fn pace_of_answers<L: Ledger>(
    tx: &mut L,
    book: &mut Book,
    answered: &[AnsweredAttempt<'_>],
    now: OffsetDateTime,
) -> Result<Vec<Pace>, StoreError> {
    let mut by_sender: BTreeMap<&str, Vec<&AnsweredAttempt<'_>>> = BTreeMap::new();
    for one in answered {
        by_sender.entry(&one.sender).or_default().push(one);
    }
    if by_sender.is_empty() {
        return Ok(Vec::new());
    }
    let mut paces = lock_paces(tx, &Vec::from_iter(by_sender.keys().copied())).await?;
    for pace in &mut paces {
        let of_sender = by_sender.get(pace.sender.as_str()).into_iter().flatten();
        for one in of_sender.clone() {
            match one.verdict {
                Verdict::Served => pace.served(one.attempted_at, now),
                Verdict::SetBack(setback) => pace.set_back(setback, one.attempted_at, now),
                Verdict::Nothing => pace.tried(one.attempted_at, now),
            }
        }
        if let Some(until) = pace.held_until {
            of_sender
                .filter(|one| matches!(one.verdict, Verdict::SetBack(_)))
                .for_each(|one| book.delay(one.recipient_id, until));
        }
    }
    Ok(paces)
}

fn accepted_id(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Accepted { provider_id } => Some(provider_id),
        _ => None,
    }
}
