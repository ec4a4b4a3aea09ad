//! Messages: recorded with their recipients and event in one transaction, and read as front ends see them.

use uuid::Uuid;

use super::bulk;
use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::outbox_entries::{OutboxEntry, append};
use super::records::{
    IdempotencyKey, Message, NewMessage, NewRecipient, Recipient, RecipientQuery, Recorded,
};
use super::rows::{MessageRow, json};
use super::sending::estimate;
use super::session::{Session, leave, only};
use super::sql::{Sql, Statement, sql};
use crate::event::EventType;
use crate::status::{MessageStatus, Tally};
use crate::subject::ChurchId;

/// The version of a message that was just recorded.
const FIRST_VERSION: i64 = 1;

impl Store {
    /// Records a message with its recipients and its `message:sent` event in one transaction. With a key, a repeated
    /// request gets the message of the first one; a request that comes at the same time waits for it.
    ///
    /// # Errors
    /// The database is away or refuses the message, or it is unknown whether it was recorded
    /// ([`StoreError::OutcomeUnknown`]).
    pub async fn record_message(
        &self,
        message: &NewMessage,
        key: Option<&IdempotencyKey>,
    ) -> Result<Recorded, StoreError> {
        let recorded = dispatch!(self, db => record(db, message, key).await)?;
        self.wake_relay(matches!(recorded, Recorded::New(_)));
        Ok(recorded)
    }

    /// What a request with this key came to, if one was recorded before.
    ///
    /// # Errors
    /// The database is away.
    pub async fn recorded_before(
        &self,
        church: &ChurchId,
        key: &IdempotencyKey,
    ) -> Result<Option<Recorded>, StoreError> {
        dispatch!(self, db => recorded_before(db, church, key).await)
    }

    /// One message of a church.
    ///
    /// # Errors
    /// The database is away.
    pub async fn message(&self, church: &ChurchId, id: Uuid) -> Result<Option<Message>, StoreError> {
        dispatch!(self, db => find(db, church, id).await)
    }

    /// A page of the recipients of one message of a church, in the order in which they were given.
    ///
    /// # Errors
    /// The database is away.
    pub async fn recipients(
        &self,
        church: &ChurchId,
        message: Uuid,
        query: &RecipientQuery,
    ) -> Result<Vec<Recipient>, StoreError> {
        dispatch!(self, db => db.fetch(recipients_of(church, message, query)).await)
    }
}

async fn record<D: Database>(
    db: &D,
    message: &NewMessage,
    key: Option<&IdempotencyKey>,
) -> Result<Recorded, StoreError> {
    let mut reading = db.begin_reading().await?;
    let estimated_seconds = match estimate::seconds(&mut reading, message).await {
        Ok(seconds) => seconds,
        Err(error) => return leave(reading, Err(error)).await,
    };
    let mut tx = db.begin_writing(reading).await?;
    if let Some(key) = key
        && let Some(first) = take_key(&mut tx, message, key).await?
    {
        // The first request is committed: taking the key waited for that.
        tx.roll_back().await?;
        return repeated(db, &message.church_id, &first, key).await;
    }
    insert_message(&mut tx, message, estimated_seconds).await?;
    insert_recipients(&mut tx, message).await?;
    append(&mut tx, &[sent_event(message)?]).await?;
    tx.commit().await?;
    Ok(Recorded::New(as_message(message, estimated_seconds)))
}

async fn recorded_before<D: Database>(
    db: &D,
    church: &ChurchId,
    key: &IdempotencyKey,
) -> Result<Option<Recorded>, StoreError> {
    match db.fetch(FIRST_REQUEST.bind(church.as_str()).bind(&key.key)).await?.pop() {
        Some(first) => repeated(db, church, &first, key).await.map(Some),
        None => Ok(None),
    }
}

async fn repeated<D: Database>(
    db: &D,
    church: &ChurchId,
    first: &FirstRequest,
    key: &IdempotencyKey,
) -> Result<Recorded, StoreError> {
    if first.body_digest != key.body_digest {
        return Ok(Recorded::KeyReused);
    }
    let found = find(db, church, first.message_id).await?;
    Ok(found.map_or(Recorded::KeyReused, Recorded::Repeated))
}

const FIRST_REQUEST: Sql =
    sql!("select body_digest, message_id from idempotency_keys where church_id = $1 and key = $2");

/// The first request with a key.
struct FirstRequest {
    body_digest: Vec<u8>,
    message_id: Uuid,
}

impl Read for FirstRequest {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self { body_digest: row.bytes("body_digest")?, message_id: row.id("message_id")? })
    }
}

/// Takes the key, or finds the request that took it. Waits for a transaction that is taking it.
async fn take_key<S: Session>(
    tx: &mut S,
    message: &NewMessage,
    key: &IdempotencyKey,
) -> Result<Option<FirstRequest>, StoreError> {
    const TAKE: Sql = sql!(
        "insert into idempotency_keys (church_id, key, body_digest, message_id, created_at)
                            values ($1, $2, $3, $4, $5) on conflict do nothing"
    );
    let take = TAKE
        .bind(message.church_id.as_str())
        .bind(&key.key)
        .bind(key.body_digest.as_slice())
        .bind(message.id)
        .bind(message.created_at);
    if tx.execute(take).await? == 1 {
        return Ok(None);
    }
    only(tx.fetch(FIRST_REQUEST.bind(message.church_id.as_str()).bind(&key.key)).await?).map(Some)
}

