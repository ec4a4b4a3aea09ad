//! The view "Messages": ready-made lists, search, and one message's life.

use anyhow::Context as _;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use common::store::{FailureQuery, FoundMessage, HistoryQuery, Message, StuckQuery, Waiting};
use common::subject::ChurchId;
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::answer::{answer, refusal};
use super::command;
use super::site::Site;
use crate::ops::found::found;
use crate::ops::names::named;
use crate::ops::output::{counted, moment};
use crate::ops::sender::e164;
use crate::ops::{failures, message, stuck};

/// Rows of a list.
const SHOWN: u32 = 100;
/// Messages of a church on a page.
const PAGE: u32 = 50;

/// Which failures are shown.
#[derive(Deserialize)]
pub(super) struct Failed {
    code: Option<String>,
    church: Option<ChurchId>,
}

/// Which stuck messages are shown.
#[derive(Deserialize)]
pub(super) struct Stuck {
    waiting: Option<String>,
}

/// What is looked for.
#[derive(Deserialize)]
pub(super) struct Search {
    text: String,
}

/// A page of a church's messages.
#[derive(Deserialize)]
pub(super) struct OfChurch {
    church: ChurchId,
    before: Option<Uuid>,
}

/// `GET /api/messages/stuck`. An attempt has an answer within seconds; the rest may wait for ten minutes.
pub(super) async fn stuck(
    State(site): State<Site>,
    headers: HeaderMap,
    Query(asked): Query<Stuck>,
) -> Response {
    let waiting = match asked.waiting.as_deref().map(named::<Waiting>).transpose() {
        Ok(waiting) => waiting,
        Err(error) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, &error),
    };
    let is_attempt = asked.waiting.as_deref() == Some("unanswered");
    let (minutes, written) = if is_attempt { (1, "1m") } else { (10, "10m") };
    let before = OffsetDateTime::now_utc() - Duration::minutes(minutes);
    let query = StuckQuery { before, waiting, church: None, limit: SHOWN };
    let mut words = vec!["stuck", "--for", written];
    words.extend(asked.waiting.iter().flat_map(|waiting| ["--waiting", waiting.as_str()]));
    answer(&headers, &command::ops(&words), stuck::read(&site.store, &query).await)
}

/// `GET /api/messages/failed`: of the last 24 hours.
pub(super) async fn failed(
    State(site): State<Site>,
    headers: HeaderMap,
    Query(asked): Query<Failed>,
) -> Response {
    let mut words = vec!["failures", "--since", "24h"];
    words.extend(asked.church.iter().flat_map(|church| ["--church", church.as_str()]));
    words.extend(asked.code.iter().flat_map(|code| ["--code", code.as_str()]));
    let command = command::ops(&words);
    let since = OffsetDateTime::now_utc() - Duration::hours(24);
    let query = FailureQuery { since, church: asked.church.clone(), code: asked.code.clone() };
    answer(&headers, &command, failures::read(&site.store, &query, SHOWN).await)
}

/// `GET /api/messages/search`: the lives of the messages that a number, or one of our or Telnyx's ids, leads to.
pub(super) async fn search(
    State(site): State<Site>,
    headers: HeaderMap,
    Query(asked): Query<Search>,
) -> Response {
    let text = asked.text.trim();
    if e164(text).is_ok() {
        return answer(&headers, &command::ops(&["message", "--phone", text]), to_phone(&site, text).await);
    }
    answer(&headers, &command::ops(&["message", text]), by_id(&site, text).await)
}

async fn to_phone(site: &Site, phone: &str) -> anyhow::Result<Value> {
    let found = message::to_phone(&site.store, phone).await?;
    let newest = if found.len() < message::MESSAGES as usize { "" } else { "the newest " };
    let messages = counted(found.len() as i64, "message");
    told(site, &found, format!("{newest}{messages} to {phone}")).await
}

async fn by_id(site: &Site, id: &str) -> anyhow::Result<Value> {
    let found = found(&site.store, id).await?;
    let says = match found.recipient_id.map(|recipient| recipient.to_string()) {
        None => "the message with this id",
        Some(recipient) if recipient.eq_ignore_ascii_case(id) => "the message to the recipient with this id",
        Some(_) => "the message that Telnyx knows by this id",
    };
    told(site, &[found], says.into()).await
}

/// What was found, and what it is.
async fn told(site: &Site, found: &[FoundMessage], says: String) -> anyhow::Result<Value> {
    let mut rows = Vec::new();
    for FoundMessage { church_id, message_id, recipient_id } in found {
        let message = site.store.message(church_id, *message_id).await?.context(message::GONE)?;
        let mut row = row(&message);
        row["recipientId"] = json!(recipient_id);
        rows.push(row);
    }
    Ok(json!({ "says": says, "messages": rows }))
}

/// `GET /api/messages/{id}`: its life; of one recipient alone if the id is a recipient's or Telnyx's.
pub(super) async fn life(State(site): State<Site>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let life = async { site.sources().life(found(&site.store, &id).await?).await };
    answer(&headers, &command::ops(&["message", &id]), life.await)
}

/// `GET /api/messages`: the messages of a church, newest first.
pub(super) async fn of_church(
    State(site): State<Site>,
    headers: HeaderMap,
    Query(asked): Query<OfChurch>,
) -> Response {
    answer(&headers, "", page(&site, &asked).await)
}

async fn page(site: &Site, asked: &OfChurch) -> anyhow::Result<Vec<Value>> {
    let last = match asked.before {
        Some(id) => site.store.message(&asked.church, id).await?,
        None => None,
    };
    // Counting all messages of a church reads all of them; a page before "now" counts none.
    let end = (OffsetDateTime::now_utc() + Duration::hours(1), Uuid::max());
    let before = last.map_or(end, |message| (message.created_at, message.id));
    let query = HistoryQuery { limit: PAGE, before: Some(before), ..HistoryQuery::default() };
    let page = site.store.history(&asked.church, &query).await?;
    Ok(page.messages.iter().map(row).collect())
}

/// A message without its text.
fn row(message: &Message) -> Value {
    json!({
        "messageId": message.id,
        "churchId": message.church_id,
        "authorId": message.author_id,
        "status": message.status.as_str(),
        "createdAt": moment(message.created_at),
        "recipientCount": message.tally.recipients,
        "deliveredCount": message.tally.delivered,
        "failedCount": message.tally.failed,
        "unconfirmedCount": message.tally.unconfirmed,
        "failureReason": message.failure_reason,
    })
}
