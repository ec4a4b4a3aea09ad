//! Erases one person.

use uuid::Uuid;

use super::{Postgres, Tx};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::erasure::{ERASED, Known, Page, Traces, quoted};
use crate::store::ledger::{Database as _, Ledger as _};

impl Postgres {
    pub(in crate::store) async fn recipients_of(&self, phone: &str) -> Result<Vec<Known>, StoreError> {
        const SQL: &str = "select id, attempted_at is null and rank < 4 and not closed as unsent
                           from recipients where phone = $1 order by id";
        // It reads every recipient, and takes the time it needs.
        let mut tx = self.begin().await?;
        sqlx::query("set local statement_timeout = 0").execute(tx.connection()?).await?;
        let rows = sqlx::query(SQL).bind(phone).fetch_all(tx.connection()?).await?;
        tx.take_back().await?;
        rows.iter().map(|row| Ok(Known { id: row.id("id")?, unsent: row.flag("unsent")? })).collect()
    }

    pub(in crate::store) async fn erase_recipients(
        &self,
        ids: &[Uuid],
        phone: &str,
    ) -> Result<(), StoreError> {
        // Messages before recipients, as everywhere.
        const MESSAGES: &str = "update messages set failure_reason = replace(failure_reason, $2, $3)
             where id in (select message_id from recipients where id = any($1))
               and position($2 in failure_reason) > 0";
        const RECIPIENTS: &str = "update recipients
             set phone = $3, member_id = null, first_name = null, last_name = null, ask_at = null,
                 failure_reason = replace(failure_reason, $2, $3)
             where id = any($1)";
        let mut tx = self.begin().await?;
        for sql in [MESSAGES, RECIPIENTS] {
            sqlx::query(sql).bind(ids).bind(phone).bind(ERASED).execute(tx.connection()?).await?;
        }
        tx.commit().await
    }

    pub(in crate::store) async fn erase_webhooks(
        &self,
        traces: &Traces<'_>,
        after: &str,
        limit: u32,
        dry: bool,
    ) -> Result<Page, StoreError> {
        const LAST: &str =
            "select event_id from webhooks where event_id > $1 order by event_id offset $2 limit 1";
        // A parked webhook has nobody left to tell.
        const ERASE: &str = "update webhooks
             set body = '', report = null,
                 outcome = case outcome when 'parked' then 'ignored' else outcome end,
                 reason = case outcome when 'parked' then $5 else reason end
             where event_id > $1 and ($2::text is null or event_id <= $2) and body <> ''
               and (recipient_id = any($3) or position(convert_to($4, 'UTF8') in body) > 0)";
        let mut tx = self.begin().await?;
        let last: Option<String> = sqlx::query_scalar(LAST)
            .bind(after)
            .bind(i64::from(limit) - 1)
            .fetch_optional(tx.connection()?)
            .await?;
        let erase = sqlx::query(ERASE)
            .bind(after)
            .bind(&last)
            .bind(traces.ids)
            .bind(quoted(traces.phone))
            .bind(ERASED);
        let erased = erase.execute(tx.connection()?).await?.rows_affected();
        finish(tx, dry).await?;
        Ok(Page { erased, last })
    }

    pub(in crate::store) async fn erase_events(&self, phone: &str, dry: bool) -> Result<u64, StoreError> {
        const OUTBOX: &str =
            "update outbox set payload = replace(payload, $1, $2) where position($1 in payload) > 0";
        const REFUSED: &str =
            "update refused_events set payload = replace(payload, $1, $2) where position($1 in payload) > 0";
        let mut tx = self.begin().await?;
        sqlx::query("set local statement_timeout = 0").execute(tx.connection()?).await?;
        let mut erased = 0;
        for sql in [OUTBOX, REFUSED] {
            erased +=
                sqlx::query(sql).bind(phone).bind(ERASED).execute(tx.connection()?).await?.rows_affected();
        }
        finish(tx, dry).await?;
        Ok(erased)
    }
}

async fn finish(mut tx: Tx, dry: bool) -> Result<(), StoreError> {
    if dry { tx.take_back().await } else { tx.commit().await }
}
