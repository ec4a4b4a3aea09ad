//! Fills a database with months of finished messages, by its own statements: the services would take hours. A change of
//! the schema changes these statements, too.
//!
//! Every message has one recipient and one webhook. They are spread evenly over the last 90 days. Of a church's messages
//! about 98 of 100 are delivered, one failed, one ended without a receipt (`sent`), one in ten thousand was read, and the
//! newest 200 of all churches are pending. The newest messages have their events in the outbox, which the relay announces.

use anyhow::{Context as _, ensure};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

use super::record::church_id;

/// Messages that one round of statements makes.
const CHUNK: u64 = 100_000;
/// The messages are spread over this time.
const SPREAD_MS: u64 = 90 * 86_400_000;
/// The newest ones are pending.
const PENDING: u64 = 200;

/// How much to fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Churches; the first one is the large one.
    pub churches: usize,
    /// Messages in total.
    pub messages: usize,
    /// Of these, messages of the large church.
    pub large: usize,
    /// The newest of these, whose events wait in the outbox.
    pub waiting: usize,
}

/// Numbers of one chunk with everything that the databases write differently: ids, times, bytes.
const CHUNK_POSTGRES: &str = "
    create temp table filled as
    select numbers.*, to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as at_text,
           (prefix || substr(md5(n::text), 1, 15))::uuid as id,
           (prefix || substr(md5('r' || n), 1, 15))::uuid as recipient_id,
           (prefix || substr(md5('s' || n), 1, 15))::uuid as sent_id,
           (prefix || substr(md5('u' || n), 1, 15))::uuid as update_id,
           md5('p' || n)::uuid::text as provider_id, md5('w' || n)::uuid::text as webhook_id,
           '\\x7b7d'::bytea as body
    from (select n, {church} as church_id, {status} as status, at,
                 lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '70008' as prefix
          from (select n, to_timestamp(({now_ms} - ({messages} - n) * {spread_ms} / {messages}) / 1000.0) as at
                from generate_series({first}::bigint, {last}) n) times) numbers";
const CHUNK_SQLITE: &str = "
    create temp table filled as
    with recursive counted (n) as (select {first} union all select n + 1 from counted where n < {last}),
         times as materialized (
             select n, {now_ms} - ({messages} - n) * {spread_ms} / {messages} as at from counted),
         numbers as materialized (
             select n, {church} as church_id, {status} as status, at,
                    printf('%08x-%04x-7000-8', at >> 16, at & 65535) as prefix,
                    printf('-%012x', random() & 281474976710655) as suffix
             from times)
    select n, church_id, status, at, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') as at_text,
           prefix || '001' || suffix as id, prefix || '002' || suffix as recipient_id,
           prefix || '003' || suffix as sent_id, prefix || '004' || suffix as update_id,
           lower(hex(randomblob(16))) as provider_id, lower(hex(randomblob(16))) as webhook_id, x'7b7d' as body
    from numbers";

/// The statements of one chunk, the same for both databases.
const ROWS: [&str; 6] = [
    "insert into messages (id, church_id, author_id, content, target_type, media_urls, from_number, status, version,
         recipient_count, delivered_count, failed_count, unconfirmed_count, read_count, failure_reason, sent_at,
         created_at, updated_at)
     select id, church_id, 'author', 'The choir meets at seven tonight, in the small hall and not in the church.',
            'individual', '[]', '+12025550100', status, case when status = 'pending' then 1 else 2 end, 1,
            case when status in ('delivered', 'read') then 1 else 0 end, case when status = 'failed' then 1 else 0 end,
            case when status = 'sent' then 1 else 0 end, case when status = 'read' then 1 else 0 end,
            case when status = 'failed' then 'The number is not in service.' end, at, at, at
     from filled",
    "insert into recipients (id, message_id, church_id, ordinal, phone, first_name, rank, closed, provider_id, due_at,
         attempted_at, tried, sender, failed_at)
     select recipient_id, id, church_id, 0, '+1202' || (1000000 + n % 9000000), 'Ann',
            case status when 'read' then 6 when 'delivered' then 5 when 'failed' then 4 else 2 end,
            status = 'sent', provider_id, at, at, 1, '+12025550100', case when status = 'failed' then at end
     from filled",
    "insert into webhooks (event_id, event_type, deliveries, outcome, recipient_id, occurred_at, received_at, body)
     select webhook_id, 'message.finalized', 1, 'applied', recipient_id, at, at, body from filled",
    "insert into outbox (event_id, message_id, version, progress, subject, payload, created_at)
     select sent_id, id, 1, false, 'church.' || church_id || '.sent',
            '{\"v\":1,\"id\":\"' || sent_id || '\",\"type\":\"message:sent\",\"churchId\":\"' || church_id
            || '\",\"messageId\":\"' || id || '\",\"status\":\"pending\",\"version\":1,\"recipientCount\":1,'
            || '\"deliveredCount\":0,\"failedCount\":0,\"unconfirmedCount\":0,\"readCount\":0,\"timestamp\":\"'
            || at_text || '\"}', at
     from filled where n > {messages} - {waiting} order by n",
    "insert into outbox (event_id, message_id, version, progress, subject, payload, created_at)
     select update_id, id, 2, false, 'church.' || church_id || '.status',
            '{\"v\":1,\"id\":\"' || update_id || '\",\"type\":\"message:status_update\",\"churchId\":\"' || church_id
            || '\",\"messageId\":\"' || id || '\",\"status\":\"' || status || '\",\"version\":2,\"recipientCount\":1,'
            || '\"deliveredCount\":0,\"failedCount\":0,\"unconfirmedCount\":0,\"readCount\":0,\"timestamp\":\"'
            || at_text || '\"}', at
     from filled where n > {messages} - {waiting} and status <> 'pending' order by n",
    "drop table filled",
];
/// What an installation has of itself by the time it has so many rows.
const FINISH_POSTGRES: [&str; 3] = [HORIZON, "vacuum analyze", "checkpoint"];
const FINISH_SQLITE: [&str; 2] = [HORIZON, "pragma wal_checkpoint(truncate)"];
/// The outbox has all events since its oldest one.
const HORIZON: &str =
    "update outbox_horizon set pruned_until = coalesce((select min(created_at) from outbox), pruned_until)";

