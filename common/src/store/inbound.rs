//! Texts that people send to a church: recorded with the batch of their webhooks, and read as front ends see them.

use std::collections::{HashMap, HashSet};

use time::OffsetDateTime;
use uuid::Uuid;

use super::bulk;
use super::columns::{Columns, Read};
use super::database::Database as _;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::outbox_entries::{OutboxEntry, append};
use super::records::{Inbound, InboundQuery, InboundText, Outcome, Sender, Webhook};
use super::rows::WebhookRow;
use super::session::Session;
use super::sql::{Sql, Statement, sql};
use crate::inbound::{InboundEvent, OptOut};
use crate::subject::ChurchId;
use crate::trace_context::TraceParent;

/// Why a text is not recorded.
const NO_CHURCH: &str =
    "the number that it was sent to is no church's; see `ops sender`, TELNYX_FROM and TELNYX_FROM_CHURCH";

impl Store {
    /// A page of the texts that a church received, newest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn inbound(&self, church: &ChurchId, query: &InboundQuery) -> Result<Vec<Inbound>, StoreError> {
        dispatch!(self, db => db.fetch(page_of(church, query)).await)
    }
}

pub(super) fn page_of<'a>(church: &'a ChurchId, query: &InboundQuery) -> Statement<'a> {
    const FIND: Sql = sql!([select inbound] "where church_id = $1");
    Statement::from(FIND)
        .push(query.updated_since.is_some().then_some(sql!(" and recorded_at >= $2")))
        .push(query.before.is_some().then_some(sql!(" and (recorded_at, id) < ($3, $4)")))
        .push(sql!(" order by recorded_at desc, id desc limit $5"))
        .bind(church.as_str())
        .bind(query.updated_since)
        .bind(query.before.map(|(recorded_at, _)| recorded_at))
        .bind(query.before.map(|(_, id)| id))
        .bind(query.limit)
}

impl Read for Inbound {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            church_id: row.church()?,
            from: row.text("from_number")?,
            content: row.text("content")?,
            media_count: row.number("media_count")?,
            // A word of a newer version asks for nothing that this one knows.
            opt_out: row.opt_text("opt_out")?.and_then(|word| OptOut::parse(&word)),
            received_at: row.time("received_at")?,
            recorded_at: row.time("recorded_at")?,
        })
    }
}

/// A text on its way into the record.
struct NewText<'a> {
    id: Uuid,
    church_id: ChurchId,
    webhook: &'a Webhook,
    text: &'a InboundText,
}

/// The texts of a batch of webhooks.
pub(super) struct NewTexts<'a> {
    churches: HashMap<String, ChurchId>,
    texts: Vec<NewText<'a>>,
}

impl<'a> NewTexts<'a> {
    /// Finds the churches of the numbers that the batch's texts were sent to.
    pub(super) async fn open<S: Session>(tx: &mut S, batch: &[Webhook]) -> Result<Self, StoreError> {
        const FIND: Sql =
            sql!("select church_id, number, messaging_profile_id, rate from senders where number " [in 1]);
        let texts = batch.iter().filter_map(Webhook::inbound);
        let numbers: HashSet<&str> = texts.flat_map(|text| text.to.iter().map(String::as_str)).collect();
        let mut senders: Vec<Sender> = Vec::new();
        if !numbers.is_empty() {
            senders = tx.fetch(FIND.bind(Vec::from_iter(numbers))).await?;
        }
        let churches = senders.into_iter().map(|sender| (sender.number, sender.church_id)).collect();
        Ok(Self { churches, texts: Vec::new() })
    }

    /// Takes a webhook's text, if it was sent to a church. Returns the webhook's row.
    pub(super) fn take(&mut self, webhook: &'a Webhook, text: &'a InboundText) -> WebhookRow<'a> {
        let sender = text.to.iter().find_map(|number| self.churches.get(number));
        let Some(church_id) = sender.or(text.default_church.as_ref()).cloned() else {
            return WebhookRow { reason: Some(NO_CHURCH), ..WebhookRow::new(webhook, Outcome::Ignored) };
        };
        self.texts.push(NewText { id: Uuid::now_v7(), church_id, webhook, text });
        WebhookRow::new(webhook, Outcome::Received)
    }

    /// Records the texts and their news. One that another transaction recorded meanwhile has its news already.
    pub(super) async fn save<S: Session>(
        mut self,
        tx: &mut S,
    ) -> Result<Vec<(InboundEvent, Option<TraceParent>)>, StoreError> {
        if self.texts.is_empty() {
            return Ok(Vec::new());
        }
        // In one order in all transactions, because each waits for the other's equal ids.
        self.texts.sort_by_key(|text| &text.webhook.event_id);
        let saved = insert(tx, &self.texts).await?;
        let (mut entries, mut events) = (Vec::new(), Vec::new());
        self.texts.sort_by_key(|text| text.id);
        for NewText { id, church_id, webhook, text } in
            self.texts.into_iter().filter(|text| saved.contains(&text.id))
        {
            let event = InboundEvent::new(church_id, id, text.received_at, text.opt_out);
            entries.push(OutboxEntry::of_inbound(&event)?.traced(webhook.trace_parent.clone()));
            events.push((event, webhook.trace_parent.clone()));
        }
        append(tx, &entries).await?;
        Ok(events)
    }
}

/// Inserts texts. Returns the ids of those that are new.
async fn insert<S: Session>(tx: &mut S, texts: &[NewText<'_>]) -> Result<HashSet<Uuid>, StoreError> {
    const INSERT: Sql = sql!(
        "insert into inbound (recorded_at, forward_at, id, church_id, event_id, from_number, content, media_count,
             opt_out, received_at)
         select $1, $1, id, church_id, event_id, from_number, content, media_count, opt_out, received_at from"
    );
    let new = bulk::rows(texts)
        .id("id", |text| text.id)
        .text("church_id", |text| text.church_id.as_str())
        .text("event_id", |text| &text.webhook.event_id)
        .text("from_number", |text| &text.text.from)
        .text("content", |text| &text.text.content)
        .number("media_count", |text| text.text.media_count.into())
        .opt_text("opt_out", |text| text.text.opt_out.map(|one| one.as_str().to_owned()))
        .time("received_at", |text| text.text.received_at)
        .build();
    let insert = INSERT
        .bind(OffsetDateTime::now_utc())
        .push_rows(new)
        .push(sql!(" where true order by place on conflict (event_id) do nothing returning id as value"));
    Ok(tx.fetch(insert).await?.into_iter().collect())
}
