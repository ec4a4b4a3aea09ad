//! Recipients that failed, by reason and one by one, for operators.

use super::columns::{Columns, Read};
use super::database::Database as _;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::records::{FailedRecipient, FailureCount, FailureQuery};
use super::sql::{Sql, Statement, sql};

/// Failed recipients, by the index of those that failed.
pub(super) const FAILED: Sql = sql!(
    "with failed as (
         select church_id, message_id, id, phone, coalesce(failure_code, '') as code,
                coalesce(failure_reason, '') as reason, failed_at, retry_id
         from recipients where failed_at >= $1 and rank = 4"
);

impl Store {
    /// Counts failed recipients by code, most first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn failure_counts(&self, query: &FailureQuery) -> Result<Vec<FailureCount>, StoreError> {
        const COUNT: Sql = sql!(
            ") select code, max(reason) as reason, count(*) as recipients, count(distinct message_id) as messages,
                      max(failed_at) as last
             from failed group by code order by recipients desc, code"
        );
        dispatch!(self, db => db.fetch(failed(query, 0).push(COUNT)).await)
    }

    /// Lists failed recipients, the last one first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn failed_recipients(
        &self,
        query: &FailureQuery,
        limit: u32,
    ) -> Result<Vec<FailedRecipient>, StoreError> {
        const LIST: Sql = sql!(
            ") select church_id, message_id, id, phone, code, failed_at, retry_id
             from failed order by failed_at desc, id limit $4"
        );
        dispatch!(self, db => db.fetch(failed(query, limit).push(LIST)).await)
    }
}

fn failed(query: &FailureQuery, limit: u32) -> Statement<'_> {
    FAILED
        .bind(query.since)
        .bind(query.church.as_ref().map(|church| church.as_str()))
        .bind(&query.code)
        .bind(limit)
        .push(query.church.is_some().then_some(sql!(" and church_id = $2")))
        .push(query.code.is_some().then_some(sql!(" and coalesce(failure_code, '') = $3")))
}

impl Read for FailureCount {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            code: row.text("code")?,
            reason: row.text("reason")?,
            recipients: row.number("recipients")?,
            messages: row.number("messages")?,
            last: row.time("last")?,
        })
    }
}

impl Read for FailedRecipient {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            church_id: row.church()?,
            message_id: row.id("message_id")?,
            id: row.id("id")?,
            phone: row.text("phone")?,
            code: row.text("code")?,
            failed_at: row.time("failed_at")?,
            retry_id: row.opt_id("retry_id")?,
        })
    }
}
