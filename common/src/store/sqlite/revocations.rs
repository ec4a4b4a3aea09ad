//! Revoked tokens.

use super::Sqlite;
use crate::revocation::Revocation;
use crate::store::StoreError;
use crate::store::ledger::{Database as _, Ledger as _, OutboxEntry};
use crate::subject::ChurchId;

impl Sqlite {
    pub(in crate::store) async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        const SQL: &str = "insert into revocations (church_id, user_id, issued_until) values ($1, $2, $3)
             on conflict (church_id, user_id) do update
             set issued_until = max(revocations.issued_until, excluded.issued_until)";
        let mut tx = self.begin().await?;
        sqlx::query(SQL)
            .bind(revocation.church_id.as_str())
            .bind(revocation.user_id.as_deref().unwrap_or_default())
            .bind(revocation.issued_until)
            .execute(tx.connection()?)
            .await?;
        tx.append_outbox(&[OutboxEntry::of_revocation(revocation)?]).await?;
        tx.commit().await
    }

    pub(in crate::store) async fn revoked_until(
        &self,
        church: &ChurchId,
        user: &str,
    ) -> Result<Option<i64>, StoreError> {
        const SQL: &str =
            "select max(issued_until) from revocations where church_id = $1 and user_id in ('', $2)";
        Ok(sqlx::query_scalar(SQL).bind(church.as_str()).bind(user).fetch_one(&self.readers).await?)
    }
}
