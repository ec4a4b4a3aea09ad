//! Somebody sends a text to a church: its front end sees it, other churches do not, and the product's own back end is
//! told of it.

use std::collections::BTreeSet;

use common::store::Sender;
use deploy::services::{API, FROM};
use deploy::simulator::InboundText;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::back_end::{BackEnd, SECRET};
use tests::client::Client;
use tests::databases::{Kind, execute};
use tests::message_api::MessageApi;
use tests::proxy::Proxy;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};

use super::{AUTHOR, CHURCH};

on_both_databases!(
    a_text_reaches_its_church_and_no_other,
    a_repeated_webhook_is_one_event_and_one_text,
    a_text_to_an_unknown_number_is_kept_as_ignored,
    a_back_end_that_was_down_is_told_of_everything_once_it_is_up,
    a_killed_message_api_leaves_its_text_to_another_one,
    two_message_apis_tell_of_each_text_once,
);

/// Another church and its number.
const OTHER: (&str, &str) = ("hope", "+12025550200");
/// Who sends the texts.
const MEMBER: &str = "+12025557001";

/// A stack in which the other church has a number of its own.
async fn two_churches(kind: Kind) -> TestStack {
    let stack = TestStack::start(kind).await;
    let sender = Sender {
        church_id: OTHER.0.parse().unwrap(),
        number: OTHER.1.into(),
        messaging_profile_id: None,
        rate: None,
    };
    stack.store().set_sender(&sender).await.unwrap();
    stack
}

/// The texts of a church, newest first, without what differs from run to run.
async fn texts_of(stack: &TestStack, church: &str) -> Vec<Value> {
    let (status, mut body) = stack.get(church, AUTHOR, "/api/messages/inbound").await;
    assert_eq!(status, 200, "{body}");
    body["data"].take().as_array().unwrap().clone()
}

/// The news of texts that a client received.
fn heard(client: &Client) -> Vec<Value> {
    client.packets().filter(|seen| seen.event == "message:received").map(|seen| seen.data.clone()).collect()
}

async fn a_text_reaches_its_church_and_no_other(kind: Kind) {
    let stack = two_churches(kind).await;
    let mut grace = stack.client(CHURCH, AUTHOR).await;
    let mut hope = stack.client(OTHER.0, AUTHOR).await;
    let before = grace.cursor().unwrap();
    assert_eq!(stack.receive(MEMBER, FROM, "Thank you, pastor").await.answers, [Some(200)]);
    let news = grace.until("message:received").await.data;
    assert_eq!(stack.receive(MEMBER, FROM, " Stop ").await.answers, [Some(200)]);
    let stop = grace.until("message:received").await.data;
    assert_eq!(stack.receive(MEMBER, OTHER.1, "Amen").await.answers, [Some(200)]);
    hope.until("message:received").await;
    assert_eq!((heard(&grace).len(), heard(&hope).len()), (2, 1));
    assert_eq!((news.get("optOut"), &stop["optOut"]), (None, &json!("stop")));

    let texts = texts_of(&stack, CHURCH).await;
    let [second, first] = texts.as_slice() else { panic!("{texts:?}") };
    assert_eq!((&first["id"], &first["receivedAt"]), (&news["inboundId"], &news["receivedAt"]));
    assert_eq!((&first["from"], &first["text"]), (&json!(MEMBER), &json!("Thank you, pastor")));
    assert_eq!((&first["mediaCount"], first.get("optOut")), (&json!(0), None));
    assert_eq!((&second["text"], &second["optOut"]), (&json!(" Stop "), &json!("stop")));
    assert_eq!(texts_of(&stack, OTHER.0).await.len(), 1);

    // Nothing private is in the stream.
    stack.until_announced().await;
    let stream = stack.stream().await;
    assert_eq!(stream.len(), 3);
    for message in stream {
        let shown = format!("{} {:?} {:?}", message.subject, message.headers, message.payload);
        for private in [&MEMBER[1..], &FROM[1..], &OTHER.1[1..], "Thank", "Stop", "Amen"] {
            assert!(!shown.contains(private), "{shown}");
        }
    }

    // A client that resumes gets each once, and one that begins later gets none.
    let token = stack.token(CHURCH, "resumes");
    let mut resumed = Client::start(&stack.stack.file().gateways[0], &token, &["--cursor", &before]).await;
    resumed.until("connected").await;
    let sent = stack.send(CHURCH, AUTHOR, &[super::DELIVERED]).await;
    let of_message = |seen: &deploy::watch::Seen| seen.data["messageId"] == json!(sent);
    resumed.until_one(of_message).await;
    grace.until_one(of_message).await;
    assert_eq!(resumed.recovered(), [true]);
    assert_eq!(heard(&resumed), heard(&grace));
    assert!(stack.audit().await.is_sound());
}

