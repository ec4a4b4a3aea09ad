//! Locked rows and files, calls that time out, and schema changes under running services.

use std::time::Duration;

use common::status::{MessageStatus, Rank};
use common::store::{Answer, Outcome, Overdue, Recording, Store, StoreError, StoreOptions, Wait, Webhook};
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use tests::databases::{self, Database, Kind};
use tests::{eventually, on_both_databases};
use time::OffsetDateTime;
use uuid::Uuid;

use super::church::{
    accept_all, all, church, hinted, message, now, phone, provider_id, record, state, webhook,
};

on_both_databases!(
    a_row_unreadable_to_this_version_fails_only_its_own_webhook,
    a_column_added_under_prepared_statements_causes_no_error,
);

/// webhook-ingest's two stores: one for general use, one for webhooks.
async fn stores(database: &Database) -> (Store, Store) {
    let options = StoreOptions { database_url: database.url.clone().into(), database_connections: 4 };
    let (all, webhooks) = Store::with_webhooks(&options).unwrap();
    all.migrate().await.unwrap();
    (all, webhooks)
}

/// The id of a message to one recipient that Telnyx accepted, and a webhook that reports its delivery.
async fn accepted(store: &Store, event_id: &str) -> (Uuid, Webhook) {
    let new = message("grace", 1);
    record(store, &new).await;
    let recipient = accept_all(store).await[0].recipient_id;
    (new.id, webhook(event_id, &provider_id(recipient), &phone(0), state(Rank::Delivered)))
}

async fn status(store: &Store, id: Uuid) -> MessageStatus {
    store.message(&church("grace"), id).await.unwrap().unwrap().status
}

/// Another process's transaction that holds a lock until it is dropped or rolled back.
async fn holding(database: &Database, sql: &'static str, id: Uuid) -> PgConnection {
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    other.execute("begin").await.unwrap();
    sqlx::query(sql).bind(id).execute(&mut other).await.unwrap();
    other
}

