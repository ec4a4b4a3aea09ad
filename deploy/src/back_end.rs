//! The demo's back end: a church product's member directory, as message-api asks it for recipients (docs/recipients.md).
//! Every church has the same few members, groups and branches.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Members on a page.
const PAGE: usize = 5;

/// A member: id, first name, last name, phone, branch, groups.
type Member = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

/// The phones end as the simulator's outcomes want it: most texts are delivered, one number opted out, one reads.
const MEMBERS: [Member; 12] = [
    ("m1", "Ann", "Adeyemi", "+12025551101", "north", &["choir"]),
    ("m2", "Ben", "Okafor", "+12025552101", "north", &["choir", "ushers"]),
    ("m3", "Chi", "Park", "+12025553101", "south", &["choir"]),
    ("m4", "Dan", "Miller", "+12025554101", "south", &["ushers"]),
    ("m5", "Eve", "Garcia", "+12025555101", "north", &["ushers"]),
    ("m6", "Fay", "Kim", "+12025550104", "south", &["youth"]),
    ("m7", "Gus", "Weber", "+12025556101", "north", &["youth"]),
    ("m8", "Hana", "Lee", "+12025557101", "south", &["youth", "choir"]),
    ("m9", "Ife", "Bello", "+12025558101", "north", &[]),
    ("m10", "Jon", "Silva", "+12025559101", "south", &[]),
    ("m11", "Kofi", "Mensah", "+12025550102", "north", &[]),
    ("m12", "Lea", "Novak", "+12025551201", "south", &["youth"]),
];
const GROUPS: [&str; 3] = ["choir", "ushers", "youth"];
const BRANCHES: [&str; 2] = ["north", "south"];

/// A running back end. Dropping it stops it.
pub struct BackEnd {
    _serving: AbortOnDropHandle<()>,
}

impl BackEnd {
    /// Starts on a listener. Requests need this secret.
    pub fn start(listener: TcpListener, secret: &str) -> Self {
        let expected = format!("Bearer {secret}");
        let router = Router::new().route("/recipients", post(recipients)).with_state(expected);
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("the demo's back end stopped: {error}");
            }
        });
        Self { _serving: AbortOnDropHandle::new(serving) }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    target_type: String,
    target_ids: Vec<String>,
    cursor: Option<String>,
}

async fn recipients(
    State(expected): State<String>,
    headers: HeaderMap,
    Json(question): Json<Question>,
) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given != Some(&expected) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Some(page) = page(&question) else { return StatusCode::NOT_FOUND.into_response() };
    Json(page).into_response()
}

/// One page; `None` for an unknown kind of target.
fn page(question: &Question) -> Option<Value> {
    let known: Vec<&str> = match question.target_type.as_str() {
        "groups" => GROUPS.into(),
        "branches" => BRANCHES.into(),
        "individual" => MEMBERS.map(|member| member.0).into(),
        "all" => Vec::new(),
        _ => return None,
    };
    let ids = &question.target_ids;
    let unknown: Vec<&String> = ids.iter().filter(|id| !known.contains(&id.as_str())).collect();
    if question.target_type != "all" && !unknown.is_empty() {
        return Some(json!({ "recipients": [], "unknown": unknown }));
    }
    let is_meant = |(id, _, _, _, branch, groups): &&Member| match question.target_type.as_str() {
        "groups" => groups.iter().any(|group| ids.iter().any(|id| id == group)),
        "branches" => ids.iter().any(|id| id == branch),
        "individual" => ids.iter().any(|meant| meant == id),
        _ => true,
    };
    let first: usize = question.cursor.as_ref().map_or(Some(0), |cursor| cursor.parse().ok())?;
    let meant: Vec<&Member> = MEMBERS.iter().filter(is_meant).skip(first).collect();
    let next = (meant.len() > PAGE).then(|| (first + PAGE).to_string());
    let shown = |(id, first, last, phone, _, _): &&Member| json!({ "memberId": id, "firstName": first, "lastName": last, "phone": phone });
    let recipients: Vec<Value> = meant.iter().take(PAGE).map(shown).collect();
    Some(json!({ "recipients": recipients, "next": next }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(target_type: &str, ids: &[&str], cursor: Option<&str>) -> Option<Value> {
        page(&Question {
            target_type: target_type.into(),
            target_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            cursor: cursor.map(str::to_owned),
        })
    }

    #[test]
    fn pages_lead_to_every_member_once() {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = ask("all", &[], cursor.as_deref()).unwrap();
            let members = page["recipients"].as_array().unwrap().clone();
            seen.extend(members.iter().map(|member| member["memberId"].as_str().unwrap().to_owned()));
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, MEMBERS.map(|member| member.0));
    }

    #[test]
    fn unknown_targets_are_named() {
        assert_eq!(ask("groups", &["choir", "band"], None).unwrap()["unknown"], json!(["band"]));
        assert_eq!(ask("pets", &[], None), None);
        let choir = ask("groups", &["choir"], None).unwrap();
        assert_eq!(choir["recipients"].as_array().unwrap().len(), 4);
    }
}
