//! The large indexes of PostgreSQL are built while services work.

use common::service::{Health, Weight};
use common::status::MessageStatus;
use common::store::{FailureQuery, HistoryQuery, Store};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tests::databases::{self, Database, Kind};
use tests::eventually;
use tests::load::filling::{Amount, fill};
use tests::load::record::church_id;
use time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::church::{accept_all, message, now, record};
use super::locks::until_waiting_for_a_lock;
use super::readiness::readiness;

/// A database with a schema, but without its large indexes.
async fn unindexed() -> (Database, Store) {
    let database = Database::fresh(Kind::Postgres).await;
    let store = database.migrated().await;
    (database, store)
}

async fn missing(store: &Store) -> Vec<&'static str> {
    store.missing_indexes().await.unwrap().iter().map(|index| index.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_index_is_built_anew() {
    let (database, store) = unindexed().await;
    store.build_indexes().await.unwrap();
    assert_eq!(missing(&store).await, [""; 0]);
    for _ in 0..2 {
        record(&store, &message("grace", 1)).await;
    }
    database.execute("drop index messages_status").await;
    // It fails at the second message, and leaves an invalid index of another form behind.
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let unique = "create unique index concurrently messages_status on messages (church_id)";
    other.execute(unique).await.unwrap_err();
    assert_eq!(missing(&store).await, ["messages_status"]);

    store.build_indexes().await.unwrap();
    assert_eq!(missing(&store).await, [""; 0]);
    record(&store, &message("grace", 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_together_build_each_index_once() {
    let (database, _) = unindexed().await;
    let counting = "create table built (name text);
        create function count_index() returns event_trigger language plpgsql as $$
        begin
            insert into built select object_identity from pg_event_trigger_ddl_commands();
        end $$;
        create event trigger counting on ddl_command_end when tag in ('CREATE INDEX') execute function count_index()";
    database.execute(counting).await;
    let starts = (0..3).map(|_| {
        let store = database.store();
        tokio::spawn(async move { store.build_indexes().await })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().unwrap();
    }
    let built = databases::number(&database.url, "select count(*) from built").await;
    let indexes = databases::number(&database.url, "select count(distinct name) from built").await;
    assert_eq!((built, indexes), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_built_holds_up_no_other() {
    let (database, store) = unindexed().await;
    database.execute("create view messages_status as select 1").await;
    store.build_indexes().await.unwrap_err();
    assert_eq!(missing(&store).await, ["messages_status"]);
    database.execute("drop view messages_status").await;
    store.build_indexes().await.unwrap();
    assert_eq!(missing(&store).await, [""; 0]);
}

/// A transaction that has written to messages, and for which a build waits.
async fn long_transaction(database: &Database) -> PgConnection {
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    other.execute("begin; lock table messages in row exclusive mode").await.unwrap();
    other
}

/// Starts a service's care for the database, until it is ready and its build waits.
async fn start(database: &Database, store: &Store) -> (CancellationToken, JoinHandle<()>) {
    let (health, shutdown) = (Health::default(), CancellationToken::new());
    let keeping = store.clone().keep_ready(readiness(&health, Weight::Required), shutdown.clone());
    let keeping = tokio::spawn(keeping);
    eventually("the database is ready", async || health.report().0.then_some(())).await;
    until_waiting_for_a_lock(database).await;
    (shutdown, keeping)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_delays_only_the_indexes() {
    let (database, store) = unindexed().await;
    let mut other = long_transaction(&database).await;
    let (shutdown, _keeping) = start(&database, &store).await;
    let _stop = shutdown.drop_guard();
    record(&store, &message("grace", 1)).await;
    assert_eq!(accept_all(&store).await.len(), 1);
    assert!(!missing(&store).await.is_empty());
    other.execute("rollback").await.unwrap();
    eventually("the indexes are built", async || missing(&store).await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_waits_does_not_hold_up_the_shutdown() {
    let (database, store) = unindexed().await;
    let mut other = long_transaction(&database).await;
    let (shutdown, keeping) = start(&database, &store).await;
    shutdown.cancel();
    keeping.await.unwrap();
    assert!(!missing(&store).await.is_empty());
    // The next process waits for what PostgreSQL goes on with.
    other.execute("rollback").await.unwrap();
    store.build_indexes().await.unwrap();
    assert_eq!(missing(&store).await, [""; 0]);
}

/// What the queries answer that the large indexes are for.
async fn answers(store: &Store) -> String {
    let large = church_id(0).parse().unwrap();
    let page = HistoryQuery { limit: 50, ..HistoryQuery::default() };
    let of = |statuses: &[MessageStatus]| HistoryQuery { statuses: statuses.to_vec(), ..page.clone() };
    let changed =
        |hours| HistoryQuery { updated_since: Some(now() - Duration::hours(hours)), ..page.clone() };
    let mut told = String::new();
    for query in [
        page.clone(),
        of(&[MessageStatus::Failed]),
        of(&[MessageStatus::Sent, MessageStatus::Read]),
        changed(24),
        changed(24 * 60),
    ] {
        let found = store.history(&large, &query).await.unwrap();
        assert!(!found.messages.is_empty(), "{query:?}");
        told += &format!("{found:?}\n");
    }
    let failed = FailureQuery { since: now() - Duration::days(60), church: None, code: None };
    told + &format!("{:?}", store.failure_counts(&failed).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_right_without_the_large_indexes() {
    let (database, store) = unindexed().await;
    let amount = Amount { waiting: 500, ..Amount::of_months(10, 12_000, 4) };
    fill(&database.url, amount).await.unwrap();
    record(&store, &message(&church_id(0), 2)).await;
    assert_eq!(accept_all(&store).await.len(), 2, "a claim needs none of them");

    let without = answers(&store).await;
    store.build_indexes().await.unwrap();
    assert_eq!(missing(&store).await, [""; 0]);
    assert_eq!(answers(&store).await, without);
}
