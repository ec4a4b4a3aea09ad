//! What operators find out about a message.

use deploy::services;
use serde_json::Value;
use tests::databases::Kind;
use tests::eventually;
use tests::stack::TestStack;

use super::{AUTHOR, BLOCKED, CHURCH, DELIVERED};

/// The names of the steps of the only message in a report.
fn steps(report: &Value) -> Vec<&str> {
    report[0]["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_messages_life_has_every_step_until_the_gateways_sockets() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let _client = stack.client(CHURCH, "watcher").await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED, BLOCKED]).await.to_string();
    stack.until_status(CHURCH, id.parse().unwrap(), "delivered").await;
    stack.until_announced().await;
    // How many events there are depends on how many changes the relay found at once.
    let in_stream = stack.stored(CHURCH).await.len();
    let life = eventually("the gateway emitted every event of the message", async || {
        let said = stack.ops(&["message", &id, "--json"]).await;
        assert_eq!(said.code, 0, "{said:?}");
        let life = said.json();
        let emitted = life[0]["steps"].as_array().unwrap().iter().filter(|step| step["step"] == "emitted");
        (emitted.count() == in_stream).then_some(life)
    })
    .await;
    for step in ["accepted", "attempted", "webhook", "delivered", "failed", "announced", "emitted"] {
        assert!(steps(&life).contains(&step), "{step}: {life:#}");
    }
    let every = life[0]["steps"].as_array().unwrap();
    let emitted = every.iter().find(|step| step["step"] == "emitted").unwrap();
    assert_eq!(emitted["sockets"], 1, "{emitted}");
    let announced = every.iter().filter(|step| step["step"] == "announced");
    let sequences: Vec<u64> = announced.map(|step| step["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences.len(), in_stream, "the message is the church's only one: {life:#}");
    assert_eq!(life[0]["notes"].as_array().unwrap().len(), 0, "{life:#}");

    // It is found by every id that belongs to it, and by the number.
    let delivered = life[0]["recipients"].as_array().unwrap().iter().find(|one| one["phone"] == DELIVERED);
    let delivered = delivered.unwrap();
    for words in [
        ["message", delivered["telnyxId"].as_str().unwrap(), "--json"].as_slice(),
        &["message", delivered["id"].as_str().unwrap(), "--json"],
        &["message", "--phone", DELIVERED, "--json"],
    ] {
        let found = stack.ops(words).await.json();
        assert_eq!(
            (&found[0]["messageId"], &found[0]["recipients"][1]),
            (&life[0]["messageId"], &Value::Null)
        );
    }
    let connected = stack.ops(&["connected", "--church", CHURCH]).await;
    assert!(
        connected.code == 0 && connected.out.contains("watcher") && connected.out.contains("1 socket"),
        "{connected:?}"
    );
    let nobody = stack.ops(&["connected", "--church", "hope"]).await;
    assert!(nobody.code == 0 && nobody.out.contains("nobody"), "{nobody:?}");
    let text = stack.ops(&["message", &id]).await.out;
    assert!(text.contains("Telnyx accepted it as") && !text.contains("Service at ten"), "{text}");
    for says in ["message.sent sent: ", "message.finalized delivered: applied"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let said = stack.ops(&["message", "0192f7f0-0000-7000-8000-000000000000"]).await;
    assert!(said.code == 1 && said.err.contains("no such message"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_left_the_outbox_are_found_in_the_stream_and_unknown_emissions_are_said_so() {
    let mut stack = TestStack::start(Kind::Sqlite).await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, id, "delivered").await;
    stack.until_announced().await;
    tests::databases::execute(&stack.stack.file().database, "delete from outbox").await;
    let gateway = services::gateway(1);
    stack.stack.kill(&gateway).await.unwrap();
    stack.stack.start_process(&gateway).unwrap();
    stack.stack.ready(&gateway).await.unwrap();
    let said = stack.ops(&["message", &id.to_string(), "--json"]).await;
    let life = said.json();
    let announced = steps(&life).into_iter().filter(|step| *step == "announced").count();
    assert_eq!(announced, stack.stored(CHURCH).await.len(), "{life:#}");
    assert!(life[0]["notes"][0].as_str().unwrap().starts_with("not remembered"), "{life:#}");
}
