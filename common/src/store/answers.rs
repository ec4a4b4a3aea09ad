//! What becomes of attempts: Telnyx's answers, and waiting that comes to its end.

use time::OffsetDateTime;
use uuid::Uuid;

use super::book::Book;
use super::ledger::{Database, Ledger, Locking, end};
use super::news::News;
use super::webhooks::settle;
use super::{Answer, Overdue, StoreError};

/// Records what became of attempts. Returns what is news.
pub(super) async fn record_answers<D: Database>(
    database: &D,
    answers: &[(Uuid, Answer)],
    now: OffsetDateTime,
) -> Result<News, StoreError> {
    let mut ledger = database.begin().await?;
    let recorded = answered(&mut ledger, answers, now).await;
    end(ledger, recorded).await
}

async fn answered<L: Ledger>(
    ledger: &mut L,
    answers: &[(Uuid, Answer)],
    now: OffsetDateTime,
) -> Result<News, StoreError> {
    let ids: Vec<Uuid> = answers.iter().map(|(id, _)| *id).collect();
    let accepted: Vec<&str> = answers.iter().filter_map(|(_, answer)| accepted_id(answer)).collect();
    let parked = ledger.parked_for(&accepted).await?;
    let mut book = Book::open(ledger, &accepted, &ids, Locking::Wait).await?;
    for (id, answer) in answers {
        book.answer(*id, answer, now);
    }
    settle(ledger, &mut book, parked).await?;
    book.close(ledger).await
}

fn accepted_id(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Accepted { provider_id } => Some(provider_id),
        _ => None,
    }
}

/// Closes or fails what waits too long; what is locked waits for the next round. Returns how many recipients, and
/// what is news.
pub(super) async fn close_overdue<D: Database>(
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
