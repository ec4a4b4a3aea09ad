//! A process finds out whether it can write by writing.

use common::service::{Health, Weight};
use common::store::Readiness;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tests::databases::{Database, Kind};
use tests::{eventually, on_both_databases};
use tokio_util::sync::CancellationToken;

use super::church::{message, record};

on_both_databases!(an_idle_process_proves_that_it_can_write_with_one_row_of_its_own);

pub(crate) fn readiness(health: &Health, writes: Weight) -> Readiness {
    Readiness {
        reads: health.condition("database", Weight::Required),
        writes: health.condition("database_writes", writes),
        schema: health.condition("schema", Weight::Degrading),
    }
}

async fn an_idle_process_proves_that_it_can_write_with_one_row_of_its_own(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.store();
    let (health, shutdown) = (Health::default(), CancellationToken::new());
    let keeping = store.clone().keep_ready(readiness(&health, Weight::Required), shutdown.clone());
    let keeping = tokio::spawn(keeping);
    let rows = async || match kind {
        Kind::Postgres => {
            let mut connection = PgConnection::connect(&database.url).await.unwrap();
            let count = sqlx::query_scalar::<_, i64>("select count(*) from writers");
            count.fetch_one(&mut connection).await.unwrap()
        }
        Kind::Sqlite => {
            let mut connection = sqlx::SqliteConnection::connect(&database.url).await.unwrap();
            let count = sqlx::query_scalar::<_, i64>("select count(*) from writers");
            count.fetch_one(&mut connection).await.unwrap()
        }
    };
    eventually("the database is ready", async || health.report().0.then_some(())).await;
    assert_eq!(rows().await, 0, "reading readiness writes nothing");
    eventually("the process proves that it can write", async || (rows().await == 1).then_some(())).await;
    record(&store, &message("grace", 1)).await;
    shutdown.cancel();
    keeping.await.unwrap();
    assert_eq!(rows().await, 1);
}

/// Makes PostgreSQL accept or refuse writes, as after a fail-over to a standby.
async fn takes_writes(database: &Database, takes: bool) {
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    connection.execute("set default_transaction_read_only = off").await.unwrap();
    let name: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(&mut connection).await.unwrap();
    let value = if takes { "off" } else { "on" };
    let alter = format!("alter database {name} set default_transaction_read_only = {value}");
    connection.execute(sqlx::AssertSqlSafe(alter)).await.unwrap();
    let others = "select pg_terminate_backend(pid) from pg_stat_activity
                  where datname = current_database() and pid <> pg_backend_pid()";
    connection.execute(others).await.unwrap();
}

async fn while_it_can_only_be_read(weight: Weight) -> (bool, String) {
    let database = Database::fresh(Kind::Postgres).await;
    let store = database.store();
    let (health, shutdown) = (Health::default(), CancellationToken::new());
    let _stop = shutdown.clone().drop_guard();
    tokio::spawn(store.clone().keep_ready(readiness(&health, weight), shutdown));
    eventually("the database is ready", async || health.report().0.then_some(())).await;
    takes_writes(&database, false).await;
    let told = eventually("readiness reports that writes fail", async || {
        let report = health.report();
        report.1.contains("database_writes (3 writes in a row failed").then_some(report)
    })
    .await;
    takes_writes(&database, true).await;
    eventually("it is ready again", async || (health.report().1 == "ready\n").then_some(())).await;
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn three_failed_writes_make_a_service_that_must_write_not_ready() {
    let (ready, told) = while_it_can_only_be_read(Weight::Required).await;
    assert!(!ready, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_failed_writes_only_degrade_a_service_that_can_still_read() {
    let (ready, told) = while_it_can_only_be_read(Weight::Degrading).await;
    assert!(ready && told.starts_with("degraded: database_writes"), "{told}");
}
