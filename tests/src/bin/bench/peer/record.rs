//! The peer's record: the same messages and recipients as the suite's.

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use tests::load::record::{Target, church_id};
use uuid::Uuid;

/// The values of one column.
fn column<'t, T>(targets: &'t [Target], of: impl Fn(&'t Target) -> T) -> Vec<T> {
    targets.iter().map(of).collect()
}

/// Records the targets in the peer's tables.
pub(super) async fn fill(url: &str, targets: &[Target]) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await.context("the peer's database is away")?;
    let messages: Vec<Uuid> = column(targets, |target| target.message);
    sqlx::query(
        "insert into messages (id, church_id, recipient_count)
         select id, min(church), count(*) from unnest($1::uuid[], $2::text[]) as t (id, church) group by id",
    )
    .bind(&messages)
    .bind(column(targets, |target| church_id(target.church)))
    .execute(&mut connection)
    .await?;
    sqlx::query(
        "insert into recipients (id, message_id, phone, provider_id)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[])",
    )
    .bind(column(targets, |target| target.recipient))
    .bind(&messages)
    .bind(column(targets, |target| target.phone.as_str()))
    .bind(column(targets, |target| target.provider_id.as_str()))
    .execute(&mut connection)
    .await?;
    sqlx::query("analyze").execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// The number of recorded webhooks, and of messages that are still pending.
pub(super) async fn state(url: &str) -> anyhow::Result<(i64, i64)> {
    let mut connection = PgConnection::connect(url).await.context("the peer's database is away")?;
    let state = sqlx::query_as(
        "select (select count(*) from webhooks), (select count(*) from messages where status = 'pending')",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(state)
}
