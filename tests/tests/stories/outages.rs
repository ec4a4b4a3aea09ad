//! Outages of the broker and the database: webhooks get the right answer, and nothing is lost.

use common::event::ChurchEvent;
use futures_util::future::join_all;
use sqlx::{ConnectOptions as _, Executor as _};
use tests::databases::Kind;
use tests::report::Report;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};
use uuid::Uuid;

use super::{AUTHOR, CHURCH, DELIVERED, SILENT};

on_both_databases!(a_broker_outage_delays_events_but_no_webhook_and_loses_nothing,);

const SERVICES: [&str; 3] = ["message-api", "webhook-ingest", "realtime-gateway-1"];
/// The readiness condition while events are recorded and not yet announced.
const DEGRADED: &str = "degraded: nats";

/// Sends messages whose webhooks Telnyx holds back.
async fn sent_and_held(stack: &TestStack, count: usize) -> Vec<Uuid> {
    stack.telnyx().hold(true);
    let messages = join_all((0..count).map(|_| stack.send(CHURCH, AUTHOR, &[DELIVERED]))).await;
    stack.until_accepted(count).await;
    messages
}

fn ids(events: &[ChurchEvent]) -> Vec<Uuid> {
    events.iter().map(|event| event.id).collect()
}

async fn a_broker_outage_delays_events_but_no_webhook_and_loses_nothing(kind: Kind) {
    let mut stack = TestStack::start(kind).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let messages = sent_and_held(&stack, 10).await;
    stack.until_announced().await;

    stack.stack.stop_broker().await.unwrap();
    let ops = stack.stack.file().ops.clone();
    for ops in [&ops.api, &ops.ingest] {
        eventually("readiness changes", async || {
            let (status, said) = stack.readiness(ops).await;
            assert_eq!(status, 200, "{said}");
            said.contains(DEGRADED).then_some(())
        })
        .await;
    }
    stack.telnyx().hold(false);
    for message in &messages {
        stack.until_status(CHURCH, *message, "delivered").await;
    }
    // The REST API works as well.
    let late = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, late, "delivered").await;
    let answers: Vec<_> = stack.telnyx().entries().iter().flat_map(|it| it.webhooks.clone()).collect();
    assert!(answers.iter().all(|it| it.answer == Some(200) && it.attempt == 1), "{answers:#?}");
    for ops in [&ops.api, &ops.ingest] {
        let (status, said) = stack.readiness(ops).await;
        assert!(status == 200 && said.contains(DEGRADED), "{status} {said}");
    }
    assert!(stack.audit().await.waiting_events > 0);

    stack.stack.start_broker().await.unwrap();
    stack.until_announced().await;
    let events = stack.stored(CHURCH).await;
    let delivered = events.iter().filter(|event| event.delivered_count == 1).map(|event| event.message_id);
    assert_eq!(delivered.count(), messages.len() + 1);
    client.until_event(events[events.len() - 1].id).await;
    assert_eq!(client.whole_events(), ids(&events), "in order, and none twice");
    for ops in [&ops.api, &ops.ingest] {
        eventually("readiness changes", async || {
            (!stack.readiness(ops).await.1.contains(DEGRADED)).then_some(())
        })
        .await;
    }
}

/// Fails unless a webhook is answered 503 with Retry-After.
async fn assert_put_off(stack: &TestStack) {
    let entry = stack.telnyx().entries().into_iter().find(|entry| entry.to == SILENT).unwrap();
    let answer = stack.report(&Report::of(&entry, "delivered")).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
}

/// Waits until the simulator, too, got a 503.
async fn until_telnyx_is_put_off(stack: &TestStack) {
    eventually("Telnyx is answered 503", async || {
        let entries = stack.telnyx().entries();
        entries.iter().any(|it| it.webhooks.iter().any(|it| it.answer == Some(503))).then_some(())
    })
    .await;
}

/// Fails unless all postponed webhooks were recorded and no service was restarted.
async fn assert_nothing_lost(stack: &mut TestStack, messages: &[Uuid]) {
    for message in messages {
        stack.until_status(CHURCH, *message, "delivered").await;
    }
    let audit = stack.audit().await;
    assert!(audit.is_sound(), "{audit:?}");
    for service in SERVICES {
        assert!(stack.stack.is_running(service), "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_down_telnyx_gets_503_and_nothing_is_lost() {
    let mut stack = TestStack::start(Kind::Postgres).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    let messages = sent_and_held(&stack, 10).await;
    let before = stack.stack.file().processes.clone();

    stack.stack.kill(deploy::postgres::NAME).await.unwrap();
    stack.telnyx().hold_repetitions(true);
    stack.telnyx().hold(false);
    until_telnyx_is_put_off(&stack).await;
    assert_put_off(&stack).await;
    let ingest = stack.stack.file().ops.ingest.clone();
    eventually("webhook-ingest is not ready", async || {
        (stack.readiness(&ingest).await.0 == 503).then_some(())
    })
    .await;

    let history = format!("{}/api/messages/history", stack.stack.file().api);
    let asked = stack.stack.http().get(history).bearer_auth(stack.token(CHURCH, AUTHOR));
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));

    stack.stack.start_process(deploy::postgres::NAME).unwrap();
    for service in SERVICES {
        stack.stack.ready(service).await.unwrap();
        assert_eq!(stack.stack.file().processes[service], before[service], "the same process as before");
    }
    stack.telnyx().hold_repetitions(false);
    assert_nothing_lost(&mut stack, &messages).await;
    stack.until_announced().await;
    let events = stack.stored(CHURCH).await;
    client.until_event(events[events.len() - 1].id).await;
    assert_eq!(client.whole_events(), ids(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_sqlite_is_locked_telnyx_gets_503_and_nothing_is_lost() {
    let mut stack = TestStack::start(Kind::Sqlite).await;
    stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    let messages = sent_and_held(&stack, 10).await;
    let url = stack.stack.file().database.parse::<sqlx::sqlite::SqliteConnectOptions>().unwrap();
    let mut other = url.connect().await.unwrap();
    // Plain SQL, so that no library ends the transaction early. It waits for the services' transactions.
    other.execute("BEGIN IMMEDIATE").await.unwrap();

    stack.telnyx().hold_repetitions(true);
    stack.telnyx().hold(false);
    until_telnyx_is_put_off(&stack).await;
    assert_put_off(&stack).await;
    // Reads still work.
    let (status, _) = stack.get(CHURCH, AUTHOR, "/api/messages/history").await;
    assert_eq!(status, 200);

    other.execute("ROLLBACK").await.unwrap();
    stack.telnyx().hold_repetitions(false);
    assert_nothing_lost(&mut stack, &messages).await;
}
