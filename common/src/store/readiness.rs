//! Checks whether the database can be read and written. A full disk or a missing right shows only in writing.
//!
//! A commit proves that the process can write. Without commits it writes one small row of its own every few seconds.
//! `GET /readyz` reports the last result and asks no database.

use std::future::pending;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::connections::within;
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Backend, Store, on_either};
use super::records::SchemaState;
use super::session::Session as _;
use super::sql::{Sql, sql};
use crate::service::Condition;

/// Pause between two checks.
const LOOK: Duration = Duration::from_secs(1);
/// Time limit of a check.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// If an answer takes longer, the server may have stopped listening.
const SOON: Duration = Duration::from_secs(1);
/// Pause between two writes, while nothing else is committed.
const WRITE: Duration = Duration::from_secs(5);
/// Failed writes in a row until the database counts as not writable; a single one may meet a lock.
const FAILURES: u32 = 3;
/// Age at which the row of a process is deleted.
const GONE: time::Duration = time::Duration::days(1);

/// The conditions of readiness that concern the database.
#[derive(Clone)]
pub struct Readiness {
    /// Holds while it can be read.
    pub reads: Condition,
    /// Holds unless three writes in a row failed.
    pub writes: Condition,
    /// Holds unless a newer version has migrated the schema.
    pub schema: Condition,
}

/// The writes of one process.
struct Writes {
    process: Uuid,
    proved_at: Instant,
    failed: u32,
}

impl Store {
    /// Runs pending migrations as soon as the database answers. Then keeps the conditions up to date until shutdown, and
    /// builds missing indexes.
    pub async fn keep_ready(self, readiness: Readiness, shutdown: CancellationToken) {
        let migrated = Notify::new();
        let indexing = async {
            migrated.notified().await;
            self.complete_indexes().await;
        };
        let working = async { tokio::join!(self.watch(readiness, &migrated), indexing) };
        // PostgreSQL goes on with a build whose client has gone.
        shutdown.run_until_cancelled(working).await;
    }

    /// Checks within a few seconds that the database answers.
    ///
    /// # Errors
    /// It does not. The text has its address, without the password, and the cause.
    pub async fn check_reachable(&self) -> Result<(), String> {
        self.look().await.map_err(|error| self.outage.explain(&error))
    }

    async fn watch(&self, readiness: Readiness, migrated: &Notify) {
        let (mut writes, mut newest) = (None, None);
        loop {
            let looked = match &mut writes {
                None => self.migrate().await,
                Some(_) => self.look().await,
            };
            match looked {
                Ok(()) => {
                    self.is_away.send_replace(false);
                    readiness.reads.met();
                    let writes = writes.get_or_insert_with(|| {
                        info!("the database is ready");
                        migrated.notify_one();
                        self.errors.begin();
                        readiness.writes.met();
                        Writes { process: Uuid::now_v7(), proved_at: Instant::now(), failed: 0 }
                    });
                    self.look_at(writes, &readiness.writes).await;
                    self.look_at_schema(&mut newest, &readiness.schema).await;
                }
                Err(error) => {
                    readiness.reads.unmet(self.outage.report(&error));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Checks that the database answers. Waits for a slow server; one that refuses connections is away.
    async fn look(&self) -> Result<(), StoreError> {
        let ping = async || on_either!(self, db => db.ping().await);
        let soon = within(SOON, pending(), ping()).await;
        let Err(StoreError::TimedOut { .. }) = soon else { return soon };
        if let Backend::Postgres(db) = &self.backend
            && let Ok(Err(refusal)) = tokio::time::timeout(SOON, db.knock()).await
        {
            self.is_away.send_replace(true);
            return Err(refusal);
        }
        within(LOOK_LIMIT, pending(), ping()).await
    }

    /// Says it if a newer version has migrated the schema, at the start or since then.
    async fn look_at_schema(&self, newest: &mut Option<i64>, condition: &Condition) {
        let Ok(SchemaState { found: Some(found), known }) = self.schema().await else { return };
        if newest.replace(found) == Some(found) {
            return;
        }
        if found <= known {
            return condition.met();
        }
        warn!(found, known, "the database's schema is newer than this program; it goes on, upgrade it soon");
        condition
            .unmet(format!("the schema is at migration {found}; this program knows {known}: upgrade it"));
    }

    /// Checks whether this process can write, if the last proof is old or the last write failed.
    async fn look_at(&self, writes: &mut Writes, condition: &Condition) {
        let now = Instant::now();
        let proved = if self.committed_at.is_after(writes.proved_at) {
            Ok(())
        } else if writes.failed > 0 || writes.proved_at.elapsed() >= WRITE {
            self.prove_writing(writes.process, OffsetDateTime::now_utc()).await
        } else {
            return;
        };
        match proved {
            Ok(()) => {
                if writes.failed >= FAILURES {
                    info!("the database can be written again");
                }
                condition.met();
                (writes.proved_at, writes.failed) = (now, 0);
            }
            Err(error) => {
                writes.failed += 1;
                if writes.failed == FAILURES {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the database can't be written; trying again"
                    );
                }
                if writes.failed >= FAILURES {
                    condition.unmet(format!("{} writes in a row failed: {error}", writes.failed));
                }
            }
        }
    }

    async fn prove_writing(&self, process: Uuid, now: OffsetDateTime) -> Result<(), StoreError> {
        within(LOOK_LIMIT, pending(), async { on_either!(self, db => prove_writing(db, process, now).await) })
            .await
    }
}

/// Writes the row of a process and deletes the rows of processes that ended long ago.
async fn prove_writing<D: Database>(db: &D, process: Uuid, now: OffsetDateTime) -> Result<(), StoreError> {
    const WRITE: Sql = sql!(
        "insert into writers (process_id, written_at) values ($1, $2)
                             on conflict (process_id) do update set written_at = excluded.written_at"
    );
    const TIDY: Sql = sql!("delete from writers where written_at < $1");
    let mut tx = db.begin().await?;
    tx.execute(WRITE.bind(process).bind(now)).await?;
    tx.execute(TIDY.bind(now - GONE)).await?;
    tx.commit().await
}
