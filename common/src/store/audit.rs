//! The audit: sums what was accepted, recounts what was counted, and names what does not add up.
//!
//! It reads in small parts while the services run. Each part is right by itself: a webhook has one outcome, and a
//! message's counters change in the transaction that changes its recipients.

use uuid::Uuid;

use super::columns::{Columns, Read};
use super::database::Database as _;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::records::{AnnouncedEvent, Audit, Discrepancy};
use super::session::only;
use super::sql::{Sql, Statement, sql};

/// Webhooks in one read.
const WEBHOOKS: u32 = 10_000;
/// Messages in one read.
const MESSAGES: u32 = 500;
/// Most discrepancies of one kind that are named in one read.
const NAMED: u32 = 100;

impl Store {
    /// Sums the webhooks and recounts the messages. Reads the whole database, in small parts.
    ///
    /// # Errors
    /// The database is away.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        self.audit_and_name(&|_| ()).await.map(|(audit, _)| audit)
    }

    /// The same, and names what does not add up. Tells after each part how many webhooks and messages were read.
    ///
    /// # Errors
    /// The database is away.
    pub async fn audit_and_name(
        &self,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(Audit, Vec<Discrepancy>), StoreError> {
        let (mut audit, mut found) = (Audit::default(), Vec::new());
        let mut read = 0;
        let mut part = |rows: u32| {
            read += u64::from(rows);
            progress(read);
        };
        self.audit_webhooks(&mut audit, &mut found, &mut part).await?;
        self.audit_messages(&mut audit, &mut found, &mut part).await?;
        (audit.waiting_events, audit.refused_events) = self.outbox_counts().await?;
        Ok((audit, found))
    }

    async fn audit_webhooks(
        &self,
        audit: &mut Audit,
        found: &mut Vec<Discrepancy>,
        part: &mut (dyn FnMut(u32) + Send),
    ) -> Result<(), StoreError> {
        const SUM: Sql = sql!(
            "select max(event_id) as last, count(*) as webhooks,
                    cast(coalesce(sum(deliveries), 0) as bigint) as accepted,
                    cast(coalesce(sum(deliveries - 1), 0) as bigint) as duplicate,
                    count(*) filter (where outcome = 'applied') as applied,
                    count(*) filter (where outcome = 'stale') as stale,
                    count(*) filter (where outcome = 'parked') as parked,
                    count(*) filter (where outcome = 'received') as received,
                    count(*) filter (where outcome = 'ignored') as ignored,
                    count(*) filter (where (outcome in ('applied', 'stale')) <> (recipient_id is not null))
                        as unmatched
             from (select event_id, deliveries, outcome, recipient_id from webhooks
                   where event_id > $1 order by event_id limit $2) page"
        );
        const UNMATCHED: Sql = sql!(
            "select event_id as value from webhooks
             where event_id > $1 and event_id <= $2
               and (outcome in ('applied', 'stale')) <> (recipient_id is not null) order by event_id limit $3"
        );
        let mut after = String::new();
        loop {
            let sum = SUM.bind(&after).bind(WEBHOOKS);
            let page: WebhookSum = only(dispatch!(self, db => db.fetch(sum.clone()).await)?)?;
            audit.add(&page.sums);
            part(u32::try_from(page.webhooks).unwrap_or(0));
            let Some(last) = page.last else { return Ok(()) };
            if page.sums.unmatched_webhooks > 0 {
                let name = UNMATCHED.bind(&after).bind(&last).bind(NAMED);
                let named: Vec<String> = dispatch!(self, db => db.fetch(name.clone()).await)?;
                found.extend(named.into_iter().map(Discrepancy::UnmatchedWebhook));
            }
            if page.webhooks < i64::from(WEBHOOKS) {
                return Ok(());
            }
            after = last;
        }
    }

    async fn audit_messages(
        &self,
        audit: &mut Audit,
        found: &mut Vec<Discrepancy>,
        part: &mut (dyn FnMut(u32) + Send),
    ) -> Result<(), StoreError> {
        let mut after = Uuid::nil();
        loop {
            let end = LAST_OF_PAGE.bind(after).bind(MESSAGES - 1);
            let last: Option<Uuid> = dispatch!(self, db => db.fetch(end.clone()).await)?.pop();
            let miscounted: Vec<Uuid> =
                dispatch!(self, db => db.fetch(in_page(MISCOUNTED, after, last)).await)?;
            let unannounced: Vec<Uuid> =
                dispatch!(self, db => db.fetch(in_page(UNANNOUNCED, after, last)).await)?;
            audit.miscounted_messages += count(&miscounted);
            audit.unannounced_messages += count(&unannounced);
            found.extend(miscounted.into_iter().map(Discrepancy::MiscountedMessage));
            found.extend(unannounced.into_iter().map(Discrepancy::UnannouncedMessage));
            let Some(last) = last else { return Ok(()) };
            part(MESSAGES);
            after = last;
        }
    }

    async fn outbox_counts(&self) -> Result<(i64, i64), StoreError> {
        const WAITING: Sql =
            sql!("select count(*) as value from outbox where stream_seq is null and superseded_at is null");
        const REFUSED: Sql = sql!("select count(*) as value from refused_events");
        let waiting = only(dispatch!(self, db => db.fetch(WAITING.into()).await)?)?;
        let refused = only(dispatch!(self, db => db.fetch(REFUSED.into()).await)?)?;
        Ok((waiting, refused))
    }

    /// The first and the last sequence that the outbox knows.
    ///
    /// # Errors
    /// The database is away.
    pub async fn announced_span(&self) -> Result<Option<(i64, i64)>, StoreError> {
        const SPAN: Sql = sql!(
            "select (select min(stream_seq) from outbox where stream_seq is not null) as first,
                    (select max(stream_seq) from outbox where stream_seq is not null) as last"
        );
        let span: Span = only(dispatch!(self, db => db.fetch(SPAN.into()).await)?)?;
        Ok(span.0)
    }

    /// A page of the events that the outbox says are in the stream, from one sequence to another.
    ///
    /// # Errors
    /// The database is away.
    pub async fn announced_between(
        &self,
        first: i64,
        last: i64,
        limit: u32,
    ) -> Result<Vec<AnnouncedEvent>, StoreError> {
        const FIND: Sql = sql!(
            "select event_id, message_id, stream_seq from outbox
             where stream_seq >= $1 and stream_seq <= $2 order by stream_seq limit $3"
        );
        dispatch!(self, db => db.fetch(FIND.bind(first).bind(last).bind(limit)).await)
    }

    /// Marks events as not announced, so that the relay announces them again. Returns how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn announce_again(&self, events: &[Uuid]) -> Result<u64, StoreError> {
        const AGAIN: Sql = sql!(
            "update outbox set stream_seq = null, announced_at = null
             where stream_seq is not null and event_id " [in 1]
        );
        let rows = dispatch!(self, db => db.execute_unsynced(AGAIN.bind(events)).await)?;
        self.wake_relay(rows > 0);
        Ok(rows)
    }
}

