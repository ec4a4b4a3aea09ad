//! What a change would come to, before it is asked for.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use common::subject::ChurchId;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer::answer;
use super::apply::reprocessed;
use super::change::{Change, Moment};
use super::site::Site;
use crate::ops::output::counted;
use crate::ops::progress::Progress;
use crate::ops::{connected, events};

/// `POST /api/preview`: the command, and what it would come to where that can be known. Changes nothing.
pub(super) async fn preview(
    State(site): State<Site>,
    headers: HeaderMap,
    Json(change): Json<Change>,
) -> Response {
    let command = change.command();
    let told = match change {
        Change::Replay { church, since, message: None, .. } => of_replay(&site, &church, &since).await,
        Change::Reprocess { which } => {
            let alone = Progress::told(|_| (), CancellationToken::new());
            reprocessed(&site, which, true, &alone)
                .await
                .map(|(says, report)| json!({ "says": says, "report": report }))
        }
        _ => Ok(Value::Null),
    };
    answer(&headers, &command, told)
}

/// How many events, to how many sockets.
async fn of_replay(site: &Site, church: &ChurchId, since: &Moment) -> anyhow::Result<Value> {
    let stream = events::stream(site.options.broker.connect().await?).await?;
    let events = events::count_since(&stream, church, since.at).await?;
    let connected = connected::read(&site.options.services.gateways, church).await?;
    let sockets = connected.sockets();
    let count = |number: u64, thing| counted(i64::try_from(number).unwrap_or(i64::MAX), thing);
    let mut says = format!("{} would go to {} of {church}", count(events, "event"), count(sockets, "socket"));
    if !connected.is_complete() {
        says.push_str("; a gateway did not answer, so there may be more");
    }
    Ok(json!({ "says": says, "events": events, "sockets": sockets }))
}
