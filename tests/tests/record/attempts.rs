//! Attempt ids: answers recorded twice, claims whose commit outcome is unknown, recipients with a Telnyx id.

use common::status::{MessageStatus, Rank};
use common::store::{Answer, Attempt, Failure, Outcome, Recorded, Store, StoreError};
use sqlx::Connection as _;
use tests::databases::{Database, Kind};
use tests::proxy::Proxy;
use tests::{eventually, on_both_databases};
use time::Duration;

use super::church::{accept_all, hinted, message, now, phone, provider_id, record, state, webhook};

on_both_databases!(
    an_answer_recorded_again_after_a_newer_attempt_changes_nothing,
    an_answer_to_an_earlier_attempt_does_not_touch_a_later_one,
    a_recipient_with_a_telnyx_id_is_never_due,
    a_constraint_forbids_a_due_recipient_with_a_telnyx_id,
    a_claim_with_an_unknown_outcome_is_read_back_once,
    reading_back_a_claim_skips_recipients_with_a_telnyx_id,
);

async fn begin(store: &Store) -> Attempt {
    let mut attempts = store.begin_attempts(1, now()).await.unwrap();
    attempts.pop().expect("one is due")
}

fn not_accepted() -> Answer {
    Answer::NotAccepted { again_at: now(), setback: None }
}

fn accepted(attempt: &Attempt) -> Answer {
    Answer::Accepted { provider_id: provider_id(attempt.recipient_id) }
}

/// The first process records an answer, and its commit is not acknowledged. The second process begins a new attempt.
/// Then the first process records its answer again.
async fn an_answer_recorded_again_after_a_newer_attempt_changes_nothing(kind: Kind) {
    let database = Database::fresh(kind).await;
    let (first, second) = (database.migrated().await, database.store());
    record(&first, &message("grace", 1)).await;
    let attempt = begin(&first).await;
    let answer = [(attempt.id, not_accepted())];
    first.record_answers(&answer, now()).await.unwrap();
    let anew = begin(&second).await;
    assert_eq!(anew.recipient_id, attempt.recipient_id);
    first.record_answers(&answer, now()).await.unwrap();
    let day = now() + Duration::days(1);
    assert!(first.begin_attempts(1, day).await.unwrap().is_empty(), "it would be posted again");
    second.record_answers(&[(anew.id, accepted(&anew))], now()).await.unwrap();
    first.record_answers(&answer, now()).await.unwrap();
    assert!(first.begin_attempts(1, day).await.unwrap().is_empty());
}

async fn an_answer_to_an_earlier_attempt_does_not_touch_a_later_one(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let attempt = begin(&store).await;
    store.record_answers(&[(attempt.id, not_accepted())], now()).await.unwrap();
    begin(&store).await;
    let failure = Failure { code: "40310".into(), reason: "no".into() };
    for answer in [Answer::Refused(failure), accepted(&attempt)] {
        store.record_answers(&[(attempt.id, answer)], now()).await.unwrap();
    }
    let read = store.message(&new.church_id, new.id).await.unwrap().unwrap();
    assert_eq!((read.status, read.version, read.sent_at), (MessageStatus::Pending, 1, None));
}

async fn a_recipient_with_a_telnyx_id_is_never_due(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &message("grace", 1)).await;
    let attempt = begin(&store).await;
    store.record_answers(&[(attempt.id, not_accepted())], now()).await.unwrap();
    // Telnyx had accepted the first attempt after all: its webhook comes while the recipient waits for the second
    // attempt.
    let hook = hinted(webhook("e1", "p1", &phone(0), state(Rank::Sent)), attempt.recipient_id);
    assert_eq!(store.record_webhooks(&[hook]).await.unwrap(), [Outcome::Applied]);
    assert_eq!(store.next_attempt_at().await.unwrap(), None);
    assert!(store.begin_attempts(1, now() + Duration::days(1)).await.unwrap().is_empty());
}

/// The migration adds the constraint in both databases without rebuilding the table.
async fn a_constraint_forbids_a_due_recipient_with_a_telnyx_id(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &message("grace", 1)).await;
    accept_all(&store).await;
    const TAKE_BACK: &str = "update recipients set attempted_at = null";
    let refused = match kind {
        Kind::Sqlite => {
            let mut connection = sqlx::SqliteConnection::connect(&database.url).await.unwrap();
            sqlx::query(TAKE_BACK).execute(&mut connection).await.map(|_| ())
        }
        Kind::Postgres => {
            let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
            sqlx::query(TAKE_BACK).execute(&mut connection).await.map(|_| ())
        }
    };
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("recipients_known_is_attempted"), "{error}");
}

