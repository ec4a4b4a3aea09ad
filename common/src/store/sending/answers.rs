//! What becomes of attempts: Telnyx's answers, and waiting that comes to its end.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::claims::Claims;
use super::pace::Pace;
use crate::store::book::{Book, Said, Turned};
use crate::store::ledger::{Database, Ledger, Locking, end, leave};
use crate::store::new_events::News;
use crate::store::webhooks::settle;
use crate::store::{Answer, AttemptId, Failure, Overdue, StoreError};

/// The failure code of a recipient whose message was held back until it was too late.
const NOT_SENT: &str = "not_sent";

/// Records what became of attempts: an answer changes exactly the attempt it belongs to. Returns what is news.
pub(in crate::store) async fn record_answers<D: Database>(
    database: &D,
    answers: &[(AttemptId, Answer)],
    now: OffsetDateTime,
) -> Result<News, StoreError>
where
    D::Tx: Claims,
{
    let mut ledger = database.begin().await?;
    let recorded = answered(&mut ledger, answers, now).await;
    end(ledger, recorded).await
}

async fn answered<L: Claims>(
    ledger: &mut L,
    answers: &[(AttemptId, Answer)],
    now: OffsetDateTime,
) -> Result<News, StoreError> {
    let ids: Vec<Uuid> = answers.iter().map(|(id, _)| id.recipient_id).collect();
    let accepted: Vec<&str> = answers.iter().filter_map(|(_, answer)| accepted_id(answer)).collect();
    let parked = ledger.parked_for(&accepted).await?;
    let mut book = Book::open(ledger, &accepted, &ids, Locking::Wait).await?;
    let turned: Vec<Turned<'_>> =
        answers.iter().filter_map(|(id, answer)| book.answer(*id, answer, now)).collect();
    settle(ledger, &mut book, parked).await?;
    let paces = pace_of_answers(ledger, &mut book, &turned, now).await?;
    let news = book.close(ledger).await?;
    ledger.save_paces(&paces).await?;
    Ok(news)
}

/// What the answers say of their senders. A recipient that was not accepted waits as long as its sender.
async fn pace_of_answers<L: Claims>(
    ledger: &mut L,
    book: &mut Book,
    turned: &[Turned<'_>],
    now: OffsetDateTime,
) -> Result<Vec<Pace>, StoreError> {
    let mut by_sender: BTreeMap<&str, Vec<&Turned<'_>>> = BTreeMap::new();
    for one in turned {
        by_sender.entry(&one.sender).or_default().push(one);
    }
    if by_sender.is_empty() {
        return Ok(Vec::new());
    }
    let mut paces = ledger.lock_paces(&Vec::from_iter(by_sender.keys().copied())).await?;
    for pace in &mut paces {
        let of_sender = by_sender.get(pace.sender.as_str()).into_iter().flatten();
        for one in of_sender.clone() {
            match one.said {
                Said::Served => pace.served(one.attempted_at, now),
                Said::SetBack(setback) => pace.set_back(setback, one.attempted_at, now),
                Said::Nothing => pace.tried(one.attempted_at, now),
            }
        }
        if let Some(until) = pace.held_until {
            of_sender
                .filter(|one| matches!(one.said, Said::SetBack(_)))
                .for_each(|one| book.put_off(one.recipient_id, until));
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

/// Closes or fails what waits too long; what is locked waits for the next round. Returns how many recipients, and
/// what is news.
pub(in crate::store) async fn close_overdue<D: Database>(
    database: &D,
    overdue: &Overdue,
    now: OffsetDateTime,
) -> Result<(usize, News), StoreError> {
    let mut locking = Locking::Wait;
    loop {
        let mut ledger = database.begin().await?;
        let closed = overdue_closed(&mut ledger, overdue, now, locking).await;
        match end(ledger, closed).await {
            Err(error) if error.is_row_lock() && locking == Locking::Wait => locking = Locking::SkipLocked,
            closed => return closed,
        }
    }
}

async fn overdue_closed<L: Ledger>(
    ledger: &mut L,
    overdue: &Overdue,
    now: OffsetDateTime,
    locking: Locking,
) -> Result<(usize, News), StoreError> {
    let ids: Vec<Uuid> = ledger.find_overdue(overdue).await?.iter().map(|row| row.id).collect();
    let mut book = Book::open(ledger, &[], &ids, locking).await?;
    let closed = ids.iter().filter(|id| book.end_waiting(**id, overdue, now)).count();
    Ok((closed, book.close(ledger).await?))
}

/// Fails what a pause or a back-off held back for longer than `held_for`; what is locked waits for the next round.
/// Returns how many, and what is news.
pub(in crate::store) async fn fail_unsent<D: Database>(
    database: &D,
    held_for: Duration,
    limit: u32,
    now: OffsetDateTime,
) -> Result<(usize, News), StoreError>
where
    D::Tx: Claims,
{
    let mut ledger = database.begin_reading().await?;
    let late = held_back(&mut ledger, now - held_for, limit).await;
    let late = leave(ledger, late).await?;
    if late.is_empty() {
        return Ok((0, News::default()));
    }
    let not_sent = Failure {
        code: NOT_SENT.into(),
        reason: "The text was held back for too long and was not sent.".into(),
    };
    match fail_waiting(database, &late, &not_sent, now, Locking::Wait).await {
        Err(error) if error.is_row_lock() => {
            fail_waiting(database, &late, &not_sent, now, Locking::SkipLocked).await
        }
        failed => failed,
    }
}

/// Fails those of these recipients that still wait to be sent a text. Returns how many, and what is news.
pub(in crate::store) async fn fail_waiting<D: Database>(
    database: &D,
    ids: &[Uuid],
    failure: &Failure,
    now: OffsetDateTime,
    locking: Locking,
) -> Result<(usize, News), StoreError> {
    let mut ledger = database.begin().await?;
    let failed = waiting_failed(&mut ledger, ids, failure, now, locking).await;
    end(ledger, failed).await
}

async fn waiting_failed<L: Ledger>(
    ledger: &mut L,
    ids: &[Uuid],
    failure: &Failure,
    now: OffsetDateTime,
    locking: Locking,
) -> Result<(usize, News), StoreError> {
    let mut book = Book::open(ledger, &[], ids, locking).await?;
    let failed = ids.iter().filter(|id| book.give_up(**id, failure, now)).count();
    Ok((failed, book.close(ledger).await?))
}

/// Recipients that were to be sent before this moment and whose senders were held back since.
async fn held_back<L: Claims>(
    ledger: &mut L,
    before: OffsetDateTime,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    let waiting = ledger.waiting_senders().await?;
    let names: Vec<&str> = waiting.iter().map(|waiting| waiting.sender.as_str()).collect();
    let paces = ledger.read_paces(&names).await?;
    let mut late = Vec::new();
    for name in names {
        let pace = paces.iter().find(|pace| pace.sender == name);
        if pace.is_none_or(|pace| pace.is_stuck_since(before)) {
            late.extend(ledger.waiting_since(name, before, limit).await?);
        }
        if late.len() >= limit as usize {
            break;
        }
    }
    Ok(late)
}