impl Amount {
    /// This many messages of this many churches. One in `every` is the large church's, and the outbox has the events of
    /// the last of 90 days.
    pub fn of_months(churches: usize, messages: usize, every: usize) -> Self {
        Self { churches, messages, large: messages / every.max(1), waiting: messages / 90 }
    }

    /// The events that wait in the outbox: one of each message, and another if it has ended.
    pub fn events(self) -> u64 {
        let waiting = self.waiting.min(self.messages) as u64;
        waiting + waiting.saturating_sub(PENDING)
    }

    /// A statement with the numbers of a chunk in their places.
    fn fill_in(self, statement: &str, now_ms: i64, first: u64) -> String {
        let messages = self.messages as u64;
        let every = (self.messages / self.large.max(1)).max(1);
        let others = self.churches.saturating_sub(1).max(1);
        // In turn over the others; `/ every` because all that are left have the same remainders.
        let church = format!(
            "case when n % {every} = 0 then '{}' else 'church-' || (1 + (n / {every} + n) % {others}) end",
            church_id(0)
        );
        let status = format!(
            "case when n > {messages} - {PENDING} then 'pending' when n % 10007 = 0 then 'read'
             when n % 97 = 0 then 'failed' when n % 89 = 0 then 'sent' else 'delivered' end"
        );
        let numbers = [
            ("{church}", church),
            ("{status}", status),
            ("{now_ms}", now_ms.to_string()),
            ("{messages}", messages.to_string()),
            ("{spread_ms}", SPREAD_MS.to_string()),
            ("{waiting}", self.waiting.to_string()),
            ("{first}", first.to_string()),
            ("{last}", (first + CHUNK - 1).min(messages).to_string()),
        ];
        numbers.iter().fold(statement.to_owned(), |text, (place, value)| text.replace(place, value))
    }

    /// All statements, in order.
    fn statements(self, chunk: &str, now_ms: i64) -> impl Iterator<Item = String> {
        let starts = (1..=self.messages as u64).step_by(CHUNK as usize);
        starts.flat_map(move |first| {
            let all = [chunk].into_iter().chain(ROWS);
            all.map(|statement| self.fill_in(statement, now_ms, first)).collect::<Vec<_>>()
        })
    }
}

/// Fills an empty database that has its schema. Nothing else may write meanwhile.
///
/// # Errors
/// The database refuses a statement; the error names it.
pub async fn fill(url: &str, amount: Amount) -> anyhow::Result<()> {
    ensure!(amount.large <= amount.messages, "the large church has more messages than all churches");
    let now_ms = i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000)?;
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(url).await?;
        connection.execute("pragma synchronous = off").await?;
        for statement in amount.statements(CHUNK_SQLITE, now_ms) {
            run(&mut connection, statement).await?;
        }
        for statement in FINISH_SQLITE {
            connection.execute(statement).await?;
        }
        return Ok(connection.close().await?);
    }
    let mut connection = PgConnection::connect(url).await?;
    connection.execute("set synchronous_commit = off").await?;
    for statement in amount.statements(CHUNK_POSTGRES, now_ms) {
        run(&mut connection, statement).await?;
    }
    for statement in FINISH_POSTGRES {
        connection.execute(statement).await?;
    }
    Ok(connection.close().await?)
}

async fn run<'c, E>(connection: E, statement: String) -> anyhow::Result<()>
where
    E: sqlx::Executor<'c>,
{
    let name: String = statement.trim_start().chars().take(40).collect();
    connection.execute(AssertSqlSafe(statement)).await.with_context(|| format!("{name} …"))?;
    Ok(())
}
