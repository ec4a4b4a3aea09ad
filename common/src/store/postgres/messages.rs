//! Messages as front ends record and read them.

use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

use super::Postgres;
use crate::event::timestamp::millis;
use crate::store::columns::{Columns as _, Read as _, of_status, read_all, select};
use crate::store::ledger::{Database as _, Ledger as _};
use crate::store::sending::estimate;
use crate::store::{
    HistoryPage, HistoryQuery, IdempotencyKey, Message, NewMessage, Recipient, RecipientQuery, Recorded,
    Sender, StoreError, messages,
};
use crate::subject::ChurchId;

impl Postgres {
    pub(in crate::store) async fn record_message(
        &self,
        message: &NewMessage,
        key: Option<&IdempotencyKey>,
    ) -> Result<Recorded, StoreError> {
        let mut tx = self.begin().await?;
        // On the same connection: there are few.
        let estimated_seconds = estimate::seconds(&mut tx, message).await?;
        if let Some(key) = key
            && let Some((digest, id)) = take_key(tx.connection()?, message, key).await?
        {
            // The first request is committed: the insert of its key waited for that.
            tx.roll_back().await?;
            if digest != key.body_digest {
                return Ok(Recorded::KeyReused);
            }
            let first = self.message(&message.church_id, id).await?;
            return Ok(first.map_or(Recorded::KeyReused, Recorded::Repeated));
        }
        insert_message(tx.connection()?, message, estimated_seconds).await?;
        insert_recipients(tx.connection()?, message).await?;
        tx.append_outbox(&[messages::sent_event(message)?]).await?;
        tx.commit().await?;
        Ok(Recorded::New(messages::as_message(message, estimated_seconds)))
    }

    pub(in crate::store) async fn sender(&self, church: &ChurchId) -> Result<Option<Sender>, StoreError> {
        let query = sqlx::query(select!(senders, "where church_id = $1")).bind(church.as_str());
        query.fetch_optional(&self.pool).await?.map(|row| Sender::read(&row)).transpose()
    }

