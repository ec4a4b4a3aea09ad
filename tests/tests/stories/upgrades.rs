//! Schema changes under running services.

use deploy::services::{API, FROM};
use futures_util::future::join_all;
use sqlx::{Connection as _, Executor as _};
use tests::back_end::{BackEnd, SECRET};
use tests::databases::Kind;
use tests::on_both_databases;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED};

on_both_databases!(a_column_added_to_each_table_under_load_causes_no_error,);

/// Adds a column to each table that the database has. The migrations' own is none of ours.
async fn add_columns(kind: Kind, url: &str) {
    let adding = |table: &String| sqlx::AssertSqlSafe(format!("alter table {table} add column added text"));
    match kind {
        Kind::Postgres => {
            const TABLES: &str = "select table_name::text from information_schema.tables
                where table_schema = current_schema() and table_name <> '_sqlx_migrations'";
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut connection).await.unwrap();
            assert!(!tables.is_empty());
            for table in &tables {
                connection.execute(adding(table)).await.unwrap();
            }
        }
        Kind::Sqlite => {
            const TABLES: &str = "select name from sqlite_master
                where type = 'table' and name not in ('sqlite_sequence', '_sqlx_migrations')";
            let options = url.parse::<sqlx::sqlite::SqliteConnectOptions>().unwrap();
            let options = options.busy_timeout(std::time::Duration::from_secs(30));
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut connection).await.unwrap();
            assert!(!tables.is_empty());
            for table in &tables {
                connection.execute(adding(table)).await.unwrap();
            }
        }
    }
}

async fn a_column_added_to_each_table_under_load_causes_no_error(kind: Kind) {
    let back_end = BackEnd::start().await;
    let stack = TestStack::start_with(kind, |options| {
        for (name, value) in [("INBOUND_URL", &*back_end.url()), ("RECIPIENTS_SECRET", SECRET)] {
            options.environment.push((API.into(), name.into(), value.into()));
        }
    })
    .await;
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.extend(join_all((0..4).map(|_| stack.send(CHURCH, AUTHOR, &[DELIVERED]))).await);
    }
    let url = stack.stack.file().database.clone();
    let sending = async {
        let mut sent = Vec::new();
        for number in 0..20 {
            let text = stack.receive(&format!("+1202557{number:04}"), FROM, "Amen").await;
            assert_eq!(text.answers, [Some(200)]);
            assert_eq!(stack.get(CHURCH, AUTHOR, "/api/messages/inbound").await.0, 200);
            // Each request is answered 201.
            sent.extend(join_all((0..4).map(|_| stack.send(CHURCH, AUTHOR, &[DELIVERED]))).await);
            assert_eq!(stack.get(CHURCH, AUTHOR, "/api/messages/history").await.0, 200);
        }
        sent
    };
    let (sent, ()) = tokio::join!(sending, add_columns(kind, &url));
    messages.extend(sent);
    for message in messages {
        stack.until_status(CHURCH, message, "delivered").await;
    }
    back_end.until(20).await;
    // On a busy machine an answer may be late. No statement may fail.
    for reason in ["database_unavailable", "unreadable"] {
        let refusals = format!("church_ingest_refusals_total{{reason=\"{reason}\"}}");
        assert_eq!(stack.metric(&stack.stack.file().ops.ingest, &refusals).await, 0.0, "{reason}");
    }
    assert!(stack.audit().await.is_sound());
}