/// The last message of a full page.
const LAST_OF_PAGE: Sql =
    sql!("select id as value from messages where id > $1 order by id limit 1 offset $2");

/// Messages after $1 until $2 whose counters differ from a recount.
pub(super) const MISCOUNTED: Sql = sql!(
    "select m.id as value from messages m join (
         select message_id, count(*) as recipients,
                count(*) filter (where rank >= 5) as delivered,
                count(*) filter (where rank = 4) as failed,
                count(*) filter (where rank < 4 and closed) as unconfirmed,
                count(*) filter (where rank = 6) as read,
                count(*) filter (where rank = 4 and failure_code = 'cancelled') as cancelled
         from recipients where message_id in (select id from messages where id > $1 and id <= $2)
         group by message_id) r on r.message_id = m.id
     where (m.recipient_count, m.delivered_count, m.failed_count, m.unconfirmed_count, m.read_count,
            m.cancelled_count)
        <> (r.recipients, r.delivered, r.failed, r.unconfirmed, r.read, r.cancelled)
     order by m.id"
);

/// Messages after $1 until $2 whose newest version has no event, as far back as the outbox is kept.
pub(super) const UNANNOUNCED: Sql = sql!(
    "select m.id as value from messages m
     where m.id > $1 and m.id <= $2
       and exists (select 1 from outbox o where o.message_id = m.id)
       and m.version <> (select max(o.version) from outbox o where o.message_id = m.id)
       and not exists (select 1 from refused_events r where r.message_id = m.id and r.version = m.version)
     order by m.id"
);

fn in_page(sql: Sql, after: Uuid, last: Option<Uuid>) -> Statement<'static> {
    sql.bind(after).bind(last.unwrap_or(Uuid::max()))
}

fn count(ids: &[Uuid]) -> i64 {
    i64::try_from(ids.len()).unwrap_or(i64::MAX)
}

/// The sums of a page of webhooks.
struct WebhookSum {
    sums: Audit,
    webhooks: i64,
    last: Option<String>,
}

impl Read for WebhookSum {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let sums = Audit {
            accepted: row.number("accepted")?,
            applied: row.number("applied")?,
            duplicate: row.number("duplicate")?,
            stale: row.number("stale")?,
            parked: row.number("parked")?,
            received: row.number("received")?,
            ignored: row.number("ignored")?,
            unmatched_webhooks: row.number("unmatched")?,
            ..Audit::default()
        };
        Ok(Self { sums, webhooks: row.number("webhooks")?, last: row.opt_text("last")? })
    }
}

struct Span(Option<(i64, i64)>);

impl Read for Span {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self(row.opt_number("first")?.zip(row.opt_number("last")?)))
    }
}

impl Read for AnnouncedEvent {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: row.id("event_id")?,
            message_id: row.id("message_id")?,
            stream_seq: row.number("stream_seq")?,
        })
    }
}