async fn a_repeated_webhook_is_one_event_and_one_text(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let text = InboundText {
        from: MEMBER.into(),
        to: FROM.into(),
        media: vec!["https://example.org/1.jpg".into(), "https://example.org/2.jpg".into()],
        webhook_url: format!("{}/webhooks/telnyx", stack.stack.file().ingest),
        copies: 5,
        ..InboundText::default()
    };
    assert_eq!(stack.telnyx().receive(text).await.answers, [Some(200); 5]);
    stack.receive(MEMBER, FROM, "Amen").await;
    client.until("message:received").await;
    client.until("message:received").await;
    let texts = texts_of(&stack, CHURCH).await;
    assert_eq!((texts.len(), &texts[1]["text"], &texts[1]["mediaCount"]), (2, &json!(""), &json!(2)));
    let ids: Vec<_> = heard(&client).iter().map(|news| news["inboundId"].clone()).collect();
    assert_eq!(ids, [texts[1]["id"].clone(), texts[0]["id"].clone()]);
    stack.until_announced().await;
    assert_eq!(stack.stream().await.len(), 2);
    let audit = stack.audit().await;
    assert!(audit.is_sound(), "{audit:?}");
    assert_eq!((audit.accepted, audit.received, audit.duplicate), (6, 2, 4));
}

async fn a_text_to_an_unknown_number_is_kept_as_ignored(kind: Kind) {
    let stack = TestStack::start(kind).await;
    assert_eq!(stack.receive(MEMBER, "+12025559999", "Who is this?").await.answers, [Some(200)]);
    assert!(texts_of(&stack, CHURCH).await.is_empty());
    let audit = stack.audit().await;
    assert_eq!((audit.ignored, audit.received, audit.is_sound()), (1, 0, true), "{audit:?}");
    let sql =
        "select count(*) from webhooks where outcome = 'ignored' and reason like '%TELNYX_FROM_CHURCH%'";
    assert_eq!(tests::databases::number(&stack.stack.file().database, sql).await, 1);
    assert!(stack.store().waiting_events(1).await.unwrap().is_empty());
}

/// A stack that tells this back end, or a proxy before it.
async fn telling(kind: Kind, url: &str) -> TestStack {
    TestStack::start_with(kind, |options| {
        for (name, value) in [("INBOUND_URL", url), ("RECIPIENTS_SECRET", SECRET)] {
            options.environment.push((API.into(), name.into(), value.into()));
        }
    })
    .await
}

/// The series of attempts with this outcome.
fn forwards(outcome: &str) -> String {
    format!("church_api_inbound_forwards_total{{outcome=\"{outcome}\"}}")
}

async fn until_told(stack: &TestStack) {
    let store = stack.store();
    eventually("the back end was told of everything", async || {
        (store.forward_state().await.unwrap().waiting == 0).then_some(())
    })
    .await;
}

fn ids(requests: &[Value]) -> BTreeSet<String> {
    requests.iter().map(|request| request["id"].as_str().unwrap().to_owned()).collect()
}

