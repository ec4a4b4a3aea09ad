//! The view "Webhooks": what came, by what became of it, and one webhook with its body.

use anyhow::Context as _;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use common::event::timestamp;
use common::store::WebhookQuery;
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::answer::{answer, refusal};
use super::command;
use super::site::Site;
use crate::ops::kept::Kept;
use crate::ops::webhooks;

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

/// `GET /api/webhooks`.
pub(super) async fn list(
    State(site): State<Site>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    let outcome = match asked.outcome.as_deref().map(webhooks::outcome).transpose() {
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