    pub(in crate::store) async fn set_sender(&self, sender: &Sender) -> Result<(), StoreError> {
        const SQL: &str =
            "insert into senders (church_id, number, messaging_profile_id, rate) values ($1, $2, $3, $4)
             on conflict (church_id) do update
             set number = excluded.number, messaging_profile_id = excluded.messaging_profile_id,
                 rate = excluded.rate";
        sqlx::query(SQL)
            .bind(sender.church_id.as_str())
            .bind(&sender.number)
            .bind(&sender.messaging_profile_id)
            .bind(sender.rate.map(i64::from))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(in crate::store) async fn history(
        &self,
        church: &ChurchId,
        query: &HistoryQuery,
    ) -> Result<HistoryPage, StoreError> {
        let total = match query.before {
            Some(_) => None,
            None => Some(self.count(church, query).await?),
        };
        let mut page = QueryBuilder::new(select!(messages, ""));
        filter(&mut page, church, query);
        if let Some((created_at, id)) = query.before {
            page.push(" and (created_at, id) < (")
                .push_bind(millis(created_at))
                .push(", ")
                .push_bind(id)
                .push(")");
        }
        page.push(" order by created_at desc, id desc limit ").push_bind(i64::from(query.limit));
        page.push(" offset ").push_bind(i64::try_from(query.offset).unwrap_or(i64::MAX));
        let messages = read_all(page.build().fetch_all(&self.pool).await?)?;
        Ok(HistoryPage { messages, total })
    }

    async fn count(&self, church: &ChurchId, query: &HistoryQuery) -> Result<u64, StoreError> {
        let mut count = QueryBuilder::new("select count(*) as total from messages");
        filter(&mut count, church, query);
        let total = count.build().fetch_one(&self.pool).await?.number("total")?;
        Ok(u64::try_from(total).unwrap_or(0))
    }

    pub(in crate::store) async fn message(
        &self,
        church: &ChurchId,
        id: Uuid,
    ) -> Result<Option<Message>, StoreError> {
        let query =
            sqlx::query(select!(messages, "where id = $1 and church_id = $2")).bind(id).bind(church.as_str());
        query.fetch_optional(&self.pool).await?.map(|row| Message::read(&row)).transpose()
    }

    pub(in crate::store) async fn recipients(
        &self,
        church: &ChurchId,
        message: Uuid,
        query: &RecipientQuery,
    ) -> Result<Vec<Recipient>, StoreError> {
        let mut page = QueryBuilder::new(select!(recipients, "where message_id = "));
        page.push_bind(message).push(" and church_id = ").push_bind(church.as_str().to_owned());
        if let Some(after) = query.after {
            page.push(" and ordinal > ").push_bind(after);
        }
        if let Some(status) = query.status {
            page.push(" and ").push(of_status(status));
        }
        page.push(" order by ordinal limit ").push_bind(i64::from(query.limit));
        read_all(page.build().fetch_all(&self.pool).await?)
    }
}

/// Takes the key, or finds what it was taken for. Waits for a transaction that is taking it.
async fn take_key(
    connection: &mut PgConnection,
    message: &NewMessage,
    key: &IdempotencyKey,
) -> Result<Option<(Vec<u8>, Uuid)>, StoreError> {
    const TAKE: &str = "insert into idempotency_keys (church_id, key, body_digest, message_id, created_at)
                        values ($1, $2, $3, $4, $5) on conflict do nothing";
    let taken = sqlx::query(TAKE)
        .bind(message.church_id.as_str())
        .bind(&key.key)
        .bind(&key.body_digest)
        .bind(message.id)
        .bind(millis(message.created_at))
        .execute(&mut *connection)
        .await?;
    if taken.rows_affected() == 1 {
        return Ok(None);
    }
    const FIND: &str =
        "select body_digest, message_id from idempotency_keys where church_id = $1 and key = $2";
    let found = sqlx::query_as(FIND).bind(message.church_id.as_str()).bind(&key.key);
    Ok(Some(found.fetch_one(connection).await?))
}

async fn insert_message(
    connection: &mut PgConnection,
    message: &NewMessage,
    estimated_seconds: Option<i64>,
) -> Result<(), StoreError> {
    const SQL: &str = "insert into messages (id, church_id, author_id, conversation_id, content, target_type, media_urls,
             from_number, messaging_profile_id, send_at, status, version, recipient_count, created_at, updated_at,
             estimated_seconds)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'pending', 1, $11, $12, $12, $13)";
    sqlx::query(SQL)
        .bind(message.id)
        .bind(message.church_id.as_str())
        .bind(&message.author_id)
        .bind(&message.conversation_id)
        .bind(&message.content)
        .bind(&message.target_type)
        .bind(messages::media_urls(message)?)
        .bind(&message.from_number)
        .bind(&message.messaging_profile_id)
        .bind(message.send_at.map(millis))
        .bind(i64::try_from(message.recipients.len()).unwrap_or(i64::MAX))
        .bind(millis(message.created_at))
        .bind(estimated_seconds)
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert_recipients(connection: &mut PgConnection, message: &NewMessage) -> Result<(), StoreError> {
    const SQL: &str =
        "insert into recipients (message_id, church_id, due_at, sender, id, ordinal, phone, member_id,
             first_name, last_name)
         select $1, $2, $3, $4, new.id, new.ordinal, new.phone, new.member_id, new.first_name, new.last_name
         from unnest($5::uuid[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[])
             as new (id, ordinal, phone, member_id, first_name, last_name)";
    let rows = &message.recipients;
    sqlx::query(SQL)
        .bind(message.id)
        .bind(message.church_id.as_str())
        .bind(millis(message.send_at.unwrap_or(message.created_at)))
        .bind(messages::sender(message))
        .bind(rows.iter().map(|r| r.id).collect::<Vec<_>>())
        .bind((0i64..).take(rows.len()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.phone.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.member_id.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.first_name.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.last_name.clone()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

fn filter(sql: &mut QueryBuilder<sqlx::Postgres>, church: &ChurchId, query: &HistoryQuery) {
    sql.push(" where church_id = ").push_bind(church.as_str().to_owned());
    if !query.statuses.is_empty() {
        let words: Vec<&'static str> = query.statuses.iter().map(|status| status.as_str()).collect();
        sql.push(" and status = any(").push_bind(words).push(")");
    }
    if let Some(since) = query.updated_since {
        sql.push(" and updated_at >= ").push_bind(millis(since));
    }
}