async fn a_claim_with_an_unknown_outcome_is_read_back_once(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &message("grace", 5)).await;
    let taken = store.begin_attempts(3, now()).await.unwrap();
    store.reread_claim(&taken);
    let mut read = store.begin_attempts(1, now()).await.unwrap();
    let order = |attempts: &mut Vec<Attempt>| attempts.sort_by_key(|attempt| attempt.recipient_id);
    let mut expected = taken.clone();
    order(&mut read);
    order(&mut expected);
    assert_eq!(read, expected, "the whole claim, whatever the limit");
    assert_eq!(store.begin_attempts(9, now()).await.unwrap().len(), 2, "then other due recipients");
    // Reading back a claim that was never committed returns nothing.
    let mut never = taken;
    never.iter_mut().for_each(|attempt| attempt.id.claim_id = uuid::Uuid::now_v7());
    store.reread_claim(&never);
    assert!(store.begin_attempts(9, now()).await.unwrap().is_empty());
}

async fn reading_back_a_claim_skips_recipients_with_a_telnyx_id(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &message("grace", 2)).await;
    let taken = store.begin_attempts(2, now()).await.unwrap();
    let hook = |attempt: &Attempt| {
        hinted(webhook("e1", "p1", &attempt.phone, state(Rank::Sent)), attempt.recipient_id)
    };
    store.record_webhooks(&[hook(&taken[0])]).await.unwrap();
    store.reread_claim(&taken);
    let read = store.begin_attempts(2, now()).await.unwrap();
    assert_eq!(read.iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [taken[1].id]);
}

/// PostgreSQL behind a proxy that can lose the acknowledgement of a commit.
async fn behind_a_proxy() -> (Database, Store, Proxy, Store) {
    let database = Database::fresh(Kind::Postgres).await;
    let store = database.migrated().await;
    let (proxy, through) = Proxy::to_postgres(&database.url).await;
    (database, store, proxy, Database::named(&through))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_postgres_commit_lost_its_answer_is_read_back() {
    let (_database, store, proxy, behind) = behind_a_proxy().await;
    record(&store, &message("grace", 3)).await;
    behind.ping().await.unwrap();
    proxy.lose_the_answer_to("COMMIT");
    let lost = behind.begin_attempts(3, now()).await;
    assert!(matches!(lost, Err(StoreError::OutcomeUnknown(_))), "{lost:?}");
    assert!(store.begin_attempts(3, now()).await.unwrap().is_empty(), "it was committed");
    let read = eventually("it is read back", async || behind.begin_attempts(1, now()).await.ok()).await;
    assert_eq!(read.len(), 3);
    assert!(behind.begin_attempts(3, now()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_commit_answer_is_outcome_unknown_and_a_key_finds_the_message() {
    let (_database, store, proxy, behind) = behind_a_proxy().await;
    let new = message("grace", 1);
    let key = common::store::IdempotencyKey { key: "press".into(), body_digest: b"x".to_vec() };
    behind.ping().await.unwrap();
    proxy.lose_the_answer_to("COMMIT");
    let lost = behind.record_message(&new, Some(&key)).await;
    assert!(matches!(lost, Err(StoreError::OutcomeUnknown(_))), "{lost:?}");
    assert!(store.message(&new.church_id, new.id).await.unwrap().is_some(), "it was recorded");
    let again = message("grace", 1);
    let repeated =
        eventually("the store answers", async || behind.record_message(&again, Some(&key)).await.ok()).await;
    assert!(matches!(repeated, Recorded::Repeated(first) if first.id == new.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_exceeds_the_call_limit_is_outcome_unknown() {
    const SLOW: &str = "
        create function wait_for_the_test() returns trigger language plpgsql as $$ begin
            perform set_config('lock_timeout', '60s', true), pg_advisory_xact_lock(1);
            return null;
        end $$;
        create constraint trigger slow after insert on messages deferrable initially deferred
            for each row execute function wait_for_the_test()";
    let database = Database::fresh(Kind::Postgres).await;
    let store = database.migrated().await;
    let mut other = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql(SLOW).execute(&mut other).await.unwrap();
    sqlx::query("select pg_advisory_lock(1)").execute(&mut other).await.unwrap();
    let new = message("grace", 1);
    let open = store.within(std::time::Duration::from_secs(3)).record_message(&new, None).await;
    assert!(matches!(open, Err(StoreError::OutcomeUnknown(_))), "{open:?}");
    other.close().await.unwrap();
    eventually("the commit succeeds later", async || {
        store.message(&new.church_id, new.id).await.ok().flatten()
    })
    .await;
}