async fn a_back_end_that_was_down_is_told_of_everything_once_it_is_up(kind: Kind) {
    let mut back_end = BackEnd::down();
    let mut stack = telling(kind, &back_end.url()).await;
    let ops = stack.stack.file().ops.api.clone();
    assert_eq!(stack.metric(&ops, &forwards("accepted")).await, 0.0);
    stack.receive(MEMBER, FROM, "STOP").await;
    stack.receive(MEMBER, FROM, "START").await;
    let unreachable = forwards("unreachable");
    eventually("it was tried", async || (stack.metric(&ops, &unreachable).await > 0.0).then_some(())).await;
    eventually("it is counted", async || {
        (stack.metric(&ops, "church_api_inbound_waiting").await == 2.0).then_some(())
    })
    .await;

    // It refuses, redirects and fails at first, and message-api is killed in between.
    stack.stack.kill(API).await.unwrap();
    back_end.answer_next(&[302, 401]);
    back_end.up().await;
    stack.restart_message_api().await;
    let told = back_end.until(4).await;
    until_told(&stack).await;
    let texts: Vec<_> = told.iter().map(|request| request["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["STOP", "STOP", "STOP", "START"], "in their order");
    let shown = texts_of(&stack, CHURCH).await;
    let expected = json!({
        "id": shown[1]["id"], "churchId": CHURCH, "from": MEMBER, "text": "STOP", "mediaCount": 0, "optOut": "stop",
        "receivedAt": shown[1]["receivedAt"],
    });
    assert_eq!(told[2], expected);
    assert_eq!(stack.metric(&ops, &forwards("refused")).await, 2.0);
    assert_eq!(stack.metric(&ops, &forwards("accepted")).await, 2.0);
}

async fn a_killed_message_api_leaves_its_text_to_another_one(kind: Kind) {
    let back_end = BackEnd::start().await;
    let proxy = Proxy::to(&back_end.base_url()).await;
    let url = format!("{}/inbound", proxy.url());
    let mut stack = telling(kind, &url).await;
    proxy.hold_answers(true);
    stack.receive(MEMBER, FROM, "Amen").await;
    back_end.until(1).await;
    stack.stack.kill(API).await.unwrap();
    proxy.hold_answers(false);
    let another = MessageApi::start(&stack, "another-message-api", &[]).await;
    // Only once the dead one's reservation is over.
    let told = back_end.until(2).await;
    until_told(&stack).await;
    assert_eq!((ids(&told).len(), back_end.requests().len()), (1, 2), "told at least once, under one id");
    assert_eq!(stack.metric(&another.ops_url(), &forwards("accepted")).await, 1.0);
}

async fn two_message_apis_tell_of_each_text_once(kind: Kind) {
    let back_end = BackEnd::start().await;
    let stack = telling(kind, &back_end.url()).await;
    let another = MessageApi::start(&stack, "another-message-api", &[]).await;
    let count: usize = 60;
    let members: Vec<_> = (0..count).map(|number| format!("+1202557{number:04}")).collect();
    let texts = members.iter().map(|member| stack.receive(member, FROM, "Amen"));
    assert!(join_all(texts).await.iter().all(|text| text.answers == [Some(200)]));
    until_told(&stack).await;
    let told = back_end.requests();
    assert_eq!((told.len(), ids(&told).len()), (count, count));
    let ops = stack.stack.file().ops.api.clone();
    let accepted = forwards("accepted");
    let both = stack.metric(&ops, &accepted).await + stack.metric(&another.ops_url(), &accepted).await;
    assert_eq!(both, count as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_that_refuses_for_long_is_reported_and_given_up_after_a_day() {
    let back_end = BackEnd::start().await;
    back_end.answer_all(Some(500));
    let stack = telling(Kind::Sqlite, &back_end.url()).await;
    let (file, ops) = (stack.stack.file(), stack.stack.file().ops.api.clone());
    stack.receive(MEMBER, FROM, "Amen").await;
    back_end.until(1).await;
    assert_eq!(stack.readiness(&ops).await, (200, "ready\n".into()), "one failure is not reported");
    execute(&file.database, "update inbound set recorded_at = $AN_HOUR_AGO").await;
    let report = eventually("it is reported", async || {
        Some(stack.readiness(&ops).await).filter(|(_, report)| report.contains("degraded: inbound"))
    })
    .await;
    assert!(report.0 == 200 && report.1.contains("it answers 500"), "{report:?}");

    execute(&file.database, "update inbound set recorded_at = $EPOCH").await;
    let expired = forwards("expired");
    eventually("it is given up", async || (stack.metric(&ops, &expired).await == 1.0).then_some(())).await;
    eventually("nothing is reported any more", async || {
        (stack.readiness(&ops).await.1 == "ready\n").then_some(())
    })
    .await;
    let tried = back_end.requests().len();
    back_end.answer_all(None);
    stack.receive("+12025557002", FROM, "Another").await;
    let told = back_end.until(tried + 1).await;
    assert_eq!((told.len(), &told[tried]["text"]), (tried + 1, &json!("Another")));
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_listed_in_pages_and_by_when_they_came() {
    let stack = two_churches(Kind::Sqlite).await;
    for number in 0..5 {
        stack.receive(MEMBER, FROM, &number.to_string()).await;
    }
    stack.receive(MEMBER, OTHER.1, "of another church").await;
    let (mut texts, mut next) = (Vec::new(), String::new());
    let as_of = loop {
        let path = format!("/api/messages/inbound?limit=2&cursor={next}");
        let (status, page) = stack.get(CHURCH, AUTHOR, &path).await;
        assert_eq!((status, page["success"] == true), (200, true), "{page}");
        texts.extend(page["data"].as_array().unwrap().iter().map(|text| text["text"].clone()));
        match page["pagination"]["nextCursor"].as_str() {
            Some(cursor) => next = cursor.to_owned(),
            None => break page["asOf"].as_str().unwrap().to_owned(),
        }
    };
    assert_eq!(texts, ["4", "3", "2", "1", "0"]);
    stack.receive(MEMBER, FROM, "later").await;
    let path = format!("/api/messages/inbound?updatedSince={as_of}");
    let (_, changed) = stack.get(CHURCH, AUTHOR, &path).await;
    assert_eq!(changed["data"][0]["text"], "later");
    for (query, field) in [("limit=101", "limit"), ("cursor=x", "cursor"), ("updatedSince=x", "updatedSince")]
    {
        let (status, body) = stack.get(CHURCH, AUTHOR, &format!("/api/messages/inbound?{query}")).await;
        assert_eq!((status, &body["details"][0]["field"]), (422, &json!(field)), "{body}");
    }
    let unsigned = stack.stack.http().get(format!("{}/api/messages/inbound", stack.stack.file().api));
    assert_eq!(unsigned.send().await.unwrap().status(), 401);
}