async fn a_locked_row_holds_up_no_other(lock: &'static str) {
    let database = Database::fresh(Kind::Postgres).await;
    let (store, webhooks) = stores(&database).await;
    let (locked, of_locked) = accepted(&store, "locked").await;
    let (free, of_free) = accepted(&store, "free").await;
    let mut other = holding(&database, lock, locked).await;

    let never = OffsetDateTime::UNIX_EPOCH;
    let batch = [of_locked.clone(), of_free, of_locked.clone()];
    let recorded = webhooks.record_batch(&batch, never).await.unwrap();
    let applied = Recording::Recorded(Outcome::Applied);
    assert_eq!(recorded.recordings, [Recording::Locked, applied, Recording::Locked]);
    assert_eq!(status(&store, free).await, MessageStatus::Delivered);
    assert_eq!(store.audit().await.unwrap().accepted, 1, "skipped webhooks are not written");

    // Too old to wait any longer: it is parked, and a repetition counts as a duplicate.
    let later = now() + time::Duration::hours(1);
    let recorded = webhooks.record_batch(&[of_locked.clone(), of_locked], later).await.unwrap();
    let [parked, duplicate] = [Outcome::Parked, Outcome::Duplicate].map(Recording::Recorded);
    assert_eq!(recorded.recordings, [parked, duplicate]);
    webhooks.apply_recorded(recorded).await.unwrap();
    assert_eq!(status(&store, locked).await, MessageStatus::Pending);

    other.execute("rollback").await.unwrap();
    assert_eq!(store.sweep_parked(None, 10).await.unwrap(), (1, None));
    assert_eq!(status(&store, locked).await, MessageStatus::Delivered);
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.accepted, audit.applied, audit.duplicate, audit.parked), (3, 2, 1, 0));
    assert!(audit.is_sound(), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_message_delays_no_other_and_its_webhook_is_parked() {
    a_locked_row_holds_up_no_other("select id from messages where id = $1 for update").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_recipient_delays_no_other_and_its_webhook_is_parked() {
    a_locked_row_holds_up_no_other("select id from recipients where message_id = $1 for update").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_message_does_not_delay_closing_others() {
    let database = Database::fresh(Kind::Postgres).await;
    let store = database.migrated().await;
    let (locked, _) = accepted(&store, "e1").await;
    let (free, _) = accepted(&store, "e2").await;
    // Telnyx no longer knows either of them.
    let of = async |message| store.recipients(&church("grace"), message, &all()).await.unwrap()[0].id;
    store.ask_again(&[(of(locked).await, None), (of(free).await, None)]).await.unwrap();
    let _other = holding(&database, "select id from messages where id = $1 for update", locked).await;
    let later = now() + time::Duration::hours(1);
    let overdue = Overdue { accepted_before: later, unresolved_before: later, limit: 10 };
    assert_eq!(store.close_overdue(&overdue, later).await.unwrap(), 1);
    assert_eq!(status(&store, free).await, MessageStatus::Sent);
    assert_eq!(status(&store, locked).await, MessageStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_their_parked_webhooks_do_not_deadlock() {
    let database = Database::fresh(Kind::Postgres).await;
    let (store, other) = (database.migrated().await, database.store());
    for round in 0..60 {
        let new = message("grace", 20);
        record(&store, &new).await;
        let provider = |n: usize| format!("p{round}-{n}");
        let batch: Vec<Webhook> = (0..20)
            .map(|n| webhook(&format!("e{round}-{n}"), &provider(n), &phone(n), state(Rank::Sent)))
            .collect();
        let attempts = store.begin_attempts(20, now()).await.unwrap();
        let attempt = |n: usize| attempts.iter().find(|attempt| attempt.phone == phone(n)).unwrap().id;
        let answer = |n: usize| (attempt(n), Answer::Accepted { provider_id: provider(n) });
        let answers: Vec<_> = (0..20).map(answer).collect();
        let (answering, receiving) = (store.clone(), other.clone());
        let receiving = tokio::spawn(async move { receiving.record_batch(&batch, now()).await });
        let batch = receiving.await.unwrap().unwrap();
        // The batch parked all webhooks. Now both sides need the same messages and webhooks.
        let claiming = other.clone();
        let claiming = tokio::spawn(async move { claiming.apply_recorded(batch).await });
        let answering = tokio::spawn(async move { answering.record_answers(&answers, now()).await });
        answering.await.unwrap().unwrap();
        claiming.await.unwrap().unwrap();
    }
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let deadlocks: i64 = sqlx::query_scalar(deadlocks).fetch_one(&mut connection).await.unwrap();
    assert_eq!(deadlocks, 0);
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.applied, audit.parked), (1_200, 0));
    assert!(audit.is_sound());
}

async fn execute(database: &Database, kind: Kind, sql: &str) {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    match kind {
        Kind::Postgres => {
            PgConnection::connect(&database.url).await.unwrap().execute(sql).await.unwrap();
        }
        Kind::Sqlite => {
            SqliteConnection::connect(&database.url).await.unwrap().execute(sql).await.unwrap();
        }
    }
}

async fn a_row_unreadable_to_this_version_fails_only_its_own_webhook(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (_, first) = accepted(&store, "e1").await;
    let (newer, of_newer) = accepted(&store, "e2").await;
    let (_, last) = accepted(&store, "e3").await;
    execute(&database, kind, &format!("update recipients set rank = 99 where message_id = '{newer}'")).await;

    let batch = [first, of_newer.clone(), last];
    let recorded = store.record_batch(&batch, now()).await.unwrap();
    let applied = Recording::Recorded(Outcome::Applied);
    assert_eq!(recorded.recordings, [applied, Recording::Unreadable, applied]);
    assert_eq!(store.audit().await.unwrap().accepted, 2, "Telnyx must repeat it");

    execute(&database, kind, &format!("update recipients set rank = 0 where message_id = '{newer}'")).await;
    assert_eq!(store.record_webhooks(&[of_newer]).await.unwrap(), [Outcome::Applied]);
    assert!(store.audit().await.unwrap().is_sound());
}

/// Telnyx does not repeat a webhook that was answered 200, so an unknown column type must not lead to "ignored".
#[tokio::test(flavor = "multi_thread")]
async fn a_column_with_an_unknown_type_loses_no_receipt() {
    let database = Database::fresh(Kind::Postgres).await;
    let store = database.migrated().await;
    let (message, delivered) = accepted(&store, "e1").await;
    database.execute("alter table recipients alter column tried type numeric").await;
    let recorded = store.record_batch(std::slice::from_ref(&delivered), now()).await.unwrap();
    assert_eq!(recorded.recordings, [Recording::Unreadable]);
    database.execute("alter table recipients alter column tried type bigint").await;
    assert_eq!(store.record_webhooks(&[delivered]).await.unwrap(), [Outcome::Applied]);
    assert_eq!(status(&store, message).await, MessageStatus::Delivered);
}

/// Reads and writes each table.
async fn use_everything(store: &Store, event: &str) {
    let new = message("grace", 1);
    record(store, &new).await;
    let recipient = accept_all(store).await[0].recipient_id;
    let delivered = webhook(event, &provider_id(recipient), &phone(0), state(Rank::Delivered));
    assert_eq!(store.record_webhooks(&[delivered]).await.unwrap(), [Outcome::Applied]);
    assert_eq!(status(store, new.id).await, MessageStatus::Delivered);
    assert_eq!(store.recipients(&new.church_id, new.id, &crate::church::all()).await.unwrap().len(), 1);
    assert_eq!(store.sender(&new.church_id).await.unwrap(), None);
    assert!(!store.waiting_events(1).await.unwrap().is_empty());
    let hooked = hinted(webhook(&format!("{event}-p"), "unknown", "+1", state(Rank::Sent)), Uuid::nil());
    assert_eq!(store.record_webhooks(&[hooked]).await.unwrap(), [Outcome::Parked]);
    store.sweep_parked(None, 10).await.unwrap();
}

async fn a_column_added_under_prepared_statements_causes_no_error(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    for round in 0..4 {
        use_everything(&store, &format!("before-{round}")).await;
    }
    for table in
        ["messages", "recipients", "webhooks", "outbox", "senders", "idempotency_keys", "revocations"]
    {
        execute(&database, kind, &format!("alter table {table} add column added text")).await;
    }
    for round in 0..4 {
        use_everything(&store, &format!("after-{round}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_type_change_under_prepared_statements_causes_no_error() {
    let database = Database::fresh(Kind::Postgres).await;
    let store = database.migrated().await;
    for round in 0..8 {
        use_everything(&store, &format!("before-{round}")).await;
    }
    execute(&database, Kind::Postgres, "alter table messages alter column content type varchar").await;
    execute(&database, Kind::Postgres, "alter table recipients alter column phone type varchar").await;
    for round in 0..8 {
        use_everything(&store, &format!("after-{round}")).await;
    }
}

fn waited_for<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Wait {
    match result {
        Err(StoreError::TimedOut { waited_for, .. }) => waited_for,
        other => panic!("it should have timed out: {other:?}"),
    }
}

const SOON: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_timed_out_call_says_what_it_waited_for_and_closes_its_connection() {
    let database = Database::fresh(Kind::Postgres).await;
    database.migrated().await;
    let options = StoreOptions { database_url: database.url.clone().into(), database_connections: 1 };
    let store = Store::new(&options).unwrap();
    let (locked, of_locked) = accepted(&store, "e1").await;
    let grace = church("grace");
    let mut other = holding(&database, "select id from messages where id = $1 for update", locked).await;
    let hasty = store.within(SOON);
    // On a busy machine a new connection can take longer than such a call may wait.
    let connected = async || store.sender(&grace).await.unwrap();
    eventually("a call gives up on the lock of a row", async || {
        connected().await;
        let told = hasty.record_webhooks(std::slice::from_ref(&of_locked)).await;
        (waited_for(told) == Wait::RowLocks).then_some(())
    })
    .await;
    other.execute("lock table messages in access exclusive mode").await.unwrap();
    let says = eventually("a call gives up on the answer", async || {
        connected().await;
        let told = hasty.message(&grace, locked).await;
        let says = told.as_ref().unwrap_err().to_string();
        (waited_for(told) == Wait::Answer).then_some(says)
    })
    .await;
    assert_eq!(says, "no answer from the database within 300ms");
    // Each time the only connection was closed, not returned while the database still works on it.
    assert_eq!(store.sender(&grace).await.unwrap(), None);

    let patient = store.clone();
    let waiting = tokio::spawn(async move { patient.message(&church("grace"), locked).await });
    eventually("the connection is in use", async || match hasty.sender(&grace).await {
        Err(StoreError::TimedOut { waited_for: Wait::Connection, .. }) => Some(()),
        _ => None,
    })
    .await;
    other.execute("rollback").await.unwrap();
    assert!(waiting.await.unwrap().unwrap().is_some(), "a call with a longer limit waits");
    assert_eq!(store.record_webhooks(&[of_locked]).await.unwrap(), [Outcome::Applied]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_timed_out_on_the_sqlite_lock_says_so_and_a_longer_one_waits() {
    let database = Database::fresh(Kind::Sqlite).await;
    let store = database.migrated().await;
    let mut other = SqliteConnection::connect(&database.url).await.unwrap();
    other.execute("begin immediate").await.unwrap();
    let new = message("grace", 1);
    let told = store.within(SOON).record_message(&new, None).await;
    assert_eq!(waited_for(told), Wait::WriteLock);
    let patient = store.clone();
    let waiting = tokio::spawn(async move { patient.record_message(&message("grace", 1), None).await });
    let hasty = store.within(SOON);
    eventually("the other write has the connection, and waits", async || {
        (waited_for(hasty.record_message(&new, None).await) == Wait::Connection).then_some(())
    })
    .await;
    other.execute("rollback").await.unwrap();
    waiting.await.unwrap().unwrap();
    record(&store, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_have_database_connections_of_their_own() {
    let database = Database::fresh(Kind::Postgres).await;
    let (store, webhooks) = stores(&database).await;
    let (_, delivered) = accepted(&store, "e1").await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    other.execute("begin; lock table senders in access exclusive mode").await.unwrap();
    let greedy: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.sender(&church("grace")).await })
        })
        .collect();
    let hasty = store.within(SOON);
    eventually("all other connections are in use", async || match hasty.ping().await {
        Err(StoreError::TimedOut { waited_for: Wait::Connection, .. }) => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(webhooks.record_webhooks(&[delivered]).await.unwrap(), [Outcome::Applied]);
    other.execute("rollback").await.unwrap();
    for call in greedy {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_not_bound_by_the_statement_timeout() {
    let database = Database::fresh(Kind::Postgres).await;
    let slow = "create function slow() returns event_trigger language plpgsql as $$
        begin
            if to_regclass('messages') is not null and to_regclass('recipients') is null then
                perform pg_sleep(11);
            end if;
        end $$;
        create event trigger slow on ddl_command_end when tag in ('CREATE TABLE') execute function slow()";
    execute(&database, Kind::Postgres, slow).await;
    let stores = [database.store(), database.store()];
    let [first, second] = stores.map(|store| tokio::spawn(async move { store.migrate().await }));
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    record(&database.store(), &message("grace", 1)).await;
}

/// Waits until a statement in this database waits for another transaction's lock.
pub(crate) async fn until_waiting_for_a_lock(database: &Database) {
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    eventually("a statement waits for a lock", async || {
        (databases::number(&database.url, waiting).await > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_recipient_does_not_delay_the_claim_of_others() {
    let database = Database::fresh(Kind::Postgres).await;
    let store = database.migrated().await;
    let new = message("grace", 3);
    record(&store, &new).await;
    let locked = new.recipients[1].id;
    let mut other = holding(&database, "select id from recipients where id = $1 for update", locked).await;
    let claimed = store.begin_attempts(10, now()).await.unwrap();
    let free = [new.recipients[0].id, new.recipients[2].id];
    assert_eq!(claimed.iter().map(|attempt| attempt.recipient_id).collect::<Vec<_>>(), free);
    other.execute("rollback").await.unwrap();
    let claimed = store.begin_attempts(10, now()).await.unwrap();
    assert_eq!(claimed.iter().map(|attempt| attempt.recipient_id).collect::<Vec<_>>(), [locked]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_refused_during_a_retry_of_others_is_kept() {
    const REFUSE: &str = "insert into refused_events
        select $1, $1, 1, false, 'church.grace.sent', '{}', now(), now(), 'too large'";
    let database = Database::fresh(Kind::Postgres).await;
    let store = database.migrated().await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let mut admin = PgConnection::connect(&database.url).await.unwrap();
    sqlx::query(REFUSE).bind(first).execute(&mut admin).await.unwrap();
    let mut other =
        holding(&database, "select 1 from refused_events where event_id = $1 for update", first).await;
    let retrying = store.clone();
    let retry = tokio::spawn(async move { retrying.retry_refused(None).await });
    until_waiting_for_a_lock(&database).await;
    sqlx::query(REFUSE).bind(second).execute(&mut admin).await.unwrap();
    other.execute("rollback").await.unwrap();
    assert_eq!(retry.await.unwrap().unwrap(), 1);
    let kept = store.refused_events(10).await.unwrap();
    assert_eq!(kept.iter().map(|event| event.event_id).collect::<Vec<_>>(), [second]);
}
