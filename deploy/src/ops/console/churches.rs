//! The view "Churches": all of them, and one with its sender, who is connected, its newest events and its revocations.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use common::subject::ChurchId;
use serde::Deserialize;

use super::answer::{answer, refusal};
use super::command;
use super::site::Site;
use crate::ops::{churches, connected, events, newest, revocations};

/// Churches on a page.
const PAGE: u32 = 200;
/// Events that are shown at first.
const EVENTS: u16 = 30;

/// A page of the churches.
#[derive(Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: String,
}

/// `GET /api/churches`.
pub(super) async fn list(
    State(site): State<Site>,
    headers: HeaderMap,
    Query(page): Query<After>,
) -> Response {
    let mut words = vec!["churches"];
    if !page.after.is_empty() {
        words.extend(["--after", &page.after]);
    }
    answer(&headers, &command::ops(&words), churches::read(&site.store, &page.after, PAGE).await)
}

/// `GET /api/churches/{church}/{part}`: each part by itself, so that one that is away hides no other.
pub(super) async fn part(
    State(site): State<Site>,
    headers: HeaderMap,
    Path((church, part)): Path<(ChurchId, String)>,
) -> Response {
    let command = |words: &[&str]| command::ops(&[words, &["--church", church.as_str()]].concat());
    match part.as_str() {
        "facts" => answer(&headers, "", churches::one(&site.store, &church).await),
        "connected" => {
            let report = connected::read(&site.options.services.gateways, &church).await;
            answer(&headers, &command(&["connected"]), report)
        }
        "events" => answer(&headers, &command(&["events"]), read_events(&site, &church).await),
        "revocations" => {
            let report = revocations::read(&site.store, Some(&church)).await;
            answer(&headers, &command(&["revocations"]), report)
        }
        _ => refusal(StatusCode::NOT_FOUND, "there is no such part"),
    }
}

async fn read_events(site: &Site, church: &ChurchId) -> anyhow::Result<newest::Report> {
    let stream = events::stream(site.options.broker.connect().await?).await?;
    newest::read(&stream, church, EVENTS).await
}
