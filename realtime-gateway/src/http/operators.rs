//! What operators may ask a gateway: which events it emitted, and who of a church is connected. The answers come from
//! memory, and hold no phone number and no text.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use common::event::timestamp;
use common::subject::ChurchId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::rooms::Hub;

/// The operators' questions.
pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new().route("/emitted", get(emitted)).route("/connected", get(connected)).with_state(hub)
}

#[derive(Deserialize)]
struct Emitted {
    church: ChurchId,
    /// The first sequence asked about.
    first: u64,
    /// The last one.
    last: u64,
}

#[derive(Deserialize)]
struct Connected {
    church: ChurchId,
}

#[derive(Serialize)]
struct Emission {
    sequence: u64,
    sockets: u32,
    #[serde(with = "timestamp")]
    at: OffsetDateTime,
}

async fn emitted(State(hub): State<Arc<Hub>>, Query(asked): Query<Emitted>) -> Json<Value> {
    let (found, remembered_from) = hub.emitted(&asked.church, asked.first, asked.last);
    let emissions =
        found.into_iter().map(|one| Emission { sequence: one.sequence, sockets: one.sockets, at: one.at });
    Json(json!({"emissions": emissions.collect::<Vec<_>>(), "rememberedFrom": remembered_from}))
}

async fn connected(State(hub): State<Arc<Hub>>, Query(asked): Query<Connected>) -> Json<Value> {
    let users = hub.connected(&asked.church);
    let users = users.iter().map(|(user, sockets)| json!({"user": &**user, "sockets": sockets}));
    Json(json!({"users": users.collect::<Vec<_>>()}))
}
