//! Pauses of sending. Claims leave the messages of a paused church out; see `sending/paces.rs` and `sending/due.rs`.

use super::columns::{Columns, Read, unreadable};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::records::Pause;
use super::session::{Session as _, end};
use super::sql::{Sql, Statement, sql};
use crate::subject::ChurchId;

/// Stands for all churches. No church has this id.
const EVERYBODY: &str = "*";

impl Store {
    /// Pauses sending. Attempts that are committed go out. A pause that is there already stays as it is.
    ///
    /// # Errors
    /// The database is away.
    pub async fn pause(&self, pause: &Pause) -> Result<(), StoreError> {
        const PAUSE: Sql = sql!(
            "insert into pauses (church_id, paused_by, paused_at) values ($1, $2, $3)
             on conflict (church_id) do nothing"
        );
        let key = key(pause.church_id.as_ref());
        dispatch!(self, db => run(db, PAUSE.bind(key).bind(&pause.by).bind(pause.since)).await).map(drop)
    }

    /// Ends the pause of a church, or of everybody. Returns whether there was one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn resume(&self, church: Option<&ChurchId>) -> Result<bool, StoreError> {
        const RESUME: Sql = sql!("delete from pauses where church_id = $1");
        Ok(dispatch!(self, db => run(db, RESUME.bind(key(church))).await)? > 0)
    }

    /// Lists the pauses, that of everybody first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        const LIST: Sql = sql!(
            "select church_id, paused_by, paused_at from pauses
             order by case when church_id = '*' then 0 else 1 end, church_id"
        );
        dispatch!(self, db => db.fetch(LIST.into()).await)
    }
}

fn key(church: Option<&ChurchId>) -> &str {
    church.map_or(EVERYBODY, ChurchId::as_str)
}

async fn run<D: Database>(db: &D, statement: Statement<'_>) -> Result<u64, StoreError> {
    let mut tx = db.begin().await?;
    let done = tx.execute(statement).await;
    end(tx, done).await
}

impl Read for Pause {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let church = Some(row.text("church_id")?).filter(|church| church != EVERYBODY);
        let church_id =
            church.map(|church| church.parse()).transpose().map_err(|_| unreadable("church_id"))?;
        Ok(Self { church_id, by: row.text("paused_by")?, since: row.time("paused_at")? })
    }
}
