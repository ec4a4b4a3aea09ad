//! A message's life: all that is recorded of it, for operators. Nothing is written for this.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch, on_either};
use super::ledger::Ledger as _;
use super::records::{EventTrace, FoundMessage, KeptBody, KeptWebhook, Origin, RecipientLife};
use super::session::{Session as _, leave};
use super::sql::{Sql, Statement, sql};

/// No index leads from a recipient to its webhooks. They are looked for in the time in which they came, in parts of
/// this length, so that no read takes long.
const PART: Duration = Duration::hours(1);

impl Store {
    /// Finds a message by its own id, a recipient's id, or Telnyx's id.
    ///
    /// # Errors
    /// The database is away.
    pub async fn find_message(&self, id: &str) -> Result<Option<FoundMessage>, StoreError> {
        const OF_MESSAGE: Sql =
            sql!("select church_id, id as message_id, null as recipient_id from messages where id = $1");
        const OF_RECIPIENT: Sql =
            sql!("select church_id, message_id, id as recipient_id from recipients where id = $1");
        const OF_TELNYX: Sql =
            sql!("select church_id, message_id, id as recipient_id from recipients where provider_id = $1");
        if let Ok(ours) = id.parse::<Uuid>() {
            for find in [OF_MESSAGE, OF_RECIPIENT] {
                let found = dispatch!(self, db => db.fetch(find.bind(ours)).await)?.pop();
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(dispatch!(self, db => db.fetch(OF_TELNYX.bind(id)).await)?.pop())
    }

    /// Finds the newest messages to a number, newest first. Reads from the newest recipient on, without a time limit.
    ///
    /// # Errors
    /// The database is away.
    pub async fn messages_to(&self, phone: &str, limit: u32) -> Result<Vec<FoundMessage>, StoreError> {
        on_either!(self, db => messages_to(db, phone, limit).await)
    }

    /// How a message was asked for.
    ///
    /// # Errors
    /// The database is away.
    pub async fn origin(&self, message: Uuid) -> Result<Option<Origin>, StoreError> {
        const FIND: Sql = sql!(
            "select from_number, messaging_profile_id, send_at, cancelled_by from messages where id = $1"
        );
        Ok(dispatch!(self, db => db.fetch(FIND.bind(message)).await)?.pop())
    }

    /// What happened to a message's recipients: to one of them, or to the first ones, unfinished and failed ones first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn recipient_lives(
        &self,
        message: Uuid,
        recipient: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<RecipientLife>, StoreError> {
        const FIND: Sql = sql!(
            "select id, phone, rank, closed, sender, due_at, attempted_at, tried, provider_id, asked, ask_at,
                    delivered_at, failed_at, failure_code, failure_reason, retry_id
             from recipients where message_id = $1"
        );
        const ORDER: Sql =
            sql!(" order by case when rank >= 5 then 2 when rank = 4 then 1 else 0 end, ordinal limit $3");
        let find = FIND
            .bind(message)
            .bind(recipient)
            .bind(limit)
            .push(recipient.is_some().then_some(sql!(" and id = $2")))
            .push(ORDER);
        dispatch!(self, db => db.fetch(find.clone()).await)
    }

    /// The webhooks of recipients that came between two moments, oldest first, each with its body; empty if it was erased.
    ///
    /// # Errors
    /// The database is away.
    pub async fn webhooks_of(
        &self,
        recipients: &[RecipientLife],
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Vec<(KeptWebhook, KeptBody)>, StoreError> {
        let mut all = Vec::new();
        let mut begin = from;
        while begin <= until {
            let part = webhooks_between(recipients, begin, begin + PART);
            all.extend(dispatch!(self, db => db.fetch(part.clone()).await)?);
            begin += PART;
        }
        Ok(all)
    }

    /// The events of a message, as far back as the outbox is kept, oldest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn events_of(&self, message: Uuid) -> Result<Vec<EventTrace>, StoreError> {
        const FIND: Sql = sql!(
            "select event_id, version, created_at, stream_seq, announced_at, superseded_at, null as refused
             from outbox where message_id = $1
             union all
             select event_id, version, created_at, null, null, null, reason
             from refused_events where message_id = $1
             order by version, created_at"
        );
        dispatch!(self, db => db.fetch(FIND.bind(message)).await)
    }
}

async fn messages_to<D: Database>(db: &D, phone: &str, limit: u32) -> Result<Vec<FoundMessage>, StoreError> {
    // The ids are in the order of their time.
    const FIND: Sql = sql!(
        "select church_id, message_id, id as recipient_id from recipients where phone = $1
         order by id desc limit $2"
    );
    let mut tx = db.begin_reading().await?;
    let found = match tx.lift_time_limit().await {
        Ok(()) => tx.fetch(FIND.bind(phone).bind(limit)).await,
        Err(error) => Err(error),
    };
    leave(tx, found).await
}

/// The webhooks of recipients in a part of the time.
pub(super) fn webhooks_between(
    recipients: &[RecipientLife],
    from: OffsetDateTime,
    until: OffsetDateTime,
) -> Statement<'static> {
    const FIND: Sql = sql!(
        "select " [kept webhook] ", body from webhooks where received_at >= $1 and received_at < $2
           and (recipient_id " [in 3] " or provider_id " [in 4] ") order by received_at, event_id"
    );
    let ids: Vec<Uuid> = recipients.iter().map(|recipient| recipient.id).collect();
    let provider_ids: Vec<&str> =
        recipients.iter().filter_map(|recipient| recipient.provider_id.as_deref()).collect();
    Statement::from(FIND).bind(from).bind(until).bind(ids).bind(provider_ids)
}

impl Read for FoundMessage {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            church_id: row.church()?,
            message_id: row.id("message_id")?,
            recipient_id: row.opt_id("recipient_id")?,
        })
    }
}

impl Read for Origin {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            from_number: row.opt_text("from_number")?,
            messaging_profile_id: row.opt_text("messaging_profile_id")?,
            send_at: row.opt_time("send_at")?,
            cancelled_by: row.opt_text("cancelled_by")?,
        })
    }
}

impl Read for RecipientLife {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            phone: row.text("phone")?,
            state: row.state()?,
            sender: row.text("sender")?,
            due_at: row.time("due_at")?,
            attempted_at: row.opt_time("attempted_at")?,
            tried: row.count("tried")?,
            provider_id: row.opt_text("provider_id")?,
            asked: row.count("asked")?,
            ask_at: row.opt_time("ask_at")?,
            delivered_at: row.opt_time("delivered_at")?,
            failed_at: row.opt_time("failed_at")?,
            failure: row.failure()?,
            retry_id: row.opt_id("retry_id")?,
        })
    }
}

impl Read for KeptWebhook {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: row.text("event_id")?,
            event_type: row.text("event_type")?,
            outcome: row.text("outcome")?,
            reason: row.opt_text("reason")?,
            recipient_id: row.opt_id("recipient_id")?,
            provider_id: row.opt_text("provider_id")?,
            deliveries: row.number("deliveries")?,
            occurred_at: row.opt_time("occurred_at")?,
            received_at: row.time("received_at")?,
        })
    }
}

impl Read for EventTrace {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: row.id("event_id")?,
            version: row.number("version")?,
            created_at: row.time("created_at")?,
            stream_seq: row.opt_number("stream_seq")?,
            announced_at: row.opt_time("announced_at")?,
            superseded_at: row.opt_time("superseded_at")?,
            refused: row.opt_text("refused")?,
        })
    }
}
