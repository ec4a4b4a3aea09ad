//! The binaries start with what the stack gives them, and end in order when asked to.

use tests::databases::Kind;
use tests::on_both_databases;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED};

on_both_databases!(every_service_ends_with_0_when_asked_to_and_starts_again_where_it_was);

const SERVICES: [&str; 3] = ["message-api", "webhook-ingest", "realtime-gateway-1"];

async fn every_service_ends_with_0_when_asked_to_and_starts_again_where_it_was(kind: Kind) {
    let mut stack = TestStack::start(kind).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, message, "delivered").await;
    client.until("message:delivered").await;
    for service in SERVICES {
        let status = stack.stack.terminate(service).await.unwrap();
        assert_eq!(status.code(), Some(0), "{service}: {status}");
        stack.stack.start_process(service).unwrap();
        stack.stack.ready(service).await.unwrap();
    }
    assert_eq!(stack.message(CHURCH, message).await["status"], "delivered");
    let connected = client.until("connected").await;
    assert_eq!(connected.data["recovered"], true, "the client came back by itself");
    let next = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, next, "delivered").await;
    client.until("message:delivered").await;
    let sent = stack.stored(CHURCH).await.iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(client.whole_events(), sent);
}
