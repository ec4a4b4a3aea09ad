//! Which events of a church the stream has: the measure of what the page has seen.

use anyhow::Context as _;
use async_nats::jetstream;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use common::subject::{ChurchId, STREAM};
use serde::Deserialize;
use serde_json::{Value, json};

use super::site::Site;
use crate::programs::nats;

/// Most events of one answer.
const MOST: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Since {
    church: String,
    /// The sequence after which to read; without it only the newest sequence is told.
    after: Option<u64>,
}

/// The events' ids after a sequence, and up to where they were read.
pub(super) async fn events(State(site): State<Site>, Query(since): Query<Since>) -> Response {
    match read(&site, &since).await {
        Ok(found) => Json(found).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}")).into_response(),
    }
}

async fn read(site: &Site, since: &Since) -> anyhow::Result<Value> {
    let church: ChurchId = since.church.parse()?;
    let client = nats::connect(&site.nats_url, "ops", &site.nats_password).await?;
    let stream = jetstream::new(client).get_stream(STREAM).await.context("the stream can't be read")?;
    let last = stream.cached_info().state.last_sequence;
    let (mut ids, mut read_to) = (Vec::new(), since.after.unwrap_or(last));
    let prefix = format!("church.{church}.");
    while read_to < last && ids.len() < MOST {
        read_to += 1;
        let message = stream.get_raw_message(read_to).await.context("the stream can't be read")?;
        let event: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        if message.subject.starts_with(&prefix) {
            ids.push(event["id"].clone());
        }
    }
    Ok(json!({ "ids": ids, "readTo": read_to }))
}
