//! Revoked tokens.

use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

use super::{Sqlite, millis};
use crate::claims::Person;
use crate::revocation::Revocation;
use crate::store::columns::read_all;
use crate::store::ledger::{Database as _, Ledger as _, OutboxEntry};
use crate::store::{StoreError, Term};
use crate::subject::ChurchId;

impl Sqlite {
    pub(in crate::store) async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        const SQL: &str =
            "insert into revocations (church_id, user_id, issued_until, announced_at) values ($1, $2, $3, $4)
             on conflict (church_id, user_id) do update
             set issued_until = max(revocations.issued_until, excluded.issued_until)";
        let mut tx = self.begin().await?;
        sqlx::query(SQL)
            .bind(revocation.church_id.as_str())
            .bind(revocation.key())
            .bind(revocation.issued_until)
            .bind(millis(revocation.timestamp))
            .execute(tx.connection()?)
            .await?;
        tx.append_outbox(&[OutboxEntry::of_revocation(revocation)?]).await?;
        tx.commit().await
    }

    pub(in crate::store) async fn undo_revocation(
        &self,
        revocation: &Revocation,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "delete from revocations where church_id = $1 and user_id = $2";
        let mut tx = self.begin().await?;
        let query = sqlx::query(SQL).bind(revocation.church_id.as_str()).bind(revocation.key());
        if query.execute(tx.connection()?).await?.rows_affected() == 0 {
            return Ok(false);
        }
        tx.append_outbox(&[OutboxEntry::of_revocation(&revocation.undo())?]).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub(in crate::store) async fn revocations(
        &self,
        church: Option<&ChurchId>,
    ) -> Result<Vec<Revocation>, StoreError> {
        const SQL: &str = "select church_id, user_id, issued_until from revocations
                           where $1 is null or church_id = $1 order by church_id, user_id";
        let rows: Vec<SqliteRow> =
            sqlx::query(SQL).bind(church.map(ChurchId::as_str)).fetch_all(&self.readers).await?;
        read_all(rows)
    }

    pub(in crate::store) async fn revoked_until(
        &self,
        church: &ChurchId,
        person: &Person,
    ) -> Result<Option<i64>, StoreError> {
        // An id alone was written by earlier versions.
        const SQL: &str =
            "select max(issued_until) from revocations where church_id = $1 and user_id in ('', $2, $3)";
        let query = sqlx::query_scalar(SQL).bind(church.as_str()).bind(person.to_string()).bind(&person.id);
        Ok(query.fetch_one(&self.readers).await?)
    }

    pub(in crate::store) async fn announce_revocations_again(
        &self,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<usize, StoreError> {
        const SQL: &str = "update revocations set announced_at = $3 where (church_id, user_id) in (
                 select church_id, user_id from revocations where announced_at is null or announced_at < $1
                 order by church_id, user_id limit $2)
             returning church_id, user_id, issued_until";
        const ANY: &str = "select count(*) from (
                 select 1 from revocations where announced_at is null or announced_at < $1 limit 1)";
        // Most often there is none; that is seen without the one writer.
        let any: i64 = sqlx::query_scalar(ANY).bind(millis(before)).fetch_one(&self.readers).await?;
        if any == 0 {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let query = sqlx::query(SQL).bind(millis(before)).bind(limit).bind(millis(OffsetDateTime::now_utc()));
        let standing: Vec<Revocation> = read_all(query.fetch_all(tx.connection()?).await?)?;
        let entries: Vec<_> = standing.iter().map(OutboxEntry::of_revocation).collect::<Result<_, _>>()?;
        tx.append_outbox(&entries).await?;
        tx.commit().await?;
        Ok(entries.len())
    }

    pub(in crate::store) async fn unannounce_revocations(&self, term: Term) -> Result<(), StoreError> {
        const SQL: &str = "update revocations set announced_at = null
                           where exists (select 1 from relay_lease where term = $1)";
        sqlx::query(SQL).bind(term.0).execute(&self.marker).await?;
        Ok(())
    }
}
