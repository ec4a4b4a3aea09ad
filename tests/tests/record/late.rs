//! PostgreSQL answers a commit only after its caller has given up: a claim, and an answer of Telnyx.

use std::time::Duration;

use common::store::{Answer, Attempt, Store, StoreError};
use tests::databases::{Database, Kind};
use tests::eventually;
use tests::gate::{Gate, Step};

use super::church::{message, now, provider_id, record};

/// Longer than a call needs, and shorter than the server lets a statement run.
const LIMIT: Duration = Duration::from_secs(5);

async fn begin(store: &Store, limit: u32) -> Vec<Attempt> {
    eventually("the store can claim", async || store.begin_attempts(limit, now()).await.ok()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_committed_too_late_is_read_back() {
    let database = Database::fresh(Kind::Postgres).await;
    let (store, other) = (database.migrated().await, database.store());
    record(&store, &message("grace", 3)).await;
    let mut gate = Gate::close(&database.url, Step::Claim).await;
    let impatient = store.within(LIMIT);
    let (claimed, ()) = tokio::join!(impatient.begin_attempts(3, now()), gate.until_reached());
    assert!(matches!(claimed, Err(StoreError::OutcomeUnknown(_))), "{claimed:?}");
    gate.open().await;
    assert_eq!(begin(&store, 1).await.len(), 3, "all of it, by the process that made it");
    assert!(begin(&other, 3).await.is_empty());
    assert!(begin(&store, 3).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_never_committed_is_made_again() {
    let database = Database::fresh(Kind::Postgres).await;
    let (store, other) = (database.migrated().await, database.store());
    record(&store, &message("grace", 3)).await;
    let mut gate = Gate::close(&database.url, Step::Claim).await;
    let impatient = store.within(LIMIT);
    let (claimed, gate) = tokio::join!(impatient.begin_attempts(3, now()), async {
        gate.until_reached().await;
        gate
    });
    assert!(matches!(claimed, Err(StoreError::OutcomeUnknown(_))), "{claimed:?}");
    gate.undo().await;
    assert_eq!(begin(&other, 9).await.len(), 3, "nothing of it stands");
    assert!(begin(&store, 3).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_committed_too_late_may_be_recorded_again() {
    let database = Database::fresh(Kind::Postgres).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let attempt = begin(&store, 1).await.swap_remove(0);
    let answers = [(attempt.id, Answer::Accepted { provider_id: provider_id(attempt.recipient_id) })];
    let mut gate = Gate::close(&database.url, Step::Accepted).await;
    let impatient = store.within(LIMIT);
    let (recorded, ()) = tokio::join!(impatient.record_answers(&answers, now()), gate.until_reached());
    assert!(matches!(recorded, Err(StoreError::OutcomeUnknown(_))), "{recorded:?}");
    gate.open().await;
    let stands = async || store.message(&new.church_id, new.id).await.ok().flatten()?.sent_at;
    let sent_at = eventually("the first one stands", stands).await;
    eventually("it is recorded again", async || store.record_answers(&answers, now()).await.ok()).await;
    assert_eq!(stands().await, Some(sent_at));
    assert!(begin(&store, 1).await.is_empty());
}
