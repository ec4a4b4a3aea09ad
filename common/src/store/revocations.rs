//! Revoked tokens. The record keeps them for longer than the outbox and the stream.

use time::OffsetDateTime;

use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::outbox_entries::{OutboxEntry, append};
use super::records::Term;
use super::session::{Session as _, only};
use super::sql::{Sql, sql};
use crate::claims::Person;
use crate::revocation::Revocation;
use crate::subject::ChurchId;

impl Store {
    /// Records a revocation and its event. An earlier revocation of later tokens stays in force.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        dispatch!(self, db => revoke(db, revocation).await)?;
        self.wake_relay(true);
        Ok(())
    }

    /// Deletes the revocation with the same key and records the event. Returns `false` if there is none.
    ///
    /// # Errors
    /// The database is away.
    pub async fn undo_revocation(&self, revocation: &Revocation) -> Result<bool, StoreError> {
        let undone = dispatch!(self, db => undo(db, revocation).await)?;
        self.wake_relay(undone);
        Ok(undone)
    }

    /// Lists the revocations of one church or of all.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revocations(&self, church: Option<&ChurchId>) -> Result<Vec<Revocation>, StoreError> {
        const FIND: Sql = sql!(
            "select church_id, user_id, issued_until from revocations
                                where $1 is null or church_id = $1 order by church_id, user_id"
        );
        dispatch!(self, db => db.fetch(FIND.bind(church.map(ChurchId::as_str))).await)
    }

    /// Returns the Unix second until which issued tokens of a person are revoked.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoked_until(&self, church: &ChurchId, person: &Person) -> Result<Option<i64>, StoreError> {
        // Earlier versions wrote the id alone.
        const FIND: Sql = sql!(
            "select max(issued_until) as value from revocations
                                where church_id = $1 and user_id in ('', $2, $3)"
        );
        let find = || FIND.bind(church.as_str()).bind(person.to_string()).bind(&person.id);
        only(dispatch!(self, db => db.fetch(find()).await)?)
    }

    /// Puts revocations into the outbox again whose last event is older than given or was lost, at most `limit`.
    /// Returns how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn announce_revocations_again(
        &self,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<usize, StoreError> {
        let events = dispatch!(self, db => announce_again(db, before, limit).await)?;
        self.wake_relay(events > 0);
        Ok(events)
    }

    /// Marks all revocations to be announced again, because the stream lost events.
    ///
    /// # Errors
    /// The database is away. Changes nothing once the term is over.
    pub async fn unannounce_revocations(&self, term: Term) -> Result<(), StoreError> {
        const UNANNOUNCE: Sql = sql!("update revocations set announced_at = null
                                      where exists (select 1 from relay_lease where term = $1" [share] ")");
        dispatch!(self, db => db.execute_unsynced(UNANNOUNCE.bind(term.0)).await).map(drop)
    }
}

async fn revoke<D: Database>(db: &D, revocation: &Revocation) -> Result<(), StoreError> {
    const SAVE: Sql = sql!(
        "insert into revocations (church_id, user_id, issued_until, announced_at) values ($1, $2, $3, $4)
         on conflict (church_id, user_id) do update 
         set issued_until = " [greatest] "(revocations.issued_until, excluded.issued_until)"
    );
    let save = SAVE
        .bind(revocation.church_id.as_str())
        .bind(revocation.key())
        .bind(revocation.issued_until)
        .bind(revocation.timestamp);
    let mut tx = db.begin().await?;
    tx.execute(save).await?;
    append(&mut tx, &[OutboxEntry::of_revocation(revocation)?]).await?;
    tx.commit().await
}

async fn undo<D: Database>(db: &D, revocation: &Revocation) -> Result<bool, StoreError> {
    const DELETE: Sql = sql!("delete from revocations where church_id = $1 and user_id = $2");
    let mut tx = db.begin().await?;
    let delete = DELETE.bind(revocation.church_id.as_str()).bind(revocation.key());
    if tx.execute(delete).await? == 0 {
        tx.roll_back().await?;
        return Ok(false);
    }
    append(&mut tx, &[OutboxEntry::of_revocation(&revocation.undo())?]).await?;
    tx.commit().await?;
    Ok(true)
}

async fn announce_again<D: Database>(
    db: &D,
    before: OffsetDateTime,
    limit: u32,
) -> Result<usize, StoreError> {
    const ANY: Sql = sql!(
        "select issued_until as value from revocations
                           where announced_at is null or announced_at < $1 limit 1"
    );
    // Locks the rows before their events take a position: an undo comes later, or the rows are gone.
    const TAKE: Sql = sql!(
        "update revocations set announced_at = $3 where (church_id, user_id) in (
             select church_id, user_id from revocations where announced_at is null or announced_at < $1
             order by church_id, user_id limit $2" [skip locked] ")
         returning church_id, user_id, issued_until"
    );
    // Usually there is none. Reading shows that without SQLite's one writer.
    if db.fetch::<i64>(ANY.bind(before)).await?.is_empty() {
        return Ok(0);
    }
    let mut tx = db.begin().await?;
    let take = TAKE.bind(before).bind(limit).bind(OffsetDateTime::now_utc());
    let standing: Vec<Revocation> = tx.fetch(take).await?;
    let entries: Vec<_> = standing.iter().map(OutboxEntry::of_revocation).collect::<Result<_, _>>()?;
    append(&mut tx, &entries).await?;
    tx.commit().await?;
    Ok(entries.len())
}

impl Read for Revocation {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self::standing(row.church()?, &row.text("user_id")?, row.number("issued_until")?))
    }
}
