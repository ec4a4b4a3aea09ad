//! A church's events as they are published, for a page that looks on.

use std::convert::Infallible;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use common::subject::{self, ChurchId, Topic};
use futures_util::StreamExt as _;
use futures_util::stream::{SelectAll, select_all};
use serde_json::{Value, json};

use super::answer::failure;
use super::mask;
use super::site::Site;

/// `GET /api/churches/{church}/tail`: server-sent events until the page leaves or the console ends.
pub(super) async fn tail(State(site): State<Site>, Path(church): Path<ChurchId>) -> Response {
    match subscribe(&site, &church).await {
        Ok((client, heard)) => {
            // The connection lives as long as the subscription is read.
            let events = heard.map(move |message| {
                let _open = &client;
                Ok::<_, Infallible>(Event::default().data(told(&message).to_string()))
            });
            Sse::new(events.take_until(site.ending.clone().cancelled_owned()))
                .keep_alive(KeepAlive::default())
                .into_response()
        }
        Err(error) => failure(&error),
    }
}

async fn subscribe(
    site: &Site,
    church: &ChurchId,
) -> anyhow::Result<(async_nats::Client, SelectAll<async_nats::Subscriber>)> {
    let client = site.options.broker.connect().await?;
    let mut heard = Vec::new();
    for topic in [Topic::Sent, Topic::Status, Topic::Received] {
        heard.push(client.subscribe(subject::live(church, topic)).await?);
    }
    Ok((client, select_all(heard)))
}

fn told(message: &async_nats::Message) -> Value {
    let header = |name: &str| message.headers.as_ref()?.get(name).map(ToString::to_string);
    let sequence = header("Nats-Sequence").and_then(|text| text.parse::<u64>().ok());
    let mut event = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
    mask::value(&mut event);
    json!({ "sequence": sequence, "at": header("Nats-Time-Stamp"), "event": event })
}
