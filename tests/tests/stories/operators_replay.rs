//! How operators replay stored events.

use async_nats::jetstream::consumer::push;
use common::subject::{REPLAY, STREAM};
use tests::databases::Kind;
use tests::eventually;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED, silent_phones};

async fn consumers(stack: &TestStack) -> usize {
    let client = stack.stack.nats("ops").await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream(STREAM).await.unwrap();
    stream.cached_info().state.consumer_count
}

/// Makes a consumer that replays everything and ends only with its gateways.
pub(super) async fn replay_by_hand(stack: &TestStack) {
    let client = stack.stack.nats("ops").await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream(STREAM).await.unwrap();
    let by_hand = push::Config {
        name: Some("by-hand".into()),
        deliver_subject: REPLAY.into(),
        ack_policy: async_nats::jetstream::consumer::AckPolicy::None,
        ..push::Config::default()
    };
    stream.create_consumer(by_hand).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_a_churchs_events_again_in_order_and_leaves_no_consumer() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let other = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.send("hope", AUTHOR, &[DELIVERED]).await;
    for message in [id, other] {
        stack.until_status(CHURCH, message, "delivered").await;
    }
    stack.until_announced().await;
    let mut client = stack.client(CHURCH, "watcher").await;
    let stored = stack.stored(CHURCH).await;
    let said = stack.ops(&["replay", "--church", CHURCH, "--since", "1h"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains(&format!("replayed {} events of {CHURCH}", stored.len())), "{said:?}");
    let stored_ids: Vec<String> = stored.iter().map(|event| event.id.to_string()).collect();
    let last = stored_ids.last().unwrap().as_str();
    client.until_one(|seen| seen.data["eventId"] == last).await;
    let mut replayed: Vec<&str> = client.packets().filter_map(|seen| seen.data["eventId"].as_str()).collect();
    replayed.dedup();
    assert_eq!(replayed, stored_ids);
    let of_one = stored.iter().filter(|event| event.message_id == id).count();
    let words = ["replay", "--church", CHURCH, "--since", "1h", "--message", &id.to_string()];
    let said = stack.ops(&words).await;
    assert!(said.out.contains(&format!("replayed {of_one} events")), "{said:?}");
    let said = stack.ops(&["replay", "--church", "hoep", "--since", "1h"]).await;
    assert!(said.code == 1 && said.err.contains("holds no event of the church hoep"), "{said:?}");
    assert_eq!(consumers(&stack).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_interrupted_removes_its_consumer_and_a_killed_one_is_cleaned_up() {
    let stack = TestStack::start(Kind::Sqlite).await;
    for phone in silent_phones(4) {
        stack.send(CHURCH, AUTHOR, &[&phone]).await;
    }
    eventually("the events are stored", async || (stack.stored(CHURCH).await.len() >= 4).then_some(())).await;
    // So slow that it does not end by itself.
    let words = ["replay", "--church", CHURCH, "--since", "1h", "--rate", "1"];
    let running = stack.ops_running(&words);
    eventually("the replay has begun", async || (consumers(&stack).await == 1).then_some(())).await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(running.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = running.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("the consumer is removed"), "{ended:?}");
    assert_eq!(consumers(&stack).await, 0);

    let mut running = stack.ops_running(&words);
    eventually("the replay has begun", async || (consumers(&stack).await == 1).then_some(())).await;
    running.kill().await.unwrap();
    replay_by_hand(&stack).await;
    let said = stack.ops(&["replay", "--clean"]).await;
    assert!(said.code == 0 && said.out.contains("removed 2 consumers"), "{said:?}");
    assert_eq!(consumers(&stack).await, 0);
}

/// A consumer delivers to a subject of its maker's choice. None of these makes a gateway emit what is not in the stream,
/// or emit to another church.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_aimed_at_a_services_own_subjects_is_denied_or_does_no_harm() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let mut watchers = [stack.client(CHURCH, "watcher").await, stack.client("hope", "watcher").await];
    let client = stack.stack.nats("ops").await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream(STREAM).await.unwrap();
    let aim = |target: &str| push::Config {
        deliver_subject: target.into(),
        filter_subject: format!("church.{CHURCH}.*"),
        ack_policy: async_nats::jetstream::consumer::AckPolicy::None,
        ..push::Config::default()
    };
    // A cycle.
    assert!(stream.create_consumer(aim("church.hope.status")).await.is_err());
    for target in ["live.church.hope.status", "relay.wake", "_INBOX_gateway.aimed", "_INBOX_ingest.aimed"] {
        stream.create_consumer(aim(target)).await.unwrap();
    }
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, id, "delivered").await;
    stack.until_announced().await;
    let events = stack.stored(CHURCH).await;
    watchers[0].until_event(events.last().unwrap().id).await;
    // What a gateway emits to hope after all that came for grace.
    let other = stack.send("hope", AUTHOR, &[DELIVERED]).await;
    stack.until_status("hope", other, "delivered").await;
    stack.until_announced().await;
    let of_hope = stack.stored("hope").await;
    watchers[1].until_event(of_hope.last().unwrap().id).await;
    let ids = |events: &[common::event::ChurchEvent]| events.iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(watchers[0].whole_events(), ids(&events), "each once");
    assert_eq!(watchers[1].whole_events(), ids(&of_hope), "nothing of another church");
    assert_eq!(watchers.map(|it| it.recovered().len()), [1, 1], "nobody was told to read again");
    for gateway in &stack.stack.file().ops.gateways {
        assert_eq!(stack.readiness(gateway).await, (200, "ready\n".into()));
    }
}
