//! Retrying: a new message to recipients of an earlier one that failed for a passing reason.

use uuid::Uuid;

use super::columns::{Columns, Read, unreadable};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::messages::{find, insert_message, insert_recipients, sent_event};
use super::outbox_entries::append;
use super::records::{NewMessage, NewRecipient, NewRetry, Retried, UNRESOLVED};
use super::rows::ERASED;
use super::sending::estimate;
use super::session::{Session, end, only};
use super::sql::{Sql, sql};
use crate::failure::PASSING;

impl Store {
    /// Sends a message again to its recipients that failed for a passing reason ([`PASSING`]), as a new message. Each
    /// recipient is retried at most once, so a second call returns the first one's message.
    ///
    /// # Errors
    /// The database is away. The retry may be recorded all the same; call again.
    pub async fn retry(&self, retry: &NewRetry) -> Result<Retried, StoreError> {
        let (id, is_new) = match dispatch!(self, db => record(db, retry).await)? {
            Recorded::New => (retry.id, true),
            Recorded::Earlier(id) => (id, false),
            Recorded::Nothing => return Ok(Retried::Nothing),
        };
        self.wake_relay(is_new);
        let message = dispatch!(self, db => find(db, &retry.church_id, id).await)?;
        // Retention may have deleted an earlier retry: it may end long before the message.
        Ok(message.map_or(Retried::Nothing, if is_new { Retried::New } else { Retried::Repeated }))
    }
}

enum Recorded {
    New,
    Earlier(Uuid),
    Nothing,
}

async fn record<D: Database>(db: &D, retry: &NewRetry) -> Result<Recorded, StoreError> {
    let mut tx = db.begin().await?;
    let recorded = record_in(&mut tx, retry).await;
    end(tx, recorded).await
}

async fn record_in<S: Session>(tx: &mut S, retry: &NewRetry) -> Result<Recorded, StoreError> {
    let original = lock_original(tx, retry).await?;
    let failed = failed_recipients(tx, retry).await?;
    if failed.is_empty() {
        return Ok(newest_retry(tx, retry).await?.map_or(Recorded::Nothing, Recorded::Earlier));
    }
    let (taken, recipients): (Vec<Uuid>, Vec<NewRecipient>) =
        failed.into_iter().map(|one| (one.id, one.anew())).unzip();
    let message = original.again(retry, recipients);
    let estimated_seconds = estimate::seconds(tx, &message).await?;
    insert_message(tx, &message, estimated_seconds).await?;
    insert_recipients(tx, &message).await?;
    link(tx, retry, &taken).await?;
    append(tx, &[sent_event(&message)?]).await?;
    Ok(Recorded::New)
}

/// What a retry repeats.
struct Original {
    conversation_id: Option<String>,
    content: String,
    target_type: String,
    media_urls: Vec<String>,
}

impl Read for Original {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            conversation_id: row.opt_text("conversation_id")?,
            content: row.text("content")?,
            target_type: row.text("target_type")?,
            media_urls: serde_json::from_str(&row.text("media_urls")?)
                .map_err(|_| unreadable("media_urls"))?,
        })
    }
}

impl Original {
    fn again(self, retry: &NewRetry, recipients: Vec<NewRecipient>) -> NewMessage {
        NewMessage {
            id: retry.id,
            church_id: retry.church_id.clone(),
            author_id: retry.author_id.clone(),
            conversation_id: self.conversation_id,
            content: self.content,
            target_type: self.target_type,
            media_urls: self.media_urls,
            from_number: retry.from_number.clone(),
            messaging_profile_id: retry.messaging_profile_id.clone(),
            send_at: None,
            recipients,
            created_at: retry.created_at,
            trace_parent: retry.trace_parent.clone(),
        }
    }
}

/// Locks the message, so that two retries of it come one after the other.
async fn lock_original<S: Session>(tx: &mut S, retry: &NewRetry) -> Result<Original, StoreError> {
    const LOCK: Sql = sql!(
        "select conversation_id, content, target_type, media_urls from messages
         where id = $1 and church_id = $2"[lock]
    );
    only(tx.fetch(LOCK.bind(retry.retry_of).bind(retry.church_id.as_str())).await?)
}

/// A recipient to be retried.
struct Failed {
    id: Uuid,
    phone: String,
    member_id: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
}

impl Read for Failed {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            phone: row.text("phone")?,
            member_id: row.opt_text("member_id")?,
            first_name: row.opt_text("first_name")?,
            last_name: row.opt_text("last_name")?,
        })
    }
}

impl Failed {
    fn anew(self) -> NewRecipient {
        let Self { phone, member_id, first_name, last_name, .. } = self;
        NewRecipient { id: Uuid::now_v7(), phone, member_id, first_name, last_name }
    }
}

async fn failed_recipients<S: Session>(tx: &mut S, retry: &NewRetry) -> Result<Vec<Failed>, StoreError> {
    const FIND: Sql = sql!(
        "select id, phone, member_id, first_name, last_name from recipients
         where message_id = $1 and church_id = $2 and rank = 4 and retry_id is null and phone <> $3
           and failure_code " [in 4] " order by ordinal"
    );
    let unresolved = retry.include_unresolved.then_some(UNRESOLVED);
    let codes: Vec<&str> = PASSING.into_iter().chain(unresolved).collect();
    let find = FIND.bind(retry.retry_of).bind(retry.church_id.as_str()).bind(ERASED).bind(codes);
    tx.fetch(find).await
}

async fn newest_retry<S: Session>(tx: &mut S, retry: &NewRetry) -> Result<Option<Uuid>, StoreError> {
    // The ids are in the order of their time.
    const FIND: Sql = sql!(
        "select retry_id as value from recipients
         where message_id = $1 and church_id = $2 and retry_id is not null order by retry_id desc limit 1"
    );
    Ok(tx.fetch(FIND.bind(retry.retry_of).bind(retry.church_id.as_str())).await?.pop())
}

/// Links the new message and the old recipients.
async fn link<S: Session>(tx: &mut S, retry: &NewRetry, recipients: &[Uuid]) -> Result<(), StoreError> {
    const MESSAGE: Sql = sql!("update messages set retry_of = $1 where id = $2");
    const RECIPIENTS: Sql = sql!("update recipients set retry_id = $1 where id " [in 2]);
    tx.execute(MESSAGE.bind(retry.retry_of).bind(retry.id)).await?;
    tx.execute(RECIPIENTS.bind(retry.id).bind(recipients)).await.map(drop)
}
