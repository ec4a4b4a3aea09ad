//! Whether the database can be read, and whether it can be written: a full disk or a lost right shows only in writing.
//!
//! A process that commits proves by that that it can write. One that has nothing to commit writes one small row of its
//! own every few seconds. `GET /readyz` itself asks nobody: it tells what was found out here.

use std::future::pending;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::connections::within;
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Backend, Store, on_either};
use super::session::Session as _;
use super::sql::{Sql, sql};
use crate::service::Condition;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Longest time that a look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// An answer that takes longer may mean that nobody listens any more.
const SOON: Duration = Duration::from_secs(1);
/// Between two writes, while nothing else is committed.
const WRITE: Duration = Duration::from_secs(5);
/// So many writes in a row have to fail: one may meet a lock.
const FAILURES: u32 = 3;
/// The row of a process that has not written for so long is deleted.
const GONE: time::Duration = time::Duration::days(1);

/// What readiness says of the database.
#[derive(Clone)]
pub struct Readiness {
    /// Holds while it can be read.
    pub reads: Condition,
    /// Holds unless three writes in a row failed.
    pub writes: Condition,
}

/// The writes of one process.
struct Writes {
    process: Uuid,
    proved_at: Instant,
    failed: u32,
}

impl Store {
    /// Brings the schema up to date as soon as the database answers, and keeps readiness true to what the database
    /// does, until shutdown.
    pub async fn keep_ready(self, readiness: Readiness, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.watch(readiness)).await;
    }

    async fn watch(&self, readiness: Readiness) {
        let mut writes = None;
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
                        readiness.writes.met();
                        Writes { process: Uuid::now_v7(), proved_at: Instant::now(), failed: 0 }
                    });
                    self.look_at(writes, &readiness.writes).await;
                }
                Err(error) => {
                    readiness.reads.unmet(self.outage.report(&error));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks for a sign of life. A slow server is waited for; one that refuses connections is away.
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

    /// Finds out whether this process can write, if its last proof of that is old or it could not.
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

/// Writes the row of a process, and deletes those of processes long gone.
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