pub(super) async fn insert_message<S: Session>(
    tx: &mut S,
    message: &NewMessage,
    estimated_seconds: Option<i64>,
) -> Result<(), StoreError> {
    const INSERT: Sql = sql!(
        "insert into messages (id, church_id, author_id, conversation_id, content, target_type, media_urls,
             from_number, messaging_profile_id, send_at, status, version, recipient_count, created_at, updated_at,
             estimated_seconds)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'pending', 1, $11, $12, $12, $13)"
    );
    let insert = INSERT
        .bind(message.id)
        .bind(message.church_id.as_str())
        .bind(&message.author_id)
        .bind(&message.conversation_id)
        .bind(&message.content)
        .bind(&message.target_type)
        .bind(json(&message.media_urls)?)
        .bind(&message.from_number)
        .bind(&message.messaging_profile_id)
        .bind(message.send_at)
        .bind(i64::from(tally(message).recipients))
        .bind(message.created_at)
        .bind(estimated_seconds);
    tx.execute(insert).await.map(drop)
}

pub(super) async fn insert_recipients<S: Session>(
    tx: &mut S,
    message: &NewMessage,
) -> Result<(), StoreError> {
    const INSERT: Sql = sql!(
        "insert into recipients (message_id, church_id, due_at, sender, id, ordinal, phone, member_id, first_name,
             last_name)
         select $1, $2, $3, $4, id, ordinal, phone, member_id, first_name, last_name from"
    );
    let recipients: Vec<(i64, &NewRecipient)> = (0..).zip(&message.recipients).collect();
    let new = bulk::rows(&recipients)
        .id("id", |(_, recipient)| recipient.id)
        .number("ordinal", |(ordinal, _)| *ordinal)
        .text("phone", |(_, recipient)| &recipient.phone)
        .opt_text("member_id", |(_, recipient)| recipient.member_id.clone())
        .opt_text("first_name", |(_, recipient)| recipient.first_name.clone())
        .opt_text("last_name", |(_, recipient)| recipient.last_name.clone())
        .build();
    let insert = INSERT
        .bind(message.id)
        .bind(message.church_id.as_str())
        .bind(message.send_at.unwrap_or(message.created_at))
        .bind(message.sender())
        .push_rows(new);
    tx.execute(insert).await.map(drop)
}

fn tally(message: &NewMessage) -> Tally {
    Tally::new(i32::try_from(message.recipients.len()).unwrap_or(i32::MAX))
}

/// The message as front ends see it.
fn as_message(new: &NewMessage, estimated_seconds: Option<i64>) -> Message {
    Message {
        id: new.id,
        church_id: new.church_id.clone(),
        author_id: new.author_id.clone(),
        conversation_id: new.conversation_id.clone(),
        content: new.content.clone(),
        target_type: new.target_type.clone(),
        status: MessageStatus::Pending,
        version: FIRST_VERSION,
        tally: tally(new),
        failure_reason: None,
        sent_at: None,
        created_at: new.created_at,
        updated_at: new.created_at,
        retry_of: None,
        estimated_seconds,
    }
}

/// Its `message:sent` event.
pub(super) fn sent_event(new: &NewMessage) -> Result<OutboxEntry, StoreError> {
    let row = MessageRow {
        id: new.id,
        church_id: new.church_id.clone(),
        author_id: new.author_id.clone(),
        conversation_id: new.conversation_id.clone(),
        status: MessageStatus::Pending,
        version: FIRST_VERSION,
        tally: tally(new),
        failure_reason: None,
        cancelled_by: None,
        sent_at: None,
        updated_at: new.created_at,
    };
    let entry = OutboxEntry::new(&row.event(EventType::Sent, new.created_at), false)?;
    Ok(entry.traced(new.trace_parent.clone()))
}

pub(super) async fn find<D: Database>(
    db: &D,
    church: &ChurchId,
    id: Uuid,
) -> Result<Option<Message>, StoreError> {
    const FIND: Sql = sql!("select " [message] " from messages where id = $1 and church_id = $2");
    Ok(db.fetch(FIND.bind(id).bind(church.as_str())).await?.pop())
}

fn recipients_of<'a>(church: &'a ChurchId, message: Uuid, query: &RecipientQuery) -> Statement<'a> {
    const FIND: Sql = sql!([select recipients] "where message_id = $1 and church_id = $2");
    FIND.bind(message)
        .bind(church.as_str())
        .bind(query.after)
        .bind(query.limit)
        .push(query.after.is_some().then_some(sql!(" and ordinal > $3")))
        .push(query.status.map(of_status))
        .push(sql!(" order by ordinal limit $4"))
}

/// The condition for [`RecipientState::status`](crate::status::RecipientState::status) to be a status.
fn of_status(status: MessageStatus) -> Sql {
    match status {
        MessageStatus::Pending => sql!(" and "[open]),
        MessageStatus::Sent => sql!(" and rank < 4 and closed"),
        MessageStatus::Failed => sql!(" and rank = 4"),
        MessageStatus::Delivered => sql!(" and rank = 5"),
        MessageStatus::Read => sql!(" and rank = 6"),
    }
}

impl Read for Message {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            church_id: row.church()?,
            author_id: row.text("author_id")?,
            conversation_id: row.opt_text("conversation_id")?,
            content: row.text("content")?,
            target_type: row.text("target_type")?,
            status: row.status()?,
            version: row.number("version")?,
            tally: row.tally()?,
            failure_reason: row.opt_text("failure_reason")?,
            sent_at: row.opt_time("sent_at")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            retry_of: row.opt_id("retry_of")?,
            estimated_seconds: row.opt_number("estimated_seconds")?,
        })
    }
}

impl Read for Recipient {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            ordinal: row.number("ordinal")?,
            phone: row.text("phone")?,
            member_id: row.opt_text("member_id")?,
            first_name: row.opt_text("first_name")?,
            last_name: row.opt_text("last_name")?,
            state: row.state()?,
            delivered_at: row.opt_time("delivered_at")?,
            failed_at: row.opt_time("failed_at")?,
            failure: row.failure()?,
        })
    }
}
