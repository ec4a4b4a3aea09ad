//! Erases one person.

use uuid::Uuid;

use super::{Sqlite, Tx, json_ids};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::erasure::{ERASED, Known, Page, Traces, quoted};
use crate::store::ledger::{Database as _, Ledger as _};

impl Sqlite {
    pub(in crate::store) async fn recipients_of(&self, phone: &str) -> Result<Vec<Known>, StoreError> {
        const SQL: &str = "select id, attempted_at is null and rank < 4 and closed = 0 as unsent
                           from recipients where phone = $1 order by id";
        let rows = sqlx::query(SQL).bind(phone).fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok(Known { id: row.id("id")?, unsent: row.flag("unsent")? })).collect()
    }

    pub(in crate::store) async fn erase_recipients(
        &self,
        ids: &[Uuid],
        phone: &str,
    ) -> Result<(), StoreError> {
        const MESSAGES: &str = "update messages set failure_reason = replace(failure_reason, $2, $3)
             where id in (select message_id from recipients where id in (select value from json_each($1)))
               and instr(failure_reason, $2) > 0";
        const RECIPIENTS: &str = "update recipients
             set phone = $3, member_id = null, first_name = null, last_name = null, ask_at = null,
                 failure_reason = replace(failure_reason, $2, $3)
             where id in (select value from json_each($1))";
        let mut tx = self.begin().await?;
        for sql in [MESSAGES, RECIPIENTS] {
            sqlx::query(sql).bind(json_ids(ids)).bind(phone).bind(ERASED).execute(tx.connection()?).await?;
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
            "select event_id from webhooks where event_id > $1 order by event_id limit 1 offset $2";
        // A parked webhook has nobody left to tell.
        const ERASE: &str = "update webhooks
             set body = x'', report = null,
                 outcome = case outcome when 'parked' then 'ignored' else outcome end,
                 reason = case outcome when 'parked' then $5 else reason end
             where event_id > $1 and ($2 is null or event_id <= $2) and body <> x''
               and (recipient_id in (select value from json_each($3)) or instr(body, cast($4 as blob)) > 0)";
        let mut tx = self.begin().await?;
        let query = sqlx::query_scalar(LAST).bind(after).bind(limit - 1);
        let last: Option<String> = query.fetch_optional(tx.connection()?).await?;
        let erase = sqlx::query(ERASE)
            .bind(after)
            .bind(&last)
            .bind(json_ids(traces.ids))
            .bind(quoted(traces.phone))
            .bind(ERASED);
        let erased = erase.execute(tx.connection()?).await?.rows_affected();
        finish(tx, dry).await?;
        Ok(Page { erased, last })
    }

    pub(in crate::store) async fn erase_events(&self, phone: &str, dry: bool) -> Result<u64, StoreError> {
        const OUTBOX: &str =
            "update outbox set payload = replace(payload, $1, $2) where instr(payload, $1) > 0";
        const REFUSED: &str =
            "update refused_events set payload = replace(payload, $1, $2) where instr(payload, $1) > 0";
        let (mut tx, mut erased) = (self.begin().await?, 0);
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
