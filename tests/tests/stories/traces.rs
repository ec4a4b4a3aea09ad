//! W3C trace context: a front end's request, or a webhook, can be followed through all services.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use common::event::timestamp;
use deploy::services::{API, INGEST, gateway};
use serde_json::{Value, json};
use tests::back_end::SECRET;
use tests::databases::Kind;
use tests::report::Report;
use tests::stack::{TestStack, id_of};
use tests::{eventually, on_both_databases};
use time::OffsetDateTime;
use tokio::net::TcpListener;

use super::{AUTHOR, CHURCH, SILENT};

on_both_databases!(a_trace_is_followed_through_http_the_outbox_the_stream_and_all_logs,);

const HEADER: &str = "traceparent";
/// The trace of a page that sends, of a proxy in front of webhook-ingest, and of a page that cancels.
const SENDING: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const REPORTING: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const CANCELLING: &str = "cc-a3ce929d0e0e47364bf92f3577b34da6-00f067aa0ba902b7-01-of-a-later-version";
/// No trace: the header has another form.
const INVALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

type Headers = Arc<Mutex<Vec<Option<String>>>>;

fn header(headers: &HeaderMap) -> Option<String> {
    headers.get(HEADER).map(|value| value.to_str().unwrap().to_owned())
}

/// A back end's directory with one member. Returns its URL, and the headers of the questions that come.
async fn directory() -> (String, Headers) {
    let heard = Headers::default();
    let hearing = heard.clone();
    let answer = async move |headers: HeaderMap| {
        hearing.lock().unwrap().push(header(&headers));
        Json(json!({"recipients": [{"phone": SILENT}]}))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/recipients", listener.local_addr().unwrap());
    tokio::spawn(
        async move { axum::serve(listener, Router::new().route("/recipients", post(answer))).await },
    );
    (url, heard)
}

async fn start(kind: Kind, recipients_url: String) -> TestStack {
    TestStack::start_with(kind, |options| {
        for service in [API, INGEST, "realtime-gateway"] {
            let set = [("LOG", "debug"), ("LOG_FORMAT", "json")];
            options.environment.extend(set.map(|(name, value)| (service.into(), name.into(), value.into())));
        }
        for (name, value) in [("RECIPIENTS_URL", recipients_url), ("RECIPIENTS_SECRET", SECRET.into())] {
            options.environment.push((API.into(), name.into(), value));
        }
    })
    .await
}

/// Makes a page's request with this header. Returns what it is answered.
async fn ask(stack: &TestStack, request: reqwest::RequestBuilder, trace: &str) -> Value {
    let answer = request.bearer_auth(stack.token(CHURCH, AUTHOR)).header(HEADER, trace).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    answer.json::<Value>().await.unwrap()["data"].take()
}

/// Sends to the directory's member, perhaps later.
async fn send(stack: &TestStack, trace: &str, more: &Value) -> Value {
    let mut body = json!({"content": "Service at ten", "targetType": "all"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let url = format!("{}/api/messages/send", stack.stack.file().api);
    ask(stack, reqwest::Client::new().post(url).json(&body), trace).await
}

/// The log lines of a process that name a trace: its id and the text.
fn traced(stack: &TestStack, process: &str) -> BTreeSet<(String, String)> {
    let log = std::fs::read_to_string(stack.stack.log(process)).unwrap();
    // The last line may be incomplete.
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines
        .filter(|line| line["span"]["trace_id"].is_string())
        .map(|line| (text(&line["span"]["trace_id"]), text(&line["fields"]["message"])))
        .collect()
}

fn lines<'a>(of: impl IntoIterator<Item = (&'a str, &'a [&'a str])>) -> BTreeSet<(String, String)> {
    let id = |trace: &str| trace.split('-').nth(1).unwrap().to_owned();
    of.into_iter()
        .flat_map(|(trace, texts)| texts.iter().map(move |text| (id(trace), (*text).to_owned())))
        .collect()
}

async fn a_trace_is_followed_through_http_the_outbox_the_stream_and_all_logs(kind: Kind) {
    let (url, asked) = directory().await;
    let stack = start(kind, url).await;
    let _watcher = stack.client(CHURCH, "watcher").await;

    send(&stack, SENDING, &json!({})).await;
    let accepted = stack.until_accepted(1).await;
    for (status, trace) in [("delivered", REPORTING), ("read", INVALID)] {
        let answer = stack.report(&Report::of(&accepted[0], status).traced(trace)).await;
        assert_eq!(answer.status(), 200);
    }
    let tomorrow = OffsetDateTime::now_utc() + time::Duration::DAY;
    let later = send(&stack, INVALID, &json!({"sendAt": timestamp::to_text(tomorrow)})).await;
    let url = format!("{}/api/messages/{}", stack.stack.file().api, id_of(&later));
    let cancelled = ask(&stack, reqwest::Client::new().delete(url), CANCELLING).await;
    assert_eq!(cancelled["cancelled"], 1);

    // An invalid header is passed on to nobody.
    assert_eq!(*asked.lock().unwrap(), [Some(SENDING.to_owned()), None]);
    stack.until_announced().await;
    let stream = stack.stream().await;
    let events: Vec<(String, Option<String>)> = stream
        .iter()
        .map(|message| {
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            let trace = message.headers.get(HEADER).map(|value| value.as_str().to_owned());
            (event["type"].as_str().unwrap().to_owned(), trace)
        })
        .collect();
    let event = |kind: &str, trace: Option<&str>| (kind.to_owned(), trace.map(str::to_owned));
    assert_eq!(
        events,
        [
            event("message:sent", Some(SENDING)),
            event("message:delivered", Some(REPORTING)),
            event("message:read", None),
            event("message:sent", None),
            event("message:status_update", Some(CANCELLING)),
        ]
    );

    let all = [SENDING, REPORTING, CANCELLING];
    let emitted = lines(all.map(|trace| (trace, &["emitted"][..])));
    eventually("the gateway logs the traces of its events", async || {
        (traced(&stack, &gateway(1)) == emitted).then_some(())
    })
    .await;
    let mut recorded = traced(&stack, API);
    recorded.extend(traced(&stack, INGEST));
    // Exactly one line a step; the relay may run in either service.
    let expected = lines([
        (SENDING, &["recorded a message", "answered", "announced"][..]),
        (REPORTING, &["recorded a status", "recorded", "announced"]),
        (CANCELLING, &["recorded a status", "cancelled a message", "answered", "announced"]),
    ]);
    let own = recorded.iter().filter(|line| expected.contains(line)).count();
    assert!(own == expected.len(), "{recorded:?}");
    // Libraries may say more about a request, and nothing about another trace.
    let ids =
        |lines: &BTreeSet<(String, String)>| lines.iter().map(|(id, _)| id.clone()).collect::<BTreeSet<_>>();
    assert_eq!(ids(&recorded), ids(&expected));
}
