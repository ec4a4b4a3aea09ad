//! The view "Webhooks": what came, by what became of it, and one webhook with its body.

use anyhow::Context as _;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use common::event::timestamp;
use common::store::{FoundMessage, KeptWebhook, Outcome, WebhookQuery};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::answer::{answer, refusal};
use super::command;
use super::site::Site;
use crate::ops::kept::Kept;
use crate::ops::names::named;
use crate::ops::output::counted;
use crate::ops::{message, webhooks};

/// Webhooks on a page.
const PAGE: u32 = 100;
/// How far back the list reads.
const DAYS: i64 = 7;

/// Which webhooks are shown.
#[derive(Deserialize)]
pub(super) struct Asked {
    outcome: Option<String>,
    /// The time and the id of the last one of the page before.
    before: Option<String>,
    id: Option<String>,
}

/// What is looked for.
#[derive(Deserialize)]
pub(super) struct Search {
    text: String,
}

/// `GET /api/webhooks`.
pub(super) async fn list(
    State(site): State<Site>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    let outcome = match asked.outcome.as_deref().map(named::<Outcome>).transpose() {
        Ok(outcome) => outcome,
        Err(error) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, &error),
    };
    let before = asked.before.as_deref().and_then(timestamp::parse).zip(asked.id);
    let since = OffsetDateTime::now_utc() - Duration::days(DAYS);
    let query = WebhookQuery { outcome, since, before, limit: PAGE };
    let mut words = vec!["webhooks", "--since", "7d"];
    words.extend(asked.outcome.iter().flat_map(|outcome| ["--outcome", outcome.as_str()]));
    answer(&headers, &command::ops(&words), webhooks::read(&site.store, &query).await)
}

/// `GET /api/webhooks/search`: the webhook with an event id of Telnyx, or those of the message that one of our or Telnyx's
/// ids leads to.
pub(super) async fn search(
    State(site): State<Site>,
    headers: HeaderMap,
    Query(asked): Query<Search>,
) -> Response {
    answer(&headers, "", look_for(&site, asked.text.trim()).await)
}

async fn look_for(site: &Site, text: &str) -> anyhow::Result<Value> {
    if let Some((webhook, _)) = site.store.webhook(text).await.context("can't read the webhook")? {
        return Ok(told(vec![webhook], "the webhook with this event id"));
    }
    if let Some(found) = site.store.find_message(text).await.context("can't look for the message")? {
        return of_message(site, &found).await;
    }
    let parked = site.store.parked_of(text, PAGE).await.context("can't look for parked webhooks")?;
    if parked.is_empty() {
        return Ok(told(parked, "nothing with this id; it may have been deleted (WEBHOOK_RETENTION_DAYS)"));
    }
    let says = format!("{} of a message that is not known", counted(parked.len() as i64, "parked webhook"));
    Ok(told(parked, &says))
}

/// The webhooks of a message, or of the one recipient that was looked for.
async fn of_message(site: &Site, found: &FoundMessage) -> anyhow::Result<Value> {
    let FoundMessage { church_id, message_id, recipient_id } = found;
    let message = site.store.message(church_id, *message_id).await?.context(message::GONE)?;
    let recipients = site.store.recipient_lives(*message_id, *recipient_id, PAGE).await?;
    let webhooks = message::webhooks(&site.store, &message, &recipients).await?;
    let all = message.tally.recipients;
    let whose = match (recipient_id, recipients.len()) {
        (Some(_), _) => format!("one recipient of message {message_id}"),
        (None, shown) if i64::from(all) > shown as i64 => {
            format!("{shown} of {all} recipients of message {message_id}")
        }
        (None, _) => format!("message {message_id}"),
    };
    let says = format!("{} of {whose}", counted(webhooks.len() as i64, "webhook"));
    Ok(told(webhooks.into_iter().map(|(webhook, _)| webhook).collect(), &says))
}

/// What was found, and what it is.
fn told(webhooks: Vec<KeptWebhook>, says: &str) -> Value {
    let webhooks: Vec<_> = webhooks.into_iter().map(Kept::from).collect();
    json!({ "says": says, "webhooks": webhooks })
}

/// `GET /api/webhooks/{id}`: with its body as text.
pub(super) async fn one(State(site): State<Site>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    answer(&headers, "", webhook(&site, &id).await)
}

async fn webhook(site: &Site, id: &str) -> anyhow::Result<Value> {
    let found = site.store.webhook(id).await.context("can't read the webhook")?;
    let (webhook, kept) =
        found.context("there is no such webhook; it may have been deleted (WEBHOOK_RETENTION_DAYS)")?;
    let body = String::from_utf8_lossy(&kept.body);
    let pretty = serde_json::from_str::<Value>(&body).and_then(|value| serde_json::to_string_pretty(&value));
    let body = pretty.unwrap_or_else(|_| body.into_owned());
    Ok(json!({ "webhook": Kept::from(webhook), "body": body }))
}
