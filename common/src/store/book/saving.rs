//! Writes changed rows back. A statement sets only what changed: SQLite writes each index that holds a column that is
//! set, even to the same value.

use crate::store::bulk::{self, Builder};
use crate::store::rows::{MessageRow, RecipientRow};
use crate::store::sql::{Sql, Statement, sql};

/// A changed recipient as it was before, and as it is now.
#[derive(Clone, Copy)]
pub(super) struct Changed<'b> {
    pub(super) before: &'b RecipientRow,
    pub(super) now: &'b RecipientRow,
}

impl Changed<'_> {
    fn attempt_changed(&self) -> bool {
        fn attempt(row: &RecipientRow) -> impl PartialEq {
            (&row.provider_id, row.due_at, row.attempted_at, row.tried, row.claim_id)
        }
        attempt(self.before) != attempt(self.now)
    }

    fn end_changed(&self) -> bool {
        let end = |row: &RecipientRow| (row.state.closed, row.delivered_at, row.failed_at, row.ask_at);
        end(self.before) != end(self.now)
    }
}

type Rows<'r> = Builder<'r, Changed<'r>>;

fn progress<'r>(rows: &'r [Changed<'r>]) -> Rows<'r> {
    bulk::rows(rows)
        .id("id", |row| row.now.id)
        .number("rank", |row| row.now.state.rank.as_i16().into())
        .opt_text("failure_code", |row| row.now.failure.as_ref().map(|failure| failure.code.clone()))
        .opt_text("failure_reason", |row| row.now.failure.as_ref().map(|failure| failure.reason.clone()))
}

fn ends<'r>(rows: &'r [Changed<'r>]) -> Rows<'r> {
    progress(rows)
        .flag("closed", |row| row.now.state.closed)
        .opt_time("delivered_at", |row| row.now.delivered_at)
        .opt_time("failed_at", |row| row.now.failed_at)
        .opt_time("ask_at", |row| row.now.ask_at)
}

fn attempts<'r>(rows: &'r [Changed<'r>]) -> Rows<'r> {
    ends(rows)
        .opt_text("provider_id", |row| row.now.provider_id.clone())
        .time("due_at", |row| row.now.due_at)
        .opt_time("attempted_at", |row| row.now.attempted_at)
        .number("tried", |row| row.now.tried.into())
        .opt_id("claim_id", |row| row.now.claim_id)
}

/// The statements that save recipients.
pub(super) fn save_recipients(rows: &[Changed<'_>]) -> Vec<Statement<'static>> {
    const PROGRESS: Sql = sql!(
        "update recipients
         set rank = new.rank, failure_code = new.failure_code, failure_reason = new.failure_reason"
    );
    const END: Sql = sql!(
        ", closed = new.closed, delivered_at = new.delivered_at, failed_at = new.failed_at, ask_at = new.ask_at"
    );
    const ATTEMPT: Sql = sql!(
        ", provider_id = new.provider_id, due_at = new.due_at, attempted_at = new.attempted_at, tried = new.tried,
         claim_id = new.claim_id"
    );
    const SAME: Sql = sql!(" where recipients.id = new.id");
    let (attempted, others): (Vec<_>, Vec<_>) = rows.iter().copied().partition(Changed::attempt_changed);
    let (ended, others): (Vec<_>, Vec<_>) = others.into_iter().partition(Changed::end_changed);
    let progress_of = || Statement::from(PROGRESS);
    [
        update(progress_of().push(END).push(ATTEMPT), attempts(&attempted), SAME),
        update(progress_of().push(END), ends(&ended), SAME),
        update(progress_of(), progress(&others), SAME),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn counters<'r>(rows: &'r [&'r MessageRow]) -> Builder<'r, &'r MessageRow> {
    bulk::rows(rows)
        .id("id", |row| row.id)
        .number("version", |row| row.version)
        .number("delivered", |row| row.tally.delivered.into())
        .number("failed", |row| row.tally.failed.into())
        .number("unconfirmed", |row| row.tally.unconfirmed.into())
        .number("read", |row| row.tally.read.into())
        .number("cancelled", |row| row.tally.cancelled.into())
        .opt_text("failure_reason", |row| row.failure_reason.clone())
        .time("updated_at", |row| row.updated_at)
}

fn statuses<'r>(rows: &'r [&'r MessageRow]) -> Builder<'r, &'r MessageRow> {
    counters(rows)
        .text("status", |row| row.status.as_str())
        .opt_text("cancelled_by", |row| row.cancelled_by.clone())
        .opt_time("sent_at", |row| row.sent_at)
}

/// The statements that save messages: those of which only counters changed, and the others.
pub(super) fn save_messages(counted: &[&MessageRow], others: &[&MessageRow]) -> Vec<Statement<'static>> {
    const COUNTERS: Sql = sql!(
        "update messages
         set version = new.version, delivered_count = new.delivered, failed_count = new.failed,
             unconfirmed_count = new.unconfirmed, read_count = new.read, cancelled_count = new.cancelled,
             failure_reason = new.failure_reason, updated_at = new.updated_at"
    );
    const STATUS: Sql = sql!(", status = new.status, cancelled_by = new.cancelled_by, sent_at = new.sent_at");
    const SAME: Sql = sql!(" where messages.id = new.id");
    [
        update(COUNTERS.into(), counters(counted), SAME),
        update(Statement::from(COUNTERS).push(STATUS), statuses(others), SAME),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The statement that sets columns to those of rows, if there are any.
fn update<T>(set: Statement<'static>, new: Builder<'_, T>, same: Sql) -> Option<Statement<'static>> {
    let new = new.build();
    (new.rows > 0).then(|| set.push(sql!(" from")).push_rows(new).push(same))
}
