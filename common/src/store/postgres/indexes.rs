//! The large indexes, and how they are built while services write.
//!
//! `create index concurrently` waits until every transaction that is older than itself has ended. It holds no lock that
//! a read or a write of rows waits for. If it fails, it leaves an invalid index behind, which is written and never read.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tracing::{info, warn};

use super::pool::Postgres;
use crate::store::failures::StoreError;
use crate::store::records::LargeIndex;
use crate::store::sql::sql;

/// All large indexes.
const INDEXES: [LargeIndex; 4] = [
    LargeIndex {
        name: "messages_status",
        on: "messages (church_id, status, created_at desc, id desc)",
        finds: "pages of the history by status",
    },
    LargeIndex {
        name: "outbox_changes",
        on: "outbox (subject, created_at, message_id)",
        finds: "pages of the history of what changed since a moment",
    },
    LargeIndex {
        name: "messages_created",
        on: "messages (created_at)",
        finds: "old messages, which are deleted",
    },
    LargeIndex {
        name: "recipients_failed",
        on: "recipients (failed_at) where failed_at is not null",
        finds: "the recipients of `ops failures`",
    },
];

/// The advisory lock of the process that builds them.
const INDEX_LOCK: i64 = 0x4348_5552_4958;
/// Pause between two attempts to take it. A statement that waits for it would be a transaction that the build waits
/// for.
const INDEX_POLL: Duration = Duration::from_secs(1);
/// A build waits for other transactions as long as they take. Nothing waits behind it.
const NO_TIME_OUTS: [(&str, &str); 2] = [("statement_timeout", "0"), ("lock_timeout", "0")];

impl Postgres {
    /// Builds missing indexes on a connection of its own. If one fails, the others are built all the same.
    pub(in crate::store) async fn build_indexes(&self) -> Result<(), StoreError> {
        if self.missing_indexes().await?.is_empty() {
            return Ok(());
        }
        let options = (*self.options).clone().options(NO_TIME_OUTS);
        let mut connection = PgConnection::connect_with(&options).await?;
        while !has_turn(&mut connection).await? {
            tokio::time::sleep(INDEX_POLL).await;
        }
        let mut built = Ok(());
        // Another process may have built some meanwhile.
        for index in self.missing_indexes().await? {
            if let Err(error) = build(&mut connection, &index).await {
                warn!(index = index.name, error = &error as &dyn std::error::Error, "can't build an index");
                built = Err(error.into());
            }
        }
        // The lock ends with the connection.
        connection.close().await?;
        built
    }

    /// The indexes that are not there, or invalid.
    pub(in crate::store) async fn missing_indexes(&self) -> Result<Vec<LargeIndex>, StoreError> {
        let valid = sql!(
            "select wanted.name as value
             from unnest($1::text[]) as wanted (name) join pg_index i on i.indexrelid = to_regclass(wanted.name)
             where i.indisvalid"
        );
        let names = INDEXES.iter().map(|index| index.name).collect::<Vec<_>>();
        let valid: Vec<String> = self.pool.fetch(valid.bind(names)).await?;
        Ok(INDEXES.into_iter().filter(|index| valid.iter().all(|name| name != index.name)).collect())
    }
}

/// Takes the lock, unless somebody builds an index by hand: it is invalid until it is complete.
async fn has_turn(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    const TAKE: &str = "select case when exists (
            select 1 from pg_stat_progress_create_index where datname = current_database()
        ) then false else pg_try_advisory_lock($1) end";
    sqlx::query_scalar(TAKE).bind(INDEX_LOCK).fetch_one(connection).await
}

/// Builds an index in place of an invalid one of its name.
async fn build(connection: &mut PgConnection, index: &LargeIndex) -> Result<(), sqlx::Error> {
    let LargeIndex { name, on, .. } = index;
    info!(index = name, "building an index; writes go on meanwhile");
    let begun = Instant::now();
    // Neither runs inside a transaction.
    for sql in [
        format!("drop index concurrently if exists {name}"),
        format!("create index concurrently if not exists {name} on {on}"),
    ] {
        connection.execute(AssertSqlSafe(sql)).await?;
    }
    info!(index = name, duration_ms = begun.elapsed().as_millis() as u64, "built an index");
    Ok(())
}
