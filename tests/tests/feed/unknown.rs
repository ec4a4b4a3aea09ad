//! A gateway that is older than the services before it finds messages in the stream that it can't read. It tells the
//! clients of their church that they may miss something, once, and goes on.

use serde_json::{Value, json};
use tests::client::Client;
use tests::gateway::TestGateway;
use uuid::Uuid;

use super::{CHURCH, HOUR, has_seen, join};

/// A message of a topic and a message of a type that no gateway knows yet.
fn of_tomorrow() -> [(String, Value); 2] {
    let topic = json!({"v": 1, "id": Uuid::now_v7(), "type": "message:invented", "churchId": CHURCH});
    let mut event = serde_json::to_value(tests::announcer::progress(CHURCH.parse().unwrap())).unwrap();
    event["type"] = json!("message:invented");
    [(format!("church.{CHURCH}.invented"), topic), (format!("church.{CHURCH}.status"), event)]
}

async fn resume(gateway: &TestGateway, cursor: &str) -> Client {
    let token = gateway.token(CHURCH, "resumes", HOUR);
    Client::start(&gateway.url(), &token, &["--cursor", cursor]).await
}

/// Events of the church with two unknown messages between them, all after the first client's `connected`. Returns
/// whole events before and after.
async fn announce_among_unknown(gateway: &TestGateway) -> Vec<Uuid> {
    let announcer = gateway.announcer().await;
    let mut known = announcer.announce(CHURCH, 2, "").await;
    for (subject, message) in of_tomorrow() {
        announcer.publish(&subject, &message).await;
    }
    known.extend(announcer.announce(CHURCH, 2, "").await);
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_does_not_know_is_told_to_its_church_and_nothing_else_breaks() {
    let gateway = TestGateway::start(&[]).await;
    let mut client = join(&gateway, "ann").await;
    let mut other = Client::start(&gateway.url(), &gateway.token("hope", "bob", HOUR), &[]).await;
    other.until("connected").await;
    let known = announce_among_unknown(&gateway).await;
    client.until_event(known[3]).await;
    assert_eq!(client.whole_events(), known);
    assert_eq!(client.recovered(), [false, false, false], "once when it came, then for each");
    assert!(!has_seen(&client, "disconnect"));

    let last = gateway.announcer().await.announce("hope", 1, "").await[0];
    other.until_event(last).await;
    assert_eq!((other.recovered(), other.whole_events()), (vec![false], vec![last]));
    assert_eq!(gateway.count("church_gateway_foreign_messages_total").await, 2.0);
    assert_eq!(gateway.count("church_gateway_discontinuities_total").await, 0.0);
}

/// A client that resumes from before the unknown messages is told of them, and one that resumes from behind is not.
async fn resumes_are_honest(gateway: &TestGateway, before: &str, known: &[Uuid]) {
    let mut client = resume(gateway, before).await;
    client.until_event(known[3]).await;
    assert_eq!((client.recovered(), client.whole_events()), (vec![true, false, false], known.to_vec()));
    let told: Vec<_> = client.seen().iter().filter(|seen| seen.event == "connected").collect();
    let behind = told[2].data["cursor"].as_str().unwrap();
    let mut again = resume(gateway, behind).await;
    again.until_event(known[3]).await;
    assert_eq!((again.recovered(), again.whole_events()), (vec![true], known[2..].to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resumes_over_what_is_unknown_is_told_from_memory_and_from_the_stream() {
    let mut gateway = TestGateway::start(&[]).await;
    let client = join(&gateway, "ann").await;
    let before = client.cursor().unwrap();
    let known = announce_among_unknown(&gateway).await;
    gateway.until_count("church_gateway_events_total", 4.0).await;
    resumes_are_honest(&gateway, &before, &known).await;

    // A gateway that has just started, and one that keeps almost nothing.
    for memory in ["20000", "1"] {
        gateway.restart_with(&[("GATEWAY_MEMORY_EVENTS", memory)]).await;
        resumes_are_honest(&gateway, &before, &known).await;
    }
}
